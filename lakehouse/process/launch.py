"""Start a child's process with pipes to it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

from lakehouse.process.environment import interpreter_environment
from lakehouse.process.spec import ChildSpec

PROGRAM = ("-P", "-m", "lakehouse.process.bootstrap")  # -P: do not import from the working directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A running process, and the parent's ends of its pipes; `stderr` is None if the log is not captured."""

    process: subprocess.Popen[bytes]
    pidfd: int
    stdin: int
    stdout: int
    stderr: int | None


REPORT_PIPE_SIZE = 1024 * 1024
"""Bytes that a child can write ahead of its parent. With 64 KiB, the default, a stream of results takes 7 % longer."""


def launch(spec: ChildSpec) -> Launched:
    """Start the process. Blocks the event loop for a few milliseconds. Raises OSError, and then leaves no process.

    The fork must not happen in a worker thread, where `trio.lowlevel.open_process` does it: the kernel sends the death
    signal (`sandboxing.death_signal`) when the forking thread ends, and trio ends a worker thread after ten idle
    seconds.
    """
    pipes = open_pipes(3 if spec.capture_log else 2)
    orders, report = pipes[0], pipes[1]
    with suppress(OSError):  # beyond the quota of the user, or the limit of the system
        fcntl.fcntl(report[1], fcntl.F_SETPIPE_SZ, REPORT_PIPE_SIZE)
    errors = pipes[2] if spec.capture_log else None
    try:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, or the command of the specification
            spec.command or [sys.executable, *PROGRAM, spec.target],  # the target: for ps only
            stdin=orders[0],
            stdout=report[1],
            stderr=None if errors is None else errors[1],
            env=dict(spec.environment) | interpreter_environment(),
            pass_fds=spec.pass_fds,
            process_group=0 if spec.own_group else None,
        )
        pidfd = _open_pidfd(process)
    except BaseException:
        _close_all(orders[1], report[0], *([] if errors is None else [errors[0]]))
        raise
    finally:
        _close_all(orders[0], report[1], *([] if errors is None else [errors[1]]))
    return Launched(
        process=process,
        pidfd=pidfd,
        stdin=orders[1],
        stdout=report[0],
        stderr=None if errors is None else errors[0],
    )


def open_pipes(count: int) -> list[tuple[int, int]]:
    """Open `count` pipes. Raises OSError and closes those already open, so that failed starts leak no descriptors."""
    opened: list[tuple[int, int]] = []
    try:
        for _ in range(count):
            opened.append(os.pipe())  # noqa: PERF401 - after a failure the pipes opened before are closed
    except OSError:
        _close_all(*chain(*opened))
        raise
    return opened


def _open_pidfd(process: subprocess.Popen[bytes]) -> int:
    try:
        return os.pidfd_open(process.pid)
    except OSError:
        process.kill()
        process.wait()  # bounded: SIGKILL cannot be handled
        raise


def _close_all(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
