"""No sockets: a seccomp filter under which this process and its children cannot create one (seccomp(2)).

It needs no privilege and covers every kind of socket, so it is the network's wall where a network namespace may not be
created (in most containers). Descriptors that are open already stay usable.
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
IO_URING_SETUP = 425  # the same everywhere; a ring can create sockets without the system call


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What linux/audit.h and the table of system calls say about one architecture."""

    audit: int
    socket: int
    limit: int
    """The first number that is no system call of this architecture: x86-64 has a second table from there on."""


ARCHITECTURES = {
    "x86_64": Architecture(audit=0xC000003E, socket=41, limit=0x40000000),
    "aarch64": Architecture(audit=0xC00000B7, socket=198, limit=0x40000000),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def deny_sockets() -> None:
    """From now on creating a socket fails with EACCES. Raises OSError where that cannot be had."""
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


def _build_filter(architecture: Architecture) -> bytes:
    """Kill on a foreign architecture, EACCES for `socket` and `io_uring_setup`, allow the rest."""
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
