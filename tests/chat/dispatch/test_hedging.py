"""Hedges: the next route is asked as well, the first valid piece wins, and the loser is closed before the answer ends."""

from __future__ import annotations

from math import inf

import pytest
import trio
from trio.testing import MockClock

from lakehouse.chat.model.pieces import ContentPiece
from lakehouse.core.errors import ErrBadRequest, ErrTimeout, ErrUpstream
from tools.kit.fake_providers import (
    OVERLOADED,
    SILENCE,
    FakeProvider,
    Script,
    answer_of,
    ask,
    completion,
    completion_event,
    completion_stream,
    context,
    error_response,
    ollama_in_mode,
    ollama_line,
    ollama_stream,
    open_fake_dispatcher,
    openai_in_mode,
    settings,
)

POLICY = {"hedge_after": 2.0}
CHAIN = ("ollama/m", "openrouter/v/m")


@pytest.fixture(params=["whole", "stream"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_the_hedge_wins(autojump_clock: MockClock, mode: str) -> None:
    ollama, openrouter = FakeProvider(SILENCE), FakeProvider(openai_in_mode("From the other.", mode).after(1.5))
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama, openrouter=openrouter) as dispatcher:
        text, answer = await answer_of(dispatcher, ask(*CHAIN), mode)
    assert text == "From the other."
    assert (ollama.times, openrouter.times) == ([0.0], [2.0])
    assert ollama.requests[0].left == 3.5
    assert answer.latency_ms == 3500
    assert [(attempt.provider, attempt.status, attempt.error) for attempt in answer.attempts] == [
        ("ollama", None, None),
        ("openrouter", 200, None),
    ]


async def test_overlapping_time_of_a_losing_hedge_is_not_counted(autojump_clock: MockClock) -> None:
    here = context()
    ollama, openrouter = FakeProvider(SILENCE), FakeProvider(completion().after(1.5))
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama, openrouter=openrouter) as dispatcher:
        await dispatcher(ask(*CHAIN), context=here)
    assert here.upstream_seconds == 1.5


async def test_the_first_route_may_still_win_and_is_listed_last(autojump_clock: MockClock, mode: str) -> None:
    ollama, openrouter = FakeProvider(ollama_in_mode("Hello.", mode).after(3)), FakeProvider(SILENCE)
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama, openrouter=openrouter) as dispatcher:
        text, answer = await answer_of(dispatcher, ask(*CHAIN), mode)
    assert text == "Hello."
    assert openrouter.requests[0].left == 3.0
    assert [attempt.provider for attempt in answer.attempts] == ["openrouter", "ollama"]


async def test_a_route_that_answers_in_time_is_not_hedged(autojump_clock: MockClock, mode: str) -> None:
    ollama, openrouter = (
        FakeProvider(ollama_in_mode("Hello.", mode).after(1.999)),
        FakeProvider(openai_in_mode("", mode)),
    )
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama, openrouter=openrouter) as dispatcher:
        await answer_of(dispatcher, ask(*CHAIN), mode)
    assert openrouter.requests == []


async def test_without_hedge_after_or_a_second_route_there_is_no_hedge(autojump_clock: MockClock, mode: str) -> None:
    ollama, openrouter = FakeProvider(ollama_in_mode("Hello.", mode).after(50)), FakeProvider(openai_in_mode("", mode))
    async with open_fake_dispatcher(ollama=ollama, openrouter=openrouter) as dispatcher:
        await answer_of(dispatcher, ask(*CHAIN), mode)
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama, openrouter=openrouter) as dispatcher:
        await answer_of(dispatcher, ask("ollama/m"), mode)
    assert openrouter.requests == []


async def test_the_losers_connection_is_closed_before_the_answer_ends(autojump_clock: MockClock, mode: str) -> None:
    """Also when the loser had its head and a part of its body already."""
    ollama = FakeProvider(Script(chunks=[(1, b" "), (inf, b"")]))
    openrouter = FakeProvider(openai_in_mode("From the other.", mode))
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama, openrouter=openrouter) as dispatcher:
        if mode == "whole":
            await dispatcher(ask(*CHAIN))
            assert ollama.open == 0
        else:
            async with dispatcher.stream(ask(*CHAIN)) as pieces:
                assert await anext(pieces) == ContentPiece("From the other.")
                assert ollama.open == 0
    assert trio.current_time() == 2.0


