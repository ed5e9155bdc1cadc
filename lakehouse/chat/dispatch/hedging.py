"""Hedged requests: when a route has no piece of an answer after `hedge_after`, the next route is tried as well.

`try_routes` runs on as without a hedge. Beside it, at most one hedge runs at a time, which gets one attempt. The first
valid piece wins; the connection of the other route is closed before the winner is returned.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Generic

import trio

from lakehouse.chat.dispatch.balancing.balancer import has_replicas
from lakehouse.chat.dispatch.calls.call import ChatCall
from lakehouse.chat.dispatch.policies.failure_rules import choose_error, rule_for
from lakehouse.chat.dispatch.try_routes import AttemptFunction, Result, try_route, try_routes
from lakehouse.core.errors import LakehouseError


def try_routes_hedged(call: ChatCall, make_attempt: AttemptFunction[Result]) -> Awaitable[Result]:
    """`try_routes`, hedged if the policy has `hedge_after` and there is a second route."""
    return _arrange_and_try(call, make_attempt) if has_replicas(call.routes) else _try_hedged(call, make_attempt)


async def _arrange_and_try(call: ChatCall, make_attempt: AttemptFunction[Result]) -> Result:
    await call.resources.balancer.arrange(call.routes, call.session_name)
    return await _try_hedged(call, make_attempt)


def _try_hedged(call: ChatCall, make_attempt: AttemptFunction[Result]) -> Awaitable[Result]:
    hedge_after = call.resources.settings.policy.hedge_after
    if hedge_after is None or len(call.routes) < 2:
        return try_routes(call, make_attempt)
    return HedgedRequest(call, make_attempt, hedge_after).run()


class HedgedRequest(Generic[Result]):
    """One call whose routes are tried by two tasks: in order, and as hedges."""

    def __init__(self, call: ChatCall, make_attempt: AttemptFunction[Result], hedge_after: float) -> None:
        self._call = call
        self._make_attempt = make_attempt
        self._hedge_after = hedge_after
        self._hedge_running = False
        self._winner: Result | None = None
        self._error: LakehouseError | None = None
        self._nursery: trio.Nursery

    async def run(self) -> Result:
        """The result of the first route to answer.

        Raises the last failure when none does, or the first one that is the error of the caller's request.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._try_routes)
                self._nursery.start_soon(self._start_hedges)
        except BaseException:
            if self._winner is not None:
                await self._winner.aclose()
            raise
        if self._winner is not None:
            return self._winner
        raise self._error or self._call.circuits_open_error()

    async def _try_routes(self) -> None:
        try:
            await self._win(await try_routes(self._call, self._make_attempt))
        except LakehouseError as error:
            self._fail(error)
            if not self._hedge_running or not rule_for(error).try_next_route:
                self._nursery.cancel_scope.cancel()

    async def _start_hedges(self) -> None:
        while self._call.routes:
            due = self._call.time.route_started + self._hedge_after
            if trio.current_time() < due:
                await trio.sleep_until(due)
                continue  # `try_routes` may have begun another route meanwhile
            self._hedge_running = True
            await self._try_next()
            self._hedge_running = False

    async def _try_next(self) -> None:
        self._call.time.begin_route()
        try:
            result = await try_route(self._call, self._call.routes.popleft(), self._make_attempt, "hedge", retry=False)
        except LakehouseError as error:
            self._fail(error)
        else:
            if result is not None:
                await self._win(result)

    async def _win(self, result: Result) -> None:
        if self._winner is None:
            self._winner = result
            self._nursery.cancel_scope.cancel()
        else:  # both routes answered in the same scheduler step
            await result.aclose()

    def _fail(self, error: LakehouseError) -> None:
        """Keep the error to raise. After an error of the caller's request no other route is tried."""
        if self._error is None or rule_for(self._error).try_next_route:
            self._error = choose_error(self._error, error)
        if not rule_for(error).try_next_route:
            self._call.routes.clear()
