"""The lock of a lake's folder: one process at a time, and no copy that was made while it was in use.

`lake.lock` is locked with flock(2), which the kernel releases when its holder ends for any reason. Its content is JSON:

    {"pid": 1234, "socket": "/tmp/…/services.sock", "service": "http://127.0.0.1:3110", "started": 1764355556.5,
     "state": "open", "device": 66305, "inode": 131077, "boot": "…"}

The files of a folder that is copied while they change need not fit together. Such a copy has a lock file that says
"open" and names another inode than its own. Numbers of devices change with a restart of the machine, so they are only
compared within one (`boot`).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec

from lakehouse.services.lake.errors import LakeError

LOCK_NAME = "lake.lock"

ACQUIRE_ATTEMPTS, ACQUIRE_DELAY = 6, 0.05
"""Attempts to lock, and seconds between them: a process that was killed holds the lock until its last thread has
ended, and a child that it was starting until its program is loaded."""

_MAX_CONTENT = 4096


class LakeDirectoryError(LakeError):
    """The folder of the lake cannot be used."""


class LakeInUse(LakeDirectoryError):
    """Another process has the lake open; `pid` is its number, None if it is not known."""

    def __init__(self, path: Path, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(
            f"the lake {path} is in use by {holder}: one process at a time; stop that one, or name another folder as "
            "lake.path"
        )
        self.pid = pid


class LockContent(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the lock file. `started` is in seconds since 1970; `socket` is where the holder answers HTTP.

    `service` is the URL of the service that the holder belongs to, empty for one without an address of its own.
    """

    pid: int
    socket: str = ""
    service: str = ""
    started: float = 0.0
    state: Literal["open", "closed"] = "open"
    device: int = 0
    inode: int = 0
    boot: str = ""


@contextmanager
def hold_lock(path: Path, *, socket: str = "", service: str = "") -> Iterator[None]:
    """Hold the lock of the folder `path` for the length of the block. Raises LakeInUse, or LakeDirectoryError."""
    descriptor = _open_lock(path)
    try:
        _acquire(descriptor, path)
        _refuse_copy(descriptor, path)
        status = os.fstat(descriptor)
        content = LockContent(
            pid=os.getpid(),
            socket=socket,
            service=service,
            started=time.time(),
            device=status.st_dev,
            inode=status.st_ino,
            boot=_boot_id(),
        )
        try:
            _write(descriptor, content)
        except OSError as error:  # the disk is full
            raise LakeDirectoryError(f"{path / LOCK_NAME} cannot be written: {error.strerror}") from None
        try:
            yield
        finally:
            _write(descriptor, msgspec.structs.replace(content, state="closed", socket=""))
    finally:
        os.close(descriptor)


def find_holder(path: Path) -> LockContent | None:
    """The process that has the lake open; None if there is none, or it has not begun to answer."""
    try:
        descriptor = os.open(path / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    finally:
        os.close(descriptor)
    return None


def _open_lock(path: Path) -> int:
    """Raises LakeDirectoryError."""
    try:
        return os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LakeDirectoryError(f"{path / LOCK_NAME} cannot be opened: {error.strerror}") from None


def _acquire(descriptor: int, path: Path) -> None:
    for attempt in range(ACQUIRE_ATTEMPTS):
        if attempt:
            time.sleep(ACQUIRE_DELAY)
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
    content = _read(descriptor)
    raise LakeInUse(path, content.pid if content is not None and content.state == "open" else None)


def _refuse_copy(descriptor: int, path: Path) -> None:
    content, status = _read(descriptor), os.fstat(descriptor)
    if content is None or content.state != "open":
        return
    moved = content.boot == _boot_id() and content.device != status.st_dev
    if moved or content.inode != status.st_ino:
        raise LakeDirectoryError(
            f"the folder {path} was copied while the lake was in use, so its files may not fit together: copy it again "
            f"while no process uses it, or delete {path / LOCK_NAME} to use this copy as it is"
        )


def _read(descriptor: int) -> LockContent | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, _MAX_CONTENT, 0), type=LockContent)
    except (msgspec.DecodeError, UnicodeDecodeError):  # empty: the file was just made
        return None


def _write(descriptor: int, content: LockContent) -> None:
    data = msgspec.json.encode(content)
    os.pwrite(descriptor, data, 0)
    os.ftruncate(descriptor, len(data))


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