ERRORS = {
    "status": error_response(500, "boom"),
    "frame": Script(chunks=[(0, b'data: {"error":{"code":502,"message":"Provider returned error"}}\n\n')]),
    "nothing": Script(chunks=[(0, completion_event({}, finish_reason="stop"))]),
}


@pytest.mark.parametrize("script", ERRORS.values(), ids=ERRORS)
async def test_a_hedge_that_fails_wins_nothing_and_gets_one_attempt(autojump_clock: MockClock, script: Script) -> None:
    ollama, openrouter = FakeProvider(ollama_stream("Hello.", after=10)), FakeProvider(script)
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama, openrouter=openrouter) as dispatcher:
        text, done = await answer_of(dispatcher, ask(*CHAIN), "stream")
    assert text == "Hello."
    assert openrouter.times == [2.0]
    assert [(attempt.provider, attempt.error is None) for attempt in done.attempts] == [
        ("openrouter", False),
        ("ollama", True),
    ]


async def test_when_the_first_route_fails_the_hedge_goes_on(autojump_clock: MockClock, mode: str) -> None:
    ollama, openrouter = (
        FakeProvider(error_response(404, "model 'm' not found", after=3)),
        FakeProvider(openai_in_mode("Late.", mode).after(9)),
    )
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama, openrouter=openrouter) as dispatcher:
        text, _ = await answer_of(dispatcher, ask(*CHAIN), mode)
    assert text == "Late."
    assert trio.current_time() == 11.0


async def test_when_both_fail_the_last_failure_is_raised(autojump_clock: MockClock, mode: str) -> None:
    for first, second, says in ((3, 9, "theirs"), (9, 1, "ours")):
        ollama, openrouter = (
            FakeProvider(error_response(401, "ours", after=first)),
            FakeProvider(error_response(402, "theirs", after=second)),
        )
        async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama, openrouter=openrouter) as dispatcher:
            with pytest.raises(ErrUpstream, match=says) as raised:
                await answer_of(dispatcher, ask(*CHAIN), mode)
        assert len(raised.value.attempts) == 2


async def test_a_failure_ends_the_call_at_once_without_another_route(autojump_clock: MockClock) -> None:
    """The hedge is not waited for that will never start: its only route was taken by the walk."""
    ollama, openrouter = FakeProvider(error_response(401, "ours")), FakeProvider(error_response(402, "theirs"))
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama, openrouter=openrouter) as dispatcher:
        with pytest.raises(ErrUpstream, match="theirs"):
            await dispatcher(ask(*CHAIN))
    assert trio.current_time() == 0.0


async def test_a_client_error_of_either_route_is_raised(autojump_clock: MockClock, mode: str) -> None:
    """The walk's at once; the hedge's when the walk, which may still succeed, has failed. Nobody else is asked."""
    risky = "the request was rejected because it was considered high risk"
    kimi = FakeProvider(error_response(500))
    for script, hedge in (
        (error_response(400, risky, after=3), SILENCE),
        (error_response(500, "boom", after=9), error_response(400, risky)),
    ):
        config = settings(policy={**POLICY, "retries": 0})
        ollama, openrouter = FakeProvider(script), FakeProvider(hedge)
        async with open_fake_dispatcher(config, ollama=ollama, openrouter=openrouter, kimi=kimi) as dispatcher:
            with pytest.raises(ErrBadRequest) as raised:
                await answer_of(dispatcher, ask(*CHAIN, "kimi/k3"), mode)
        assert raised.value.error_class == "content_policy"
    assert kimi.requests == []


async def test_hedge_after_counts_from_the_newest_route(autojump_clock: MockClock) -> None:
    """The walk fails at 1.5 s and moves on by itself; the third route is due 2 s after that."""
    ollama = FakeProvider(error_response(401, after=1.5))
    openrouter, kimi = FakeProvider(SILENCE), FakeProvider(error_response(500))
    config = settings(policy={**POLICY, "retries": 0}, timeout=10.0)
    async with open_fake_dispatcher(config, ollama=ollama, openrouter=openrouter, kimi=kimi) as dispatcher:
        with pytest.raises(ErrTimeout):
            await dispatcher(ask(*CHAIN, "kimi/k3"))
    assert (openrouter.times, kimi.times) == ([1.5], [3.5])


async def test_a_hedge_runs_beside_retries_and_back_off(autojump_clock: MockClock) -> None:
    ollama, openrouter = FakeProvider(OVERLOADED), FakeProvider(completion("From the other."))
    config = settings(policy={"hedge_after": 2.0, "retries": 5, "backoff": 1.0, "breaker_failures": 0})
    async with open_fake_dispatcher(config, ollama=ollama, openrouter=openrouter) as dispatcher:
        answer = await dispatcher(ask(*CHAIN))
    assert answer.content == "From the other."
    assert (ollama.times, openrouter.times) == ([0.0, 1.0], [2.0])


