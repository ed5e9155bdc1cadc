"""How many requests may use an upstream at once, and in which order the others follow."""

from __future__ import annotations

import trio

from lakehouse.core.errors import ErrUnavailable


class Limiter:
    """`size` slots and a queue of at most `max_waiting`, first come first served; constant time.

    Not `trio.CapacityLimiter`: its queue has no bound, and acquiring a free slot takes a turn of the scheduler.
    """

    __slots__ = ("_max_waiting", "_name", "_queue", "in_use", "size")

    def __init__(self, name: str, size: int, max_waiting: int) -> None:
        self.in_use = 0
        self._name = name
        self.size = size
        self._max_waiting = max_waiting
        self._queue = trio.lowlevel.ParkingLot()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    def acquire_nowait(self) -> bool:
        """Take a slot if one is free. While the queue is not empty, all slots are in use."""
        if self.in_use < self.size:
            self.in_use += 1
            return True
        return False

    async def acquire(self) -> None:
        """Wait for a slot. Cancelled, it leaves the queue. Raises `ErrUnavailable` if the queue is full."""
        if len(self._queue) >= self._max_waiting:
            raise ErrUnavailable(
                f"{self._name} has {self.in_use} requests under way and {self._max_waiting} waiting; try again later",
                provider=self._name,
                retryable=True,
                retry_after=1,
            )
        await self._queue.park()  # `release` hands its slot over, so neither a newcomer nor a cancellation can take it

    def release(self) -> None:
        """Give a slot back: to the first in the queue, if there is one."""
        if self._queue:
            self._queue.unpark()
        else:
            self.in_use -= 1
