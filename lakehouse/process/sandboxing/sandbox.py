"""Apply a `Sandbox` to this process, and report which restrictions are in force."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from lakehouse.process.sandboxing import landlock, seccomp
from lakehouse.process.spec import Sandbox, SandboxReport

SYSTEM_PATHS = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/etc/localtime",
    "/usr/share/zoneinfo", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom",
    "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/self/cgroup", "/sys/fs/cgroup", "/sys/devices/system/cpu",
)  # fmt: skip
"""Paths that an interpreter and its libraries read, and an inference engine that adapts to the machine. /proc/self is
excluded: it gives access to the environment, the memory and the open files of the process."""

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


class SandboxError(Exception):
    """A required part of a sandbox cannot be enforced on this system."""


def apply_sandbox(sandbox: Sandbox) -> SandboxReport:
    """Restrict this process permanently. The process must have a single thread.

    The network is restricted first: creating a network namespace opens files that Landlock would deny. Raises
    SandboxError if the sandbox is `required` and a restriction cannot be enforced.
    """
    network = files = "not requested"
    if not sandbox.network:
        network = _deny_network()
    if sandbox.restrict_files:
        files = _restrict_files(sandbox)
    for what, outcome in (("network", network), ("files", files)):
        if sandbox.required and outcome.startswith("not enforced"):
            raise SandboxError(f"the sandbox's restriction of {what} is {outcome}")
    return SandboxReport(files=files, network=network)


def _deny_network() -> str:
    try:
        seccomp.deny_sockets()
    except OSError as error:
        reason = error.strerror
    else:
        return "enforced by seccomp"
    try:
        _leave_network()
    except OSError as error:
        return f"not enforced: seccomp: {reason}; network namespace: {error.strerror}"
    return "enforced by a network namespace"


def _leave_network() -> None:
    """Move into a network namespace without interfaces; an unprivileged process creates a user namespace as well."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) and libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _restrict_files(sandbox: Sandbox) -> str:
    read = (*code_paths(), *SYSTEM_PATHS, *sandbox.read_paths)
    try:
        version = landlock.restrict(read, ("/dev/null", *sandbox.write_paths), network=sandbox.network)
    except OSError as error:
        return f"not enforced: {error.strerror}"
    return f"enforced by Landlock version {version}"


def code_paths() -> list[str]:
    """List the directories of code: the interpreter's own directories, installed packages, and this package.

    Other directories of `sys.path` are excluded: with `python -m` one is the working directory with the user's files.
    """
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    installed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    return [*sorted(prefixes), *installed, str(Path(__file__).resolve().parents[2])]