async def test_a_route_with_an_open_circuit_is_no_hedge(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(SILENCE)
    openrouter, kimi = FakeProvider(error_response(500)), FakeProvider(error_response(500))
    config = settings(timeout=10.0, policy={**POLICY, "retries": 0, "breaker_failures": 1, "breaker_cooldown": 99.0})
    async with open_fake_dispatcher(config, ollama=ollama, openrouter=openrouter, kimi=kimi) as dispatcher:
        with pytest.raises(ErrUpstream):
            await dispatcher(ask("openrouter/v/m"))
        with pytest.raises(ErrTimeout):
            await dispatcher(ask(*CHAIN, "kimi/k3"))
    assert (openrouter.times, kimi.times) == ([0.0], [4.0])


async def test_the_deadline_ends_both_routes(autojump_clock: MockClock, mode: str) -> None:
    ollama, openrouter = FakeProvider(SILENCE), FakeProvider(SILENCE)
    async with open_fake_dispatcher(
        settings(policy=POLICY, timeout=7.0), ollama=ollama, openrouter=openrouter
    ) as dispatcher:
        with pytest.raises(ErrTimeout, match=r"^timeout: ") as raised:
            await answer_of(dispatcher, ask(*CHAIN), mode)
        assert (ollama.open, openrouter.open) == (0, 0)
    assert [attempt.error for attempt in raised.value.attempts] == ["timeout", "timeout"]


@pytest.mark.parametrize("seconds", [1.0, 3.0], ids=["before the hedge", "in the race"])
async def test_cancellation_during_a_hedge_leaves_nothing(autojump_clock: MockClock, mode: str, seconds: float) -> None:
    ollama, openrouter = FakeProvider(Script(chunks=[(inf, ollama_line("a"))])), FakeProvider(SILENCE)
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama, openrouter=openrouter) as dispatcher:
        with trio.move_on_after(seconds):
            await answer_of(dispatcher, ask(*CHAIN), mode)
        assert trio.current_time() == seconds
        assert (ollama.open, openrouter.open) == (0, 0)


async def test_cancellation_at_the_moment_of_winning_leaves_nothing(autojump_clock: MockClock) -> None:
    """The moment is one of the scheduler's steps, so it is tried at each; the fake provider knows what is open."""
    ollama, openrouter = FakeProvider(SILENCE), FakeProvider(completion_stream("From the other.", after=1))
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama, openrouter=openrouter) as dispatcher:
        for steps in range(40):
            async with trio.open_nursery() as nursery:

                async def client(scope: trio.CancelScope) -> None:
                    async with dispatcher.stream(ask(*CHAIN)):
                        scope.cancel()

                nursery.start_soon(client, nursery.cancel_scope)
                await trio.sleep(3)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert (ollama.open, openrouter.open) == (0, 0)


async def test_a_losing_route_is_not_counted_as_failed(autojump_clock: MockClock) -> None:
    ollama, openrouter = FakeProvider(SILENCE), FakeProvider(completion("From the other."))
    config = settings(policy={**POLICY, "breaker_failures": 1})
    async with open_fake_dispatcher(config, ollama=ollama, openrouter=openrouter) as dispatcher:
        here = context()
        await dispatcher(ask(*CHAIN), context=here)
        assert all(state.available for state in dispatcher.providers())
    assert [(made.why, made.error) for made in here.attempts] == [("first", "cancelled"), ("hedge", None)]


async def test_when_both_answer_in_the_same_moment_one_wins_and_the_other_is_closed(
    autojump_clock: MockClock, mode: str
) -> None:
    signal = trio.Event()

    class OnSignal(FakeProvider):
        async def wait(self, seconds: float) -> None:
            del seconds
            await signal.wait()

    ollama, openrouter = OnSignal(ollama_in_mode("Hello.", mode)), OnSignal(openai_in_mode("Hello.", mode))
    async with open_fake_dispatcher(settings(policy=POLICY), ollama=ollama, openrouter=openrouter) as dispatcher:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_of, dispatcher, ask(*CHAIN), mode)
            await trio.sleep(3)
            signal.set()
        assert (len(ollama.requests), len(openrouter.requests)) == (1, 1)
        assert (ollama.requests[0].body is None, openrouter.requests[0].body is None) == (False, False)
