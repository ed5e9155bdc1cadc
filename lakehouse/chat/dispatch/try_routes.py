"""How a call gets its result: it tries its routes in order, under one deadline.

    with_deadline            the call's timeout
      try_routes             one route after the other, until one answers
        try_route            one route: attempts, each with a permit of the circuit breaker, and back-off between them
          make_attempt       one HTTP exchange: `attempts.attempt.request_complete` or `open_stream`

The decisions are elsewhere: `policies.failure_rules` (retry, next route, or give up), `policies.retry_backoff` (the
wait before a retry), `policies.circuit_breaker` (which routes are skipped), `policies.json_mode_fallback` (how JSON
output is requested), `policies.thinking_fallback` (whether an effort is). `hedging` and `quorum` run this several times
at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

import trio

from lakehouse.chat.dispatch.attempts.local_model_gate import LocalModelGate
from lakehouse.chat.dispatch.calls.attempt_log import ActiveAttempt
from lakehouse.chat.dispatch.calls.call import ChatCall
from lakehouse.chat.dispatch.policies.circuit_breaker import Circuit
from lakehouse.chat.dispatch.policies.failure_rules import choose_error, rule_for
from lakehouse.chat.dispatch.policies.retry_backoff import backoff_delay
from lakehouse.chat.providers.registry import ModelRoute
from lakehouse.core.attempts import AttemptReason
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import make_failure


class AttemptResult(Protocol):
    """The result of a successful attempt: a complete answer, or a stream that has begun."""

    async def drain(self) -> None:
        """The client has left: read to the end, to learn the cost, and close."""

    async def aclose(self) -> None:
        """Close at once."""


Result = TypeVar("Result", bound=AttemptResult)
Result_co = TypeVar("Result_co", bound=AttemptResult, covariant=True)


class AttemptFunction(Protocol[Result_co]):
    """Makes one attempt: `request_complete` or `open_stream`. `last`: no other route could be tried after it."""

    async def __call__(self, call: ChatCall, route: ModelRoute, attempt: ActiveAttempt, *, last: bool) -> Result_co: ...


async def with_deadline(call: ChatCall, work: Callable[[], Awaitable[Result]], *, resumed: bool = False) -> Result:
    """Run `work` within the call's timeout, which counts from now if a stream is `resumed`.

    Raises `ErrTimeout` when it has passed. Every error gets the call's attempts.
    """
    timeout = call.resources.settings.timeout
    try:
        with call.time.open_scope(timeout, resumed=resumed):
            return await work()
    except LakehouseError as error:
        raise call.finalize_error(error) from error.__cause__
    finally:
        call.time.close_scope()
    call.attempt_log.mark_timed_out()
    message = f"timeout: {call.expected_result} did not come within {timeout:g} s"
    raise call.finalize_error(make_failure("timeout", message, provider=call.context.provider))


async def try_routes(call: ChatCall, make_attempt: AttemptFunction[Result], reason: AttemptReason = "first") -> Result:
    """Try one route after the other until one answers; `reason` is the reason of the first attempt.

    Raises an error of the caller's request at once; otherwise the error of the last route, when no route or no time is
    left, or `ErrUnavailable` when the circuits of all routes are open.
    """
    failed: LakehouseError | None = None
    while call.routes and (failed is None or call.time.has_time_for(0)):
        if failed is not None:
            call.time.begin_route()
        route = call.routes.popleft()
        try:
            result = await try_route(call, route, make_attempt, reason)
        except LakehouseError as error:
            if not rule_for(error).try_next_route:
                raise
            call.drop_replicas(route, error)
            failed = choose_error(failed, error)
        else:
            if result is not None:
                return result
        if not call.has_replica_of(route):
            reason = "fallback"
        elif failed is not None:
            reason = "retry"
    raise failed or call.circuits_open_error()


async def try_route(
    call: ChatCall,
    route: ModelRoute,
    make_attempt: AttemptFunction[Result],
    reason: AttemptReason,
    *,
    retry: bool = True,
) -> Result | None:
    """Try one route, with `retry` as often as policy and deadline allow. None: its circuit is open. Where another
    replica of the provider is left, that is tried instead of a retry.

    Raises the error of the last attempt. When a provider rejects the JSON mode, the next mode is tried at once: that is
    another request, not a retry of the rejected one.
    """
    started = call.time.route_started
    circuit = call.resources.find_circuit(route)
    failed: LakehouseError | None = None
    retries = 0
    gate = None if (readiness := route.provider.readiness) is None else LocalModelGate(call, route, readiness)
    while permit := circuit.admit() if gate is None else await gate.admit(circuit):
        if failed is not None:
            reason = "retry"
        if failed is not None or gate is not None:
            started = trio.current_time()
        attempt = call.attempt_log.begin(route, permit, reason, now=started, timeout=call.resources.silence_limit)
        try:
            with attempt:
                last = not call.routes or call.has_no_other_route
                if not call.disconnect_grace.enabled:
                    return await make_attempt(call, route, attempt, last=last)
                return await call.disconnect_grace.run_shielded(
                    partial(make_attempt, call, route, attempt, last=last), lambda result: result.drain()
                )
        except LakehouseError as error:
            failed = error
            if (gate is not None and gate.may_repeat(attempt, error)) or call.adapt_request(attempt, error):
                continue
        retries += 1
        if not retry or call.has_replica_of(route) or not await _wait_for_retry(call, circuit, retries, failed):
            raise failed
    if failed is not None:
        raise failed
    call.open_circuits.append(circuit)
    return None


async def _wait_for_retry(call: ChatCall, circuit: Circuit, retries: int, error: LakehouseError) -> bool:
    """Wait before retry number `retries` of a route that failed with `error`. False, at once, if there is none."""
    pause = backoff_delay(retries, error, call.settings.policy, call.resources.random)
    if pause is None or not call.time.has_time_for(pause) or not circuit.admits:
        return False
    call.context.begin_phase("backoff")
    await trio.sleep(pause)
    return True
