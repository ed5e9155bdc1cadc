"""A call is a walk over its routes, under one deadline.

What a failure means for the walk is in `policy`, which routes are left alone in `circuit`, what happens within an
attempt in `attempt`, two routes at a time in `hedge`. Here is only the order of things.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import Protocol, TypeVar

import trio

from lakehouse.chat.dispatch.attempts import ActiveAttempt
from lakehouse.chat.dispatch.call import ChatCall
from lakehouse.chat.dispatch.own_process import OwnProcess
from lakehouse.chat.dispatch.policy import backoff_delay, rule_for, worth_telling
from lakehouse.chat.providers.registry import Route
from lakehouse.core.attempts import AttemptReason
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import failure


class AttemptResult(Protocol):
    """What an attempt that worked gives: a whole answer, or a stream that has begun."""

    async def drain(self) -> None:
        """The client has left: read on, to learn what it cost, then let go."""

    async def aclose(self) -> None:
        """Let go of it at once."""


Result = TypeVar("Result", bound=AttemptResult)
Result_co = TypeVar("Result_co", bound=AttemptResult, covariant=True)


class AttemptFunction(Protocol[Result_co]):
    """How one attempt is made: `attempt.whole`, or `attempt.open_stream`."""

    async def __call__(self, call: ChatCall, route: Route, attempt: ActiveAttempt, *, last: bool) -> Result_co: ...


async def try_routes(call: ChatCall, ask: AttemptFunction[Result], why: AttemptReason = "first") -> Result:
    """Ask one route after the other until one answers. `why` says what the first of them is asked for.

    Raises a failure that goes back to the caller, the last one when no route or no time is left, and `ErrUnavailable`
    when the circuits of all routes are open.
    """
    failed: LakehouseError | None = None
    while call.routes and (failed is None or call.fits_before_deadline(0)):
        if failed is not None:
            call.route_began = trio.current_time()
        try:
            won = await try_route(call, call.routes.popleft(), ask, why)
        except LakehouseError as error:
            if not rule_for(error).onward:
                raise
            failed = worth_telling(failed, error)
        else:
            if won is not None:
                return won
        why = "fallback"
    raise failed or call.circuits_open_error()


async def try_route(
    call: ChatCall, route: Route, ask: AttemptFunction[Result], why: AttemptReason, *, once: bool = False
) -> Result | None:
    """Ask one route, again as often as the policy and the time allow (or `once`); None: its circuit is open.

    Raises the last attempt's failure. A provider that does not take the way in which JSON was asked for is asked in the
    next way at once: that is another request, not a second try of the refused one.
    """
    began = call.route_began
    circuit = call.resources.circuits[route.target]
    failed: LakehouseError | None = None
    retry = 0
    own = None if (ready := route.provider.readiness) is None else OwnProcess(call, route, ready)
    while passing := circuit.admit() if own is None else await own.admit(circuit):
        if failed is not None:
            why = "retry"
        if failed is not None or own is not None:
            began = trio.current_time()
        attempt = call.attempt_log.begin(route, passing, why, now=began, timeout=call.resources.silence_limit)
        try:
            with attempt:
                last = not call.routes or call.on_last_route
                if not call.disconnect_grace.allowed:
                    return await ask(call, route, attempt, last=last)
                return await call.disconnect_grace.run_shielded(
                    partial(ask, call, route, attempt, last=last), lambda won: won.drain()
                )
        except LakehouseError as error:
            failed = error
            if (own is not None and own.ended(attempt, error)) or call.step_down(attempt, error):
                continue
        retry += 1
        pause = None if once else backoff_delay(retry, failed, call.settings.policy, call.resources.random)
        if pause is None or not call.fits_before_deadline(pause) or not circuit.admits:
            raise failed
        call.context.begin_phase("backoff")
        await trio.sleep(pause)
    if failed is not None:
        raise failed
    call.refused.append(circuit)
    return None


async def with_deadline(call: ChatCall, work: Callable[[], Awaitable[Result]], *, since: float | None = None) -> Result:
    """Do `work` within `timeout` (counted from now, or from the moment `since`), or what is left of a nearer deadline
    around it. Failures learn the call's trail."""
    timeout, context = call.resources.settings.timeout, call.context
    now = trio.current_time()
    # A context with a client comes from a request lifecycle, whose cancel scope has the nearest deadline around us.
    around = inf if context.client is not None else trio.current_effective_deadline()
    call.route_began = now
    with trio.CancelScope(deadline=(now if since is None else since) + timeout) as limit:
        call.limit = limit
        before = context.shorten_deadline(min(around, limit.deadline))  # for the list of active requests
        call.deadline = context.deadline
        try:
            return await work()
        except LakehouseError as error:
            raise call.finalize_error(error) from error.__cause__
        finally:
            context.restore_deadline(before)
    call.attempt_log.timed_out()
    message = f"timeout: {call.waited_for} did not come within {timeout:g} s"
    raise call.finalize_error(failure("timeout", message, provider=call.context.provider))
