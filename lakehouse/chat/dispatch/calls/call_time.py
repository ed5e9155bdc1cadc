"""The time of one call: its deadline, and the turn of its routes. Times are of trio's clock, in seconds."""

from __future__ import annotations

from math import inf

import trio

from lakehouse.core.context import RequestContext


class CallTime:
    """When a call began, when it has to end, and when its newest route had its turn.

    `started` is when the dispatcher took the call; latencies count from it. `deadline` is the nearest deadline: the
    call's own or one around it. `route_started` is when the newest route had its turn; a hedge follows `hedge_after`
    later.
    """

    __slots__ = ("_context", "_outer_deadline", "_request_started", "_scope", "deadline", "route_started", "started")

    def __init__(self, context: RequestContext, *, request_started: float | None = None) -> None:
        """`request_started`: the start of the HTTP request, from which the timeout counts."""
        self.started = trio.current_time()
        self.deadline = inf
        self.route_started = -inf
        self._context = context
        self._request_started = request_started
        self._outer_deadline = inf
        self._scope: trio.CancelScope | None = None

    @property
    def latency_ms(self) -> float:
        """Milliseconds since the call began."""
        return round((trio.current_time() - self.started) * 1000, 3)

    def has_time_for(self, pause: float) -> bool:
        """Whether `pause` seconds from now is before the deadline."""
        return trio.current_time() + pause < self.deadline

    def begin_route(self) -> None:
        """Record that another route has its turn now."""
        self.route_started = trio.current_time()

    def open_scope(self, timeout: float, *, resumed: bool = False) -> trio.CancelScope:
        """The cancel scope of the call, of `timeout` seconds. Whoever opens it calls `close_scope` after it.

        They count from the start of the HTTP request, or from now for a stream that is resumed. The deadline is shown
        in the request context until the scope is closed.
        """
        now = trio.current_time()
        context = self._context
        since = now if resumed or self._request_started is None else self._request_started
        self.route_started = now
        self._scope = scope = trio.CancelScope(deadline=since + timeout)
        # A context with a client comes from a request runner, which records the nearest deadline around the call.
        outer = inf if context.client is not None else trio.current_effective_deadline()
        self._outer_deadline = context.shorten_deadline(min(outer, scope.deadline))
        self.deadline = context.deadline
        return scope

    def close_scope(self) -> None:
        """Show the deadline from before `open_scope` in the request context again."""
        self._context.restore_deadline(self._outer_deadline)

    def lift_deadline(self) -> None:
        """Remove the deadline of the call's scope."""
        if self._scope is not None:
            self._scope.deadline = inf


class IdleTimer:
    """The deadline of the next read of a stream: `timeout` seconds after the last progress of its answer.

    `deadline` is the first one, before any progress.
    """

    __slots__ = ("_deadline", "_end_deadline", "_now", "_progressed", "_timeout")

    def __init__(self, timeout: float, *, deadline: float) -> None:
        self._timeout = timeout
        self._deadline = deadline
        self._end_deadline: float | None = None
        self._progressed = False
        self._now = trio.lowlevel.current_clock().current_time

    def mark_progress(self) -> None:
        """Some of the answer has arrived: the timeout starts anew with the next read."""
        self._progressed = True

    def next_deadline(self) -> float:
        """Until when to wait for more of the answer."""
        if self._progressed:
            self._progressed = False
            self._deadline = self._now() + self._timeout
        return self._deadline

    def end_deadline(self, timeout: float) -> float:
        """Until when to wait after the end mark: `timeout` seconds after the first call of this method at most."""
        if self._end_deadline is None:
            self._end_deadline = self._now() + timeout
        return min(self.next_deadline(), self._end_deadline)
