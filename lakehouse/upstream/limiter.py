"""How many may use an upstream at once, and who is next."""

from __future__ import annotations

import trio

from lakehouse.core.errors import ErrUnavailable


class Limiter:
    """`size` slots and a queue of at most `max_waiting`, first come first served; constant time.

    Not `trio.CapacityLimiter`: that has no bound for its queue, and takes a turn of the scheduler for a free slot.
    """

    __slots__ = ("_lot", "_max_waiting", "_name", "in_use", "size")

    def __init__(self, name: str, size: int, max_waiting: int) -> None:
        self.in_use = 0
        self._name = name
        self.size = size
        self._max_waiting = max_waiting
        self._lot = trio.lowlevel.ParkingLot()

    @property
    def waiting(self) -> int:
        """How many are in the queue."""
        return len(self._lot)

    def acquire_nowait(self) -> bool:
        """Take a slot if one is free. While anybody waits, none is."""
        if self.in_use < self.size:
            self.in_use += 1
            return True
        return False

    async def acquire(self) -> None:
        """Wait for a slot. Cancelled, it leaves the queue. Raises `ErrUnavailable` if the queue is full."""
        if len(self._lot) >= self._max_waiting:
            raise ErrUnavailable(
                f"{self._name} has {self.in_use} requests under way and {self._max_waiting} waiting; try again later",
                provider=self._name,
                retryable=True,
                retry_after=1,
            )
        await self._lot.park()  # who wakes us hands over a slot: nobody takes it in between, and no cancellation

    def release(self) -> None:
        """Give a slot back: to the next in the queue, if there is one."""
        if self._lot:
            self._lot.unpark()
        else:
            self.in_use -= 1
