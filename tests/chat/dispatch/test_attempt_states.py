"""An attempt ends once, in one of the ways of the table, and reports its end once to the circuit breaker."""

from __future__ import annotations

import pytest
import trio

from lakehouse.chat.dispatch.calls.attempt_log import ATTEMPT_TRANSITIONS, ActiveAttempt, AttemptLog, AttemptState
from lakehouse.chat.dispatch.policies.circuit_breaker import CircuitBreaker
from lakehouse.chat.providers.ollama import Ollama
from lakehouse.chat.providers.registry import ModelRoute
from lakehouse.core.errors import ErrBadRequest
from lakehouse.core.provider_failures import make_failure
from tools.kit.fake_providers import context

FAILURE = make_failure("server_error", "no", upstream_status=500)


def begin() -> tuple[ActiveAttempt, AttemptLog, CircuitBreaker]:
    """An attempt whose route's circuit opens with one failure."""
    route = ModelRoute(Ollama("http://127.0.0.1:1"), "m")
    circuit = CircuitBreaker(route.target, limit=1, cooldown=9.0, clock=trio.current_time)
    permit = circuit.admit()
    assert permit is not None
    log = AttemptLog(context())
    return log.begin(route, permit, "first", now=trio.current_time(), timeout=60.0), log, circuit


def end(attempt: ActiveAttempt, state: AttemptState) -> None:
    {
        AttemptState.RECEIVING: attempt.mark_progress,
        AttemptState.ANSWERED: attempt.succeed,
        AttemptState.FAILED: lambda: attempt.fail(FAILURE),
        AttemptState.ABANDONED: attempt.abandon,
        AttemptState.UNSENT: attempt.mark_unsent,
    }[state]()


STEPS = [
    AttemptState.RECEIVING,
    AttemptState.ANSWERED,
    AttemptState.FAILED,
    AttemptState.ABANDONED,
    AttemptState.UNSENT,
]


@pytest.mark.parametrize("first", STEPS)
@pytest.mark.parametrize("second", STEPS)
async def test_only_the_transitions_of_the_table_happen(first: AttemptState, second: AttemptState) -> None:
    attempt, _, _ = begin()
    state = attempt.state
    assert state is AttemptState.WAITING
    for step in (first, second):
        end(attempt, step)
        state = step if step in ATTEMPT_TRANSITIONS[state] else state
        assert attempt.state is state
    assert attempt.state.running == (attempt.record.ended is None)


async def test_the_first_end_is_the_one_that_counts() -> None:
    attempt, log, circuit = begin()
    attempt.succeed()
    attempt.fail(FAILURE)
    attempt.abandon()
    assert circuit.state == "closed"
    assert [entry.error for entry in log.entries()] == [None]


async def test_a_request_that_was_never_sent_is_not_listed() -> None:
    attempt, log, circuit = begin()
    attempt.fail(ErrBadRequest("no place for `tools`"))
    assert attempt.state is AttemptState.UNSENT
    assert log.entries() == ()
    assert circuit.state == "closed"
