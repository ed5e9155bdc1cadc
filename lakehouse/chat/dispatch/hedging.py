"""Hedges: when a route has no piece of an answer after `hedge_after`, the next one is asked as well.

The walk goes on as if there were no hedge, and beside it runs at most one route at a time, which gets one attempt. The
first valid piece wins, whoever it is from; the other's connection is closed before the race returns.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Generic

import trio

from lakehouse.chat.dispatch.call import ChatCall
from lakehouse.chat.dispatch.policy import rule_for, worth_telling
from lakehouse.chat.dispatch.try_routes import AttemptFunction, Result, try_route, try_routes
from lakehouse.core.errors import LakehouseError


def try_routes_hedged(call: ChatCall, ask: AttemptFunction[Result]) -> Awaitable[Result]:
    """`try_routes`, hedged if the policy says so and there is somebody to hedge with."""
    hedge_after = call.resources.settings.policy.hedge_after
    if hedge_after is None or len(call.routes) < 2:
        return try_routes(call, ask)
    return HedgedRequest(call, ask, hedge_after).run()


class HedgedRequest(Generic[Result]):
    def __init__(self, call: ChatCall, ask: AttemptFunction[Result], hedge_after: float) -> None:
        self._call = call
        self._ask = ask
        self._hedge_after = hedge_after
        self._hedging = False
        self._won: Result | None = None
        self._error: LakehouseError | None = None
        self._nursery: trio.Nursery

    async def run(self) -> Result:
        """The winner, or the failure that came last; one that goes back to the caller comes before any other."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._walk)
                self._nursery.start_soon(self._hedge)
        except BaseException:
            if self._won is not None:
                await self._won.aclose()
            raise
        if self._won is not None:
            return self._won
        raise self._error or self._call.circuits_open_error()

    async def _walk(self) -> None:
        try:
            await self._win(await try_routes(self._call, self._ask))
        except LakehouseError as error:
            self._fail(error)
            if not self._hedging or not rule_for(error).onward:
                self._nursery.cancel_scope.cancel()

    async def _hedge(self) -> None:
        while self._call.routes:
            due = self._call.route_began + self._hedge_after
            if trio.current_time() < due:
                await trio.sleep_until(due)
                continue  # the walk may have moved on meanwhile
            self._hedging = True
            await self._ask_next()
            self._hedging = False

    async def _ask_next(self) -> None:
        self._call.route_began = trio.current_time()
        try:
            won = await try_route(self._call, self._call.routes.popleft(), self._ask, "hedge", once=True)
        except LakehouseError as error:
            self._fail(error)
        else:
            if won is not None:
                await self._win(won)

    async def _win(self, won: Result) -> None:
        if self._won is None:
            self._won = won
            self._nursery.cancel_scope.cancel()
        else:  # both in the same moment
            await won.aclose()

    def _fail(self, error: LakehouseError) -> None:
        """Remember it. After a refusal that goes back to the caller nobody else is asked."""
        if self._error is None or rule_for(self._error).onward:
            self._error = worth_telling(self._error, error)
        if not rule_for(error).onward:
            self._call.routes.clear()
