"""Deadlines of many waits, watched by one task for each queue.

A cancel scope for each wait would cost a tenth of a relayed request and a sixth of a piece of a stream, because trio
moves its deadline twice for each wait. The queues here keep deadlines as exactly as a scope does:

`TimeoutQueue`   all entries have the same delay, so they expire in the order in which they were added;
`DeadlineHeap`   each entry has a deadline of its own, which moves without a call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Protocol

import trio


class DeadlineQueue(ABC):
    """What both queues share: the clock, and the task that sleeps until the next deadline."""

    def __init__(self) -> None:
        self.now: Callable[[], float] = trio.current_time
        """trio's clock; while `run` runs, without the three calls that `trio.current_time` takes to reach it."""
        self._wakes_at = -inf  # until when `run` sleeps; it has not begun to
        self._nearer = trio.Event()  # set when an entry is added whose deadline is before that

    @abstractmethod
    def __len__(self) -> int:
        """Entries in the queue."""

    @abstractmethod
    def _next_deadline(self) -> float:
        """The deadline of the first entry, inf without entries."""

    @abstractmethod
    def _expire_due(self, now: float) -> None:
        """Remove the entries whose deadline has come, and call them."""

    async def run(self) -> None:
        """Call the entries whose deadlines have come, until cancelled. What an entry raises ends it."""
        self.now = trio.lowlevel.current_clock().current_time
        while True:
            self._wakes_at = self._next_deadline()
            with trio.CancelScope(deadline=self._wakes_at):
                await self._nearer.wait()
            self._nearer = trio.Event()
            self._expire_due(self.now())


class TimeoutQueue(DeadlineQueue):
    """Calls each function that waits for longer than `seconds`. Adding and removing take constant time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._deadlines: dict[Callable[[], None], float] = {}

    def __len__(self) -> int:
        return len(self._deadlines)

    def arm(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, `seconds` from now, unless `disarm` comes first."""
        deadline = self._deadlines[callback] = self.now() + self._seconds
        if deadline < self._wakes_at:
            self._nearer.set()

    def disarm(self, callback: Callable[[], None]) -> None:
        """End the wait; does nothing if the time is over."""
        self._deadlines.pop(callback, None)

    def _next_deadline(self) -> float:
        return next(iter(self._deadlines.values()), inf)

    def _expire_due(self, now: float) -> None:
        while self._next_deadline() <= now:
            callback = next(iter(self._deadlines))
            del self._deadlines[callback]
            callback()


class HasDeadline(Protocol):
    """An entry of a `DeadlineHeap`. `deadline` is inf while it waits for nothing."""

    deadline: float
    scheduled_deadline: float
    """The time of its entry in the heap, inf without one. It belongs to the heap."""

    def expire(self) -> None:
        """Called when the deadline has come. Must not raise."""


class DeadlineHeap(DeadlineQueue):
    """Calls `expire` of the entries whose deadline has come.

    A wait writes its deadline into its own attribute and calls `schedule` only if that is nearer than its entry in the
    heap. An entry that comes due while the deadline has moved away is put back. Entries of waits that are over are
    removed whenever the heap has doubled: a closed connection would stay until its last deadline, an hour perhaps.
    """

    MIN_SIZE = 64
    """Entries up to which none is removed before its time."""

    def __init__(self) -> None:
        super().__init__()
        self._heap: list[tuple[float, int, HasDeadline]] = []
        self._full_at = self.MIN_SIZE
        self._order = count()

    def __len__(self) -> int:
        return len(self._heap)

    def schedule(self, entry: HasDeadline) -> None:
        """Keep the entry's deadline; it may be moved further away afterwards without another call."""
        if entry.scheduled_deadline <= entry.deadline:
            return
        entry.scheduled_deadline = entry.deadline
        heappush(self._heap, (entry.deadline, next(self._order), entry))
        if len(self._heap) > self._full_at:
            self._remove_ended()
        if entry.deadline < self._wakes_at:
            self._nearer.set()

    def _remove_ended(self) -> None:
        """Keep the entries that somebody waits for. Constant time for each that was added since the last call."""
        kept = list[tuple[float, int, HasDeadline]]()
        for due, order, entry in self._heap:
            if due != entry.scheduled_deadline:
                continue  # a nearer entry was made after this one
            if entry.deadline == inf:
                entry.scheduled_deadline = inf
            else:
                kept.append((due, order, entry))
        heapify(kept)
        self._heap, self._full_at = kept, max(self.MIN_SIZE, 2 * len(kept))

    def _next_deadline(self) -> float:
        return self._heap[0][0] if self._heap else inf

    def _expire_due(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            due, _, entry = heappop(self._heap)
            if due != entry.scheduled_deadline:
                continue  # a nearer entry was made after this one
            entry.scheduled_deadline = inf
            if entry.deadline <= now:
                entry.expire()
            elif entry.deadline < inf:
                self.schedule(entry)
