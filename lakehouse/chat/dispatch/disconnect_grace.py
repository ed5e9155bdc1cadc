"""Reading on after the client has left, to learn what its answer cost.

A cancelled read closes its connection, so whatever may have to be read on is shielded from the start, by a task that
the request itself owns and waits for. It ends with the work itself, `on_disconnect` seconds after the client left, and
at once with any other cancellation (a deadline, a draining server, a hedge that was too slow).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from typing import Generic, TypeVar

import trio

from lakehouse.core.context import RequestContext

Result = TypeVar("Result")

UNSENT = ("queued", "connecting", "sending")
"""Phases in which nothing has been generated yet, so that there is nothing to learn."""


class DisconnectGrace:
    """For one request: whether to read on, and until when. `seconds` None: never, and `allowed` is false."""

    def __init__(self, context: RequestContext, seconds: float | None) -> None:
        self._context = context
        self._seconds = seconds
        self._until = inf
        self.allowed = seconds is not None

    @property
    def wanted(self) -> bool:
        """Whether the client has left while there was something to learn."""
        context = self._context
        return self._seconds is not None and context.client_disconnected and context.phase not in UNSENT

    @property
    def disabled(self) -> bool:
        """Whether nobody ever reads on."""
        return self._seconds is None

    @property
    def until(self) -> float:
        """When reading on ends, on trio's clock; counted from the first time that somebody asks."""
        if self._until == inf and self._seconds is not None:
            self._until = trio.current_time() + self._seconds
        return self._until

    def run_shielded(
        self, work: Callable[[], Awaitable[Result]], lost: Callable[[Result], Awaitable[None]]
    ) -> Awaitable[Result]:
        """Do `work`; when the client leaves meanwhile, let it go on until `until` before the cancellation passes.

        A result that nobody is left to take is given to `lost`, which has until the same moment.
        """
        return work() if self._seconds is None else self._protected(work, lost)

    async def _protected(
        self, work: Callable[[], Awaitable[Result]], lost: Callable[[Result], Awaitable[None]]
    ) -> Result:
        task = _Shielded(work)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                try:
                    await task.done.wait()
                except trio.Cancelled:
                    task.scope.deadline = self._end
                    raise
        except BaseException:
            if task.results:
                with trio.CancelScope(shield=True, deadline=self._end):
                    await lost(task.results[0])
            raise
        if task.error is not None:
            raise task.error
        return task.results[0]

    @property
    def _end(self) -> float:
        """When work that nobody waits for ends: at once, unless there is something to learn."""
        return self.until if self.wanted else -inf


class _Shielded(Generic[Result]):
    """The task that `run_shielded` owns. Its shield is bounded by the deadline that `run_shielded` sets on any cancellation."""

    def __init__(self, work: Callable[[], Awaitable[Result]]) -> None:
        self.done = trio.Event()
        self.scope = trio.CancelScope(shield=True)
        self.results: list[Result] = []
        self.error: Exception | None = None
        self._work = work

    async def run(self) -> None:
        """Do the work and keep what it gives or raises."""
        with self.scope:
            try:
                self.results.append(await self._work())
            except Exception as error:  # noqa: BLE001 - handed over to whoever waits
                self.error = error
        self.done.set()
