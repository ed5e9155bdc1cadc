"""How many uploads are received at a time, and how many wait for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from lakehouse.core.errors import ErrUnavailable

MAX_WAITING = 64
MAX_WAIT = 10.0
"""Seconds."""

RETRY_AFTER = 5.0
"""Seconds, as the original's."""


class UploadSlots:
    """`slots` uploads are received at a time; at most `MAX_WAITING` more wait, each for at most `MAX_WAIT` seconds."""

    def __init__(self, slots: int) -> None:
        self._limiter = trio.CapacityLimiter(slots)

    @property
    def in_use(self) -> int:
        """Uploads that are being received."""
        return self._limiter.borrowed_tokens

    @property
    def waiting(self) -> int:
        """Uploads that wait."""
        return self._limiter.statistics().tasks_waiting

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Hold a slot for the length of the block. Raises ErrUnavailable when too many wait, or for too long."""
        if self.waiting >= MAX_WAITING:
            raise self._make_unavailable(f"and {MAX_WAITING} more wait")
        upload = object()
        with trio.move_on_after(MAX_WAIT) as timeout:
            await self._limiter.acquire_on_behalf_of(upload)
        if timeout.cancelled_caught:
            raise self._make_unavailable(f"and none has ended for {MAX_WAIT:g} s")
        try:
            yield
        finally:
            self._limiter.release_on_behalf_of(upload)

    def _make_unavailable(self, reason: str) -> ErrUnavailable:
        slots = int(self._limiter.total_tokens)
        return ErrUnavailable(
            f"{slots} objects are being written, as many as at a time (storaged.max_puts), {reason}: try again later",
            retryable=True,
            retry_after=RETRY_AFTER,
        )
