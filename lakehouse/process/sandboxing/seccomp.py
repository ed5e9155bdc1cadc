"""A seccomp filter (seccomp(2)) under which this process and its children cannot create sockets.

The filter needs no privileges and covers every kind of socket, so it also restricts the network where network
namespaces are not permitted, as in most containers. Open descriptors stay usable.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass

from lakehouse.process.sandboxing.landlock import set_no_new_privileges

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
RET_ALLOW, RET_ERRNO, RET_KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD_WORD, JUMP_IF_EQUAL, JUMP_IF_GREATER_EQUAL, RETURN = 0x20, 0x15, 0x35, 0x06  # classic BPF
OFFSET_NUMBER, OFFSET_ARCHITECTURE = 0, 4  # in struct seccomp_data
IO_URING_SETUP = 425  # the same on all architectures; io_uring creates sockets without `socket`


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The constants of one architecture, from linux/audit.h and the table of system calls."""

    audit: int
    socket: int
    limit: int
    """The first number above the table of system calls: x86-64 has a second table (x32) from there on."""


ARCHITECTURES = {
    "x86_64": Architecture(audit=0xC000003E, socket=41, limit=0x40000000),
    "aarch64": Architecture(audit=0xC00000B7, socket=198, limit=0x40000000),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def deny_sockets() -> None:
    """Install the filter: creating a socket then fails with EACCES. Raises OSError if the filter is not supported."""
    architecture = ARCHITECTURES.get(platform.machine())
    if architecture is None:
        raise OSError(errno.ENOSYS, f"no table of system calls for {platform.machine()}")
    code = _build_filter(architecture)
    set_no_new_privileges()
    program = _Program(length=len(code) // 8, filter=code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def is_supported() -> bool:
    """Whether `deny_sockets` can work here. Changes nothing: a filter at no address is refused after all checks."""
    if platform.machine() not in ARCHITECTURES:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, None, 0, 0) < 0 and ctypes.get_errno() == errno.EFAULT)


def _build_filter(architecture: Architecture) -> bytes:
    """Build the filter: kill on another architecture, EACCES for `socket` and `io_uring_setup`, else allow."""
    return b"".join(
        (
            _encode_instruction(LOAD_WORD, OFFSET_ARCHITECTURE),
            _encode_instruction(JUMP_IF_EQUAL, architecture.audit, then=1),
            _encode_instruction(RETURN, RET_KILL),
            _encode_instruction(LOAD_WORD, OFFSET_NUMBER),
            _encode_instruction(JUMP_IF_GREATER_EQUAL, architecture.limit, then=3),
            _encode_instruction(JUMP_IF_EQUAL, architecture.socket, then=2),
            _encode_instruction(JUMP_IF_EQUAL, IO_URING_SETUP, then=1),
            _encode_instruction(RETURN, RET_ALLOW),
            _encode_instruction(RETURN, RET_ERRNO | errno.EACCES),
        )
    )


def _encode_instruction(code: int, operand: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, operand)
