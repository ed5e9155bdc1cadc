"""What the upstream connections of a service share: one task for readiness, one for deadlines."""

from __future__ import annotations

from collections.abc import Callable

import trio

from lakehouse.net.poller import Poller
from lakehouse.net.timer_queues import DeadlineHeap


class Reactor:
    """Dispatches readiness and deadlines to callbacks, for as long as `run` runs. A service has one.

    Without a running reactor, connections wait with cancel scopes and in tasks of their own, which costs more.
    """

    def __init__(self) -> None:
        self.poller = Poller()
        self.deadlines = DeadlineHeap()
        self.now: Callable[[], float] = trio.current_time
        """trio's clock, see `DeadlineQueue.now`."""

    async def run(self) -> None:
        """Dispatch until cancelled."""
        self.now = trio.lowlevel.current_clock().current_time
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.poller.run)
            nursery.start_soon(self.deadlines.run)
