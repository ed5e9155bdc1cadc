"""Circuits: a route that keeps failing is left alone, and one request finds out when it is back."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock

from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.chat.dispatch.policies.circuit_breaker import FORGET_AFTER, MAX_CIRCUITS, CircuitBreakerRegistry
from lakehouse.chat.providers.model_router import Target
from lakehouse.core.errors import ErrBadRequest, ErrTimeout, ErrUnavailable, ErrUpstream, LakehouseError
from tools.kit.fake_providers import (
    OVERLOADED,
    SILENCE,
    FakeProvider,
    Script,
    ask,
    completion,
    error_response,
    ollama_answer,
    ollama_line,
    ollama_stream,
    open_fake_dispatcher,
    read,
    settings,
)

POLICY = {"retries": 0, "breaker_failures": 3, "breaker_cooldown": 15.0}


async def fail(dispatcher: ServiceDispatcher, times: int, model: str = "m") -> LakehouseError:
    """Ask as often as that; returns the last failure."""
    for _ in range(times):
        with pytest.raises(LakehouseError) as raised:
            await dispatcher(ask(model))
    return raised.value


def available(dispatcher: ServiceDispatcher) -> bool:
    [state] = [state for state in dispatcher.providers() if state.name == "ollama"]
    return state.available


async def test_failures_in_a_row_open_the_circuit_and_stop_requests(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(OVERLOADED)
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama) as dispatcher:
        await fail(dispatcher, 2)
        assert available(dispatcher)
        assert isinstance(await fail(dispatcher, 1), ErrUpstream)
        assert not available(dispatcher)
        assert dispatcher.open_circuits()["ollama"] == 1
        await trio.sleep(5)
        error = await fail(dispatcher, 30)
    assert len(ollama.requests) == 3
    assert isinstance(error, ErrUnavailable)
    assert error.message == "no route is left: the circuit is open for ollama/m (overloaded)"
    assert error.headers() == [("retry-after", "10")]
    assert error.attempts == ()


async def test_a_success_resets_the_failure_count(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(OVERLOADED, OVERLOADED, ollama_answer(), OVERLOADED)
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama) as dispatcher:
        await fail(dispatcher, 2)
        await dispatcher(ask())
        await fail(dispatcher, 2)
        assert available(dispatcher)


async def test_a_successful_probe_after_the_cooldown_closes_the_circuit(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(OVERLOADED, OVERLOADED, OVERLOADED, ollama_answer(after=2))
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama) as dispatcher:
        await fail(dispatcher, 3)
        await trio.sleep(14.999)
        assert isinstance(await fail(dispatcher, 1), ErrUnavailable)
        await trio.sleep(0.001)
        answers: list[str] = []

        async def client() -> None:
            try:
                answers.append((await dispatcher(ask())).content)
            except ErrUnavailable as error:
                answers.append(f"{error.retry_after:g}")

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(client)
        assert sorted(answers) == ["15"] * 9 + ["Hello."]
        assert available(dispatcher)
        await dispatcher(ask())
    assert ollama.times == [0.0, 0.0, 0.0, 15.0, 17.0]


async def test_a_failed_probe_opens_the_circuit_for_another_cooldown(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(OVERLOADED)
    async with open_fake_dispatcher(settings(policy={**POLICY, "retries": 2}), ollama=ollama) as dispatcher:
        for _ in range(100):
            await trio.sleep(1)
            await fail(dispatcher, 1)
    # Three attempts (retries with pauses of 0.25 s and 0.5 s), then one probe every 15 s, without retries.
    assert ollama.times[:3] == [1.0, 1.25, 1.75]
    gaps = [round(later - earlier, 2) for earlier, later in zip(ollama.times[2:], ollama.times[3:], strict=False)]
    assert gaps
    assert all(15.0 <= gap <= 16.0 for gap in gaps)


async def test_a_primary_that_is_down_for_a_minute_and_comes_back(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(OVERLOADED)
    openrouter = FakeProvider(completion("From the other."))
    served = []
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama, openrouter=openrouter) as dispatcher:
        for number in range(20):
            if number == 12:
                ollama.scripts = [ollama_answer("Back.")]
            served.append((await dispatcher(ask("ollama/m", "openrouter/v/m"))).content)
            await trio.sleep(5)
    # Three failures open it, a probe every 15 s; it is back at 60 s, which the probe at 70 s finds out.
    assert ollama.times == [0.0, 5.0, 10.0, 25.0, 40.0, 55.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0]
    assert served == ["From the other."] * 14 + ["Back."] * 6


async def test_an_open_circuit_does_not_delay_a_chain(autojump_clock: MockClock) -> None:
    ollama, openrouter = FakeProvider(error_response(500, after=2)), FakeProvider(completion("From the other."))
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama, openrouter=openrouter) as dispatcher:
        for _ in range(3):
            await dispatcher(ask("ollama/m", "openrouter/v/m"))
        before = trio.current_time()
        answers = [await dispatcher(ask("ollama/m", "openrouter/v/m")) for _ in range(30)]
    assert trio.current_time() == before
    assert len(ollama.requests) == 3
    assert [len(answer.attempts) for answer in answers] == [1] * 30


async def test_a_circuit_belongs_to_one_route_and_a_provider_is_available_if_all_are_closed(
    autojump_clock: MockClock,
) -> None:
    ollama = FakeProvider(OVERLOADED)
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama) as dispatcher:
        await fail(dispatcher, 3, "broken")
        ollama.scripts = [ollama_answer()]
        await dispatcher(ask("fine"))
        assert isinstance(await fail(dispatcher, 1, "broken"), ErrUnavailable)
        assert not available(dispatcher)


NOT_THE_ROUTE = [
    (400, "option x is of the wrong kind"),
    (400, "the prompt is longer than the context length currently available"),
    (400, "the request was rejected because it was considered high risk"),
    (404, "model 'm' not found"),
]


@pytest.mark.parametrize(("status", "message"), NOT_THE_ROUTE)
async def test_failures_of_the_request_do_not_count(autojump_clock: MockClock, status: int, message: str) -> None:
    ollama = FakeProvider(error_response(status, message))
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama) as dispatcher:
        await fail(dispatcher, 10)
        assert available(dispatcher)
    assert len(ollama.requests) == 10


THE_ROUTE = [
    error_response(401, "unauthorized"),
    error_response(429, "too many requests"),
    error_response(429, "you have reached your weekly usage limit"),
    error_response(500, "boom"),
    Script(chunks=[(0, b"<html>")]),
    Script(chunks=[]),
]


@pytest.mark.parametrize("script", THE_ROUTE)
async def test_failures_of_the_route_count(autojump_clock: MockClock, script: Script) -> None:
    ollama = FakeProvider(script)
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama) as dispatcher:
        await fail(dispatcher, 3)
        assert not available(dispatcher)


async def test_silence_counts_also_when_the_deadline_ends_it(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(SILENCE)
    config = settings(timeout=10.0, first_token_timeout=60.0, policy=POLICY)
    async with open_fake_dispatcher(config, ollama=ollama) as dispatcher:
        assert isinstance(await fail(dispatcher, 3), ErrTimeout)
        assert not available(dispatcher)


async def test_a_client_that_leaves_early_does_not_count(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(SILENCE)
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama) as dispatcher:
        for _ in range(10):
            with trio.move_on_after(5):
                await dispatcher(ask())
        assert available(dispatcher)
    assert len(ollama.requests) == 10


async def test_after_an_abandoned_probe_the_next_request_probes(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(OVERLOADED, OVERLOADED, OVERLOADED, SILENCE, ollama_answer())
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama) as dispatcher:
        await fail(dispatcher, 3)
        await trio.sleep(15)
        with trio.move_on_after(1):
            await dispatcher(ask())
        assert (await dispatcher(ask())).content == "Hello."
        assert available(dispatcher)


async def test_a_probe_that_gets_a_client_error_closes_the_circuit(
    autojump_clock: MockClock,
) -> None:
    ollama = FakeProvider(OVERLOADED, OVERLOADED, OVERLOADED, error_response(400, "option x is of the wrong kind"))
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama) as dispatcher:
        await fail(dispatcher, 3)
        await trio.sleep(15)
        assert isinstance(await fail(dispatcher, 1), ErrBadRequest)
        assert available(dispatcher)


async def test_the_first_piece_of_a_probing_stream_closes_the_circuit(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(OVERLOADED, OVERLOADED, OVERLOADED, ollama_stream("a", "b", gap=30.0))
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama) as dispatcher:
        await fail(dispatcher, 3)
        await trio.sleep(15)
        async with dispatcher.stream(ask()):
            assert available(dispatcher)


async def test_a_probing_stream_that_is_cut_opens_the_circuit_again(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(OVERLOADED, OVERLOADED, OVERLOADED, Script(chunks=[(0, ollama_line("a"))]))
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama) as dispatcher:
        await fail(dispatcher, 3)
        await trio.sleep(15)
        await read(dispatcher)
        assert not available(dispatcher)


async def test_a_circuit_that_opens_ends_the_retries_at_once(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(OVERLOADED)
    policy = {"retries": 9, "backoff": 8.0, "breaker_failures": 1}
    async with open_fake_dispatcher(settings(policy=policy), ollama=ollama) as dispatcher:
        assert isinstance(await fail(dispatcher, 1), ErrUpstream)
    assert trio.current_time() == 0.0


async def test_streams_that_are_cut_count_although_they_had_begun(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(Script(chunks=[(0, ollama_line("a"))]))
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama) as dispatcher:
        for _ in range(3):
            _, error = await read(dispatcher)
            assert isinstance(error, ErrUpstream)
        assert not available(dispatcher)


async def test_no_circuit_ever_opens_when_the_policy_says_so(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(OVERLOADED)
    async with open_fake_dispatcher(settings(policy={**POLICY, "breaker_failures": 0}), ollama=ollama) as dispatcher:
        assert isinstance(await fail(dispatcher, 50), ErrUpstream)
        assert available(dispatcher)
    assert len(ollama.requests) == 50


async def test_the_log_says_when_it_opens_and_closes(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    ollama = FakeProvider(OVERLOADED, OVERLOADED, OVERLOADED, OVERLOADED, ollama_answer())
    with caplog.at_level(logging.INFO, "lakehouse.chat"):
        async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama) as dispatcher:
            await fail(dispatcher, 3)
            await trio.sleep(15)
            await fail(dispatcher, 1)
            await trio.sleep(15)
            await dispatcher(ask())
    assert [record.getMessage() for record in caplog.records] == [
        "circuit of ollama/m is open: 3 failures in a row, last overloaded; next probe in 15s",
        "circuit of ollama/m is open: the probe failed, last overloaded; next probe in 15s",
        "circuit of ollama/m is closed again",
    ]


# ----- the circuits by themselves: names of models come from callers


def test_the_number_of_circuits_is_bounded() -> None:
    circuits = CircuitBreakerRegistry(failures=1, cooldown=1.0, clock=lambda: 0.0)
    first = circuits[Target("ollama", "first")]
    for number in range(MAX_CIRCUITS):
        circuits[Target("ollama", f"{number}")]
    assert circuits[Target("ollama", "first")] is not first


def test_an_unused_open_circuit_is_forgotten() -> None:
    now = [0.0]
    circuits = CircuitBreakerRegistry(failures=1, cooldown=1.0, clock=lambda: now[0])
    passing = circuits[Target("ollama", "m")].admit()
    assert passing is not None
    passing.failed("server_error")
    assert circuits.open("ollama") == 1
    now[0] = FORGET_AFTER + 1
    assert circuits.open("ollama") == 0
    assert circuits[Target("ollama", "m")].state == "closed"
