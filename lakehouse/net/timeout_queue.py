"""How long clients may keep us waiting for a request, all of them watched by one task.

A cancel scope's deadline would be moved twice for every request, which costs more than parsing it. Those who wait with
the same patience lose it in the order in which they began, so a dictionary is all that is needed: beginning and
ending take constant time and leave nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import trio


class TimeoutQueue:
    """Calls `lost` of each that waits for longer than `seconds`; `run` does the calling."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._now: Callable[[], float] = trio.current_time
        self._waiting: dict[Callable[[], None], float] = {}
        self._some = trio.Event()

    def arm(self, lost: Callable[[], None]) -> None:
        """Call `lost` once `seconds` have passed, unless `end` comes before. What it raises ends `run`."""
        self._waiting[lost] = self._now() + self._seconds
        if len(self._waiting) == 1:
            self._some.set()

    def disarm(self, lost: Callable[[], None]) -> None:
        """The wait is over. Harmless when it was lost already."""
        self._waiting.pop(lost, None)

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        self._now = trio.lowlevel.current_clock().current_time  # trio's own way to it is three calls long
        while True:
            if not self._waiting:
                self._some = trio.Event()
                await self._some.wait()
            await trio.sleep_until(next(iter(self._waiting.values()), 0.0))
            now = trio.current_time()
            while self._waiting:
                lost, deadline = next(iter(self._waiting.items()))
                if deadline > now:
                    break
                del self._waiting[lost]
                lost()
