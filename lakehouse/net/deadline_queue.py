"""One task that watches the deadlines of many waits.

A cancel scope for each wait would cost a tenth of a relayed request, and a sixth of a piece of a stream. Here a wait
writes its deadline into its connection and that is all: a connection has one entry in a heap, which is looked at when
it comes due, and moved to where the deadline is by then. Deadlines are kept to the moment, as by a scope.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import NoReturn, Protocol

import trio

from lakehouse.net.read_poller import ReadPoller


class HasDeadline(Protocol):
    """Who waits. `deadline` is inf while it does not; `due` is the watch's own."""

    deadline: float
    scheduled_deadline: float

    def expire(self) -> None:
        """The deadline has come: wake up."""


class DeadlineQueue:
    """Calls `expire` on those whose deadline has come, for as long as `run` runs. A service has one.

    While it runs, so does `poller`, and `now` is the run's clock itself: trio's own way to it is three calls long.
    """

    def __init__(self) -> None:
        self.poller = ReadPoller()
        self.now: Callable[[], float] = trio.current_time
        self._heap: list[tuple[float, int, HasDeadline]] = []
        self._order = count()
        self._next = inf  # what `run` sleeps until
        self._nearer = trio.Event()

    def __len__(self) -> int:
        """Entries: at most one or two for each that waits."""
        return len(self._heap)

    def schedule(self, watched: HasDeadline) -> None:
        """Have an eye on its deadline, which may be moved further away without telling."""
        if watched.scheduled_deadline <= watched.deadline:
            return
        watched.scheduled_deadline = watched.deadline
        heappush(self._heap, (watched.scheduled_deadline, next(self._order), watched))
        if watched.scheduled_deadline < self._next:
            self._nearer.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        self.now = trio.lowlevel.current_clock().current_time
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.poller.run)
            await self._keep_time()

    async def _keep_time(self) -> NoReturn:
        while True:
            self._next = self._heap[0][0] if self._heap else inf
            with trio.CancelScope(deadline=self._next):
                await self._nearer.wait()
            self._nearer = trio.Event()
            while self._heap and self._heap[0][0] <= trio.current_time():
                due, _, watched = heappop(self._heap)
                if due == watched.scheduled_deadline:  # else a nearer entry was made after this one
                    watched.scheduled_deadline = inf
                    self._look_at(watched)

    def _look_at(self, watched: HasDeadline) -> None:
        if watched.deadline <= trio.current_time():
            watched.expire()
        elif watched.deadline < inf:
            self.schedule(watched)
