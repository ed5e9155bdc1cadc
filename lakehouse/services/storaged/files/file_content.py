"""An open file as the content of a response: cached pages without a thread, all others in one."""

from __future__ import annotations

import os

import trio

from lakehouse.asgi.conditional import Validators

_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)


class CachedFileContent:
    """A regular file that is open. Implements `asgi.content.Content`.

    Pages that the kernel has in memory are read at once (`preadv2` with RWF_NOWAIT), which takes a fraction of the time
    of a thread. Where pages are missing, or the file system cannot tell, a thread reads them from the disk.
    """

    def __init__(self, descriptor: int, size: int, validators: Validators) -> None:
        self._descriptor = descriptor
        self.size = size
        self.validators = validators
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
