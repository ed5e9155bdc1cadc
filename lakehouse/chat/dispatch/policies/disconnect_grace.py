"""Reading on after the client has disconnected, to learn what its answer cost (`[chatd.policy] on_disconnect`).

A cancelled read closes its connection. Work that may have to go on is therefore shielded from the start, in a task that
the request owns and waits for. It ends with the work itself, `on_disconnect` seconds after the client disconnected, and
at once with any other cancellation: a deadline, a draining server, a hedge that lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from typing import Generic, TypeVar

import trio

from lakehouse.core.context import RequestContext

Result = TypeVar("Result")

UNSENT_PHASES = ("queued", "connecting", "sending")
"""Phases in which the provider has not generated anything yet, so that there is no cost to learn."""


class DisconnectGrace:
    """The grace period of one request: `seconds` after the client disconnected, None to end with the client."""

    def __init__(self, context: RequestContext, seconds: float | None) -> None:
        self.enabled = seconds is not None
        self._context = context
        self._seconds = 0.0 if seconds is None else seconds
        self._deadline = inf

    @property
    def applies(self) -> bool:
        """Whether the client has disconnected while there was a cost to learn."""
        context = self._context
        return self.enabled and context.client_disconnected and context.phase not in UNSENT_PHASES

    @property
    def deadline(self) -> float:
        """The end of the grace period on trio's clock. The period begins with the first call."""
        if self._deadline == inf and self.enabled:
            self._deadline = trio.current_time() + self._seconds
        return self._deadline

    def run_shielded(
        self, work: Callable[[], Awaitable[Result]], discard: Callable[[Result], Awaitable[None]]
    ) -> Awaitable[Result]:
        """Run `work`. If the client disconnects meanwhile, it runs on until `deadline` before the cancellation is
        raised.

        A result that comes too late is given to `discard`, which has until the same deadline.
        """
        return self._run_shielded(work, discard) if self.enabled else work()

    async def _run_shielded(
        self, work: Callable[[], Awaitable[Result]], discard: Callable[[Result], Awaitable[None]]
    ) -> Result:
        task = _ShieldedTask(work)
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
                    await discard(task.results[0])
            raise
        if task.error is not None:
            raise task.error
        return task.results[0]

    @property
    def _end(self) -> float:
        """When cancelled work ends: at once, unless the grace period applies."""
        return self.deadline if self.applies else -inf


class _ShieldedTask(Generic[Result]):
    """The task of `run_shielded`, which sets the deadline of its shield on any cancellation."""

    def __init__(self, work: Callable[[], Awaitable[Result]]) -> None:
        self.done = trio.Event()
        self.scope = trio.CancelScope(shield=True)
        self.results: list[Result] = []
        self.error: Exception | None = None
        self._work = work

    async def run(self) -> None:
        """Run the work and keep its result or exception."""
        with self.scope:
            try:
                self.results.append(await self._work())
            except Exception as error:  # noqa: BLE001 - raised by `run_shielded`
                self.error = error
        self.done.set()
