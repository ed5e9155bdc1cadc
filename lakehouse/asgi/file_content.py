"""An open file as the content of a response: pages in the memory of the kernel without a thread, others in one."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from lakehouse.asgi.conditional import Validators
from lakehouse.core.errors import ErrNotFound

CLOSE_TIMEOUT = 30.0
"""Seconds for freeing the blocks of a file that was removed; beyond it, the thread goes on alone."""

_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)


class FileContent:
    """A regular file that is open. Implements `asgi.content.Content`.

    Pages that the kernel has in memory are read at once (`preadv2` with RWF_NOWAIT), which takes a fraction of the time
    of a thread. Where pages are missing, or the file system cannot tell, a thread reads them from the disk. A `path`
    permits to hand the file over (`asgi.file_handover`).
    """

    def __init__(self, descriptor: int, size: int, validators: Validators, *, path: str = "") -> None:
        self._descriptor = descriptor
        self.size = size
        self.validators = validators
        self.path = path
        self._try_cache = bool(_NO_WAIT)
        self._buffer = memoryview(b"")  # one for all reads: a fresh one would cost more than the read

    async def read_at(self, position: int, size: int) -> bytes | memoryview:
        """Read at most `size` bytes from `position`; valid until the next call.

        Cancelled, it waits for the read: the descriptor is in use.
        """
        if len(self._buffer) < size:
            self._buffer = memoryview(bytearray(size))
        window = self._buffer[:size]
        if self._try_cache:
            try:
                return window[: os.preadv(self._descriptor, [window], position, _NO_WAIT)]
            except BlockingIOError:
                pass
            except OSError:  # EOPNOTSUPP
                self._try_cache = False
        return window[: await trio.to_thread.run_sync(os.preadv, self._descriptor, [window], position)]


@asynccontextmanager
async def open_file_content(path: Path | str, *, etag: bytes | None = None) -> AsyncIterator[FileContent]:
    """Open a regular file for the length of the block; `etag` None makes one of its time and size.

    Raises `ErrNotFound` when there is no such file, or something else is at the path, and `OSError`.
    """
    descriptor = await trio.to_thread.run_sync(_open, path)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ErrNotFound("there is no file of this name")
        tag = b'"%x-%x"' % (status.st_mtime_ns, status.st_size) if etag is None else etag
        yield FileContent(descriptor, status.st_size, Validators(etag=tag, modified=status.st_mtime))
    finally:
        await close_file(descriptor)


async def close_file(descriptor: int) -> None:
    """Close a file; in a thread if it was removed meanwhile, because its blocks are freed then, which takes a while."""
    if os.fstat(descriptor).st_nlink:
        os.close(descriptor)
        return
    with trio.CancelScope(shield=True, relative_deadline=CLOSE_TIMEOUT):
        await trio.to_thread.run_sync(os.close, descriptor, abandon_on_cancel=True)


def _open(path: Path | str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not block the thread
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise ErrNotFound("there is no file of this name") from None
