"""Landlock (landlock(7)), through ctypes: restricts the files that this process and its children can open.

A rule set lists the accesses that are denied everywhere, and the accesses that are allowed below some paths. It applies
to the calling thread and to threads and processes started by it later, so it must be applied while a process has a
single thread. Open files stay usable; `stat`, `chdir` and connecting to the path of a Unix socket are not restricted.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from enum import IntFlag

SYS_CREATE_RULESET, SYS_ADD_RULE, SYS_RESTRICT_SELF = 444, 445, 446  # the same on all architectures
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1
PR_SET_NO_NEW_PRIVS = 38


class Access(IntFlag):
    """Accesses to files, with the values of linux/landlock.h."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


READ = Access.READ_FILE | Access.READ_DIR
WRITE = (
    READ
    | Access.WRITE_FILE
    | Access.REMOVE_DIR
    | Access.REMOVE_FILE
    | Access.MAKE_DIR
    | Access.MAKE_REG
    | Access.REFER
    | Access.TRUNCATE
)
ON_FILES = Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV
"""The accesses that a rule for a file may allow; all others apply to directories only."""

TCP = 0b11  # bind and connect, from version 4 on
SCOPED = 0b11  # abstract Unix sockets and signals to processes outside, from version 6 on


class _RulesetAttr(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi_version() -> int:
    """Return the version of Landlock in the kernel; 0 if Landlock is missing or disabled."""
    return max(0, _syscall(SYS_CREATE_RULESET, None, 0, CREATE_RULESET_VERSION))


def restrict(read: Iterable[str], write: Iterable[str], *, network: bool) -> int:
    """Deny this thread all files except those of `read` and `write`; without `network`, also TCP from version 4 on.

    Paths that do not exist are skipped. From version 6 on, signals to other processes and their abstract Unix sockets
    are denied as well. Returns the version in use. Raises OSError.
    """
    version = abi_version()
    if not version:
        raise OSError(ctypes.get_errno(), "the kernel has no Landlock, or it is not among the active security modules")
    handled = _handled_accesses(version)
    attributes = _RulesetAttr(
        handled_access_fs=handled,
        handled_access_net=TCP if version >= 4 and not network else 0,
        scoped=SCOPED if version >= 6 else 0,
    )
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _check(_syscall(SYS_CREATE_RULESET, ctypes.byref(attributes), size, 0))
    try:
        for paths, access in ((read, READ), (write, WRITE)):
            for path in paths:
                _allow(ruleset, path, access & handled)
        set_no_new_privileges()
        _check(_syscall(SYS_RESTRICT_SELF, ruleset, 0, 0))
    finally:
        os.close(ruleset)
    return version


def set_no_new_privileges() -> None:
    """Set no_new_privs (prctl(2)), which unprivileged processes must set before they can restrict themselves."""
    _check(_libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _handled_accesses(version: int) -> int:
    newest = (Access.MAKE_SYM, Access.REFER, Access.TRUNCATE, Access.TRUNCATE)  # of versions 1 to 4
    last = newest[version - 1] if version <= 4 else Access.IOCTL_DEV
    return 2 * int(last) - 1


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            access &= ON_FILES
        rule = _PathBeneathAttr(allowed_access=access, parent_fd=parent)
        _check(_syscall(SYS_ADD_RULE, ruleset, RULE_PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(parent)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *arguments: object) -> int:
    result: int = _libc().syscall(number, *arguments)
    return result


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
