"""The walk over one route and over several: what is asked again, what is passed on, what goes back; to the millisecond."""

from __future__ import annotations

import logging
from math import inf
from random import Random

import httpx
import pytest
import trio
from trio.testing import MockClock

from lakehouse.core.errors import (
    Attempt,
    ErrBadRequest,
    ErrProviderNotFound,
    ErrRateLimited,
    ErrTimeout,
    ErrUnavailable,
    ErrUpstream,
    LakehouseError,
)
from tools.kit.fake_providers import (
    OVERLOADED,
    SILENCE,
    FakeProvider,
    Script,
    answer_of,
    ask,
    completion,
    completion_stream,
    context,
    encode_json,
    error_response,
    ollama_answer,
    ollama_in_mode,
    ollama_line,
    open_fake_dispatcher,
    openai_in_mode,
    settings,
)


@pytest.fixture(params=["whole", "stream"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_an_answer_has_provider_and_usage(autojump_clock: MockClock, mode: str) -> None:
    ollama = FakeProvider(ollama_in_mode("Hello.", mode).after(0.25))
    async with open_fake_dispatcher(ollama=ollama) as dispatcher:
        text, answer = await answer_of(dispatcher, ask("ollama/qwen3:8b"), mode)
    assert text == "Hello."
    assert (answer.model, answer.provider, answer.finish_reason) == ("qwen3:8b", "ollama", "stop")
    assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens, answer.cost_usd) == (7, 3, None, None)
    assert answer.latency_ms == pytest.approx(250)
    assert answer.attempts == (Attempt(provider="ollama", model="qwen3:8b", status=200, error=None, ms=250.0),)


async def test_a_passing_failure_is_retried_with_a_doubling_pause(autojump_clock: MockClock, mode: str) -> None:
    ollama = FakeProvider(OVERLOADED, error_response(500, "boom"), ollama_in_mode("Hello.", mode))
    async with open_fake_dispatcher(settings(policy={"retries": 3, "backoff": 0.25}), ollama=ollama) as dispatcher:
        text, answer = await answer_of(dispatcher, ask(), mode)
    assert text == "Hello."
    assert ollama.times == [0.0, 0.25, 0.75]
    assert [(attempt.status, attempt.error) for attempt in answer.attempts] == [
        (503, "overloaded"),
        (500, "server_error"),
        (200, None),
    ]


async def test_the_pause_is_fully_jittered(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(OVERLOADED)
    async with open_fake_dispatcher(
        settings(policy={"retries": 2, "backoff": 1.0}), random=Random(7), ollama=ollama
    ) as dispatcher:
        with pytest.raises(ErrUpstream):
            await dispatcher(ask())
    expected = Random(7)
    first, second = expected.uniform(0, 1), expected.uniform(0, 2)
    assert ollama.times == [0.0, round(first, 3), round(first + second, 3)]


async def test_after_the_last_retry_the_failure_lists_all_attempts(autojump_clock: MockClock, mode: str) -> None:
    ollama = FakeProvider(OVERLOADED)
    async with open_fake_dispatcher(
        settings(policy={"retries": 2, "breaker_failures": 0}), ollama=ollama
    ) as dispatcher:
        with pytest.raises(ErrUpstream, match="server busy") as raised:
            await answer_of(dispatcher, ask(), mode)
    assert (raised.value.provider, raised.value.upstream_status, raised.value.error_class) == (
        "ollama",
        503,
        "overloaded",
    )
    assert [attempt.error for attempt in raised.value.attempts] == ["overloaded"] * 3
    assert len(ollama.requests) == 3


async def test_no_retries_means_one_attempt(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(OVERLOADED)
    async with open_fake_dispatcher(settings(policy={"retries": 0}), ollama=ollama) as dispatcher:
        with pytest.raises(ErrUpstream):
            await dispatcher(ask())
    assert len(ollama.requests) == 1


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.ReadError("reset"), httpx.RemoteProtocolError("?")]
)
async def test_a_reset_before_the_head_is_retried(autojump_clock: MockClock, mode: str, error: Exception) -> None:
    ollama = FakeProvider(Script(error=error), ollama_in_mode("Hello.", mode))
    async with open_fake_dispatcher(ollama=ollama) as dispatcher:
        text, answer = await answer_of(dispatcher, ask(), mode)
    assert text == "Hello."
    assert [(attempt.status, attempt.error) for attempt in answer.attempts] == [(None, "upstream_error"), (200, None)]


# ----- Retry-After


async def test_retry_after_is_waited_out_with_the_jitter_on_top(autojump_clock: MockClock, mode: str) -> None:
    ollama = FakeProvider(
        error_response(429, "slow down", headers={"retry-after": "3"}), ollama_in_mode("Hello.", mode)
    )
    async with open_fake_dispatcher(settings(policy={"backoff": 0.25}), ollama=ollama) as dispatcher:
        text, _ = await answer_of(dispatcher, ask(), mode)
    assert text == "Hello."
    assert ollama.times == [0.0, 3.25]


async def test_a_retry_after_of_more_than_the_maximum_leaves_the_route_at_once(
    autojump_clock: MockClock, mode: str
) -> None:
    ollama = FakeProvider(error_response(429, "slow down", headers={"retry-after": "31"}))
    openrouter = FakeProvider(openai_in_mode("From the other.", mode))
    async with open_fake_dispatcher(
        settings(policy={"max_retry_after": 30}), ollama=ollama, openrouter=openrouter
    ) as dispatcher:
        text, answer = await answer_of(dispatcher, ask("ollama/m", "openrouter/v/m"), mode)
    assert text == "From the other."
    assert (ollama.times, openrouter.times) == ([0.0], [0.0])
    assert answer.model == "v/m"


async def test_a_quota_that_lasts_for_days_is_passed_on_to_the_caller(autojump_clock: MockClock, mode: str) -> None:
    ollama = FakeProvider(error_response(429, "slow down", headers={"retry-after": "259200"}))
    async with open_fake_dispatcher(ollama=ollama) as dispatcher:
        with pytest.raises(ErrRateLimited) as raised:
            await answer_of(dispatcher, ask(), mode)
    assert trio.current_time() == 0.0
    assert raised.value.headers() == [("retry-after", "259200")]


# ----- what goes where: policy's table as it is lived


ONWARD = [
    (401, "unauthorized", "auth"),
    (402, "Insufficient credits.", "billing"),
    (403, "this model requires a subscription, upgrade for access", "entitlement"),
    (404, "model 'm' not found", "model_not_found"),
    (429, "you have reached your weekly usage limit", "quota"),
    (
        400,
        "This endpoint's maximum context length is 8192 tokens. However, you requested about 9000",
        "context_overflow",
    ),
]


@pytest.mark.parametrize(("status", "message", "error_class"), ONWARD, ids=[row[2] for row in ONWARD])
async def test_failures_without_a_retry_go_to_the_next_route_at_once(
    autojump_clock: MockClock, mode: str, status: int, message: str, error_class: str
) -> None:
    ollama = FakeProvider(error_response(status, message))
    openrouter = FakeProvider(openai_in_mode("From the other.", mode))
    async with open_fake_dispatcher(ollama=ollama, openrouter=openrouter) as dispatcher:
        text, answer = await answer_of(dispatcher, ask("ollama/m", "openrouter/v/m"), mode)
    assert text == "From the other."
    assert len(ollama.requests) == 1
    assert trio.current_time() == 0.0
    assert [attempt.error for attempt in answer.attempts] == [error_class, None]
    assert (answer.provider, answer.model, answer.input_tokens) == ("openrouter", "v/m", 11)


BACK = [
    (400, "option x is of the wrong kind", "bad_request"),
    (400, '"m" does not support thinking', "unsupported_parameter"),
    (400, "the request was rejected because it was considered high risk", "content_policy"),
]


@pytest.mark.parametrize(("status", "message", "error_class"), BACK, ids=[row[2] for row in BACK])
async def test_client_errors_of_the_provider_are_raised(
    autojump_clock: MockClock, mode: str, status: int, message: str, error_class: str
) -> None:
    ollama = FakeProvider(error_response(status, message))
    openrouter = FakeProvider(openai_in_mode("From the other.", mode))
    async with open_fake_dispatcher(ollama=ollama, openrouter=openrouter) as dispatcher:
        with pytest.raises(ErrBadRequest) as raised:
            await answer_of(dispatcher, ask("ollama/m", "openrouter/v/m"), mode)
    assert raised.value.error_class == error_class
    assert message in raised.value.message
    assert (len(ollama.requests), len(openrouter.requests)) == (1, 0)


async def test_a_context_overflow_on_all_routes_is_a_client_error(autojump_clock: MockClock, mode: str) -> None:
    overflow = error_response(400, "the prompt is longer than the context length currently available to the model")
    ollama = FakeProvider(overflow)
    async with open_fake_dispatcher(ollama=ollama) as dispatcher:
        with pytest.raises(ErrBadRequest) as raised:
            await answer_of(dispatcher, ask("ollama/small", "ollama/large"), mode)
    assert raised.value.error_class == "context_overflow"
    assert [asked.json["model"] for asked in ollama.requests] == ["small", "large"]


async def test_a_bad_key_is_logged_and_is_not_a_401(
    autojump_clock: MockClock, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    message = "Invalid key or-key, secret question: Hello?"
    openrouter = FakeProvider(
        Script(status=401, chunks=[(0, encode_json({"error": {"code": 401, "message": message}}))])
    )
    with caplog.at_level(logging.ERROR, "lakehouse.chat"):
        async with open_fake_dispatcher(openrouter=openrouter) as dispatcher:
            with pytest.raises(ErrUpstream) as raised:
                await answer_of(dispatcher, ask("openrouter/v/m"), mode)
    assert (raised.value.status, raised.value.upstream_status, raised.value.error_class) == (502, 401, "auth")
    assert "or-key" not in raised.value.message
    [record] = caplog.records
    assert record.getMessage() == (
        "openrouter/v/m: the provider rejected the key (auth, HTTP 401); its key is from $OPENROUTER_API_KEY"
    )


# ----- the ends of answers


EMPTY = {
    "zero choices": Script(chunks=[(0, b'{"choices":[]}')]),
    "no body": Script(chunks=[]),
    "nothing said": completion(""),
}


@pytest.mark.parametrize("script", EMPTY.values(), ids=EMPTY)
async def test_an_empty_answer_is_retried_once(autojump_clock: MockClock, script: Script) -> None:
    openrouter = FakeProvider(script)
    async with open_fake_dispatcher(settings(policy={"retries": 5}), openrouter=openrouter) as dispatcher:
        with pytest.raises(ErrUpstream) as raised:
            await dispatcher(ask("openrouter/v/m"))
    assert raised.value.error_class == "empty_response"
    assert len(openrouter.requests) == 2


async def test_an_error_in_a_200_is_classified(autojump_clock: MockClock, mode: str) -> None:
    envelope = encode_json({"error": {"code": 502, "message": "Provider returned error"}})
    first = Script(chunks=[(0, envelope)]) if mode == "whole" else Script(chunks=[(0, b"data: " + envelope + b"\n\n")])
    openrouter = FakeProvider(first, openai_in_mode("Hello.", mode))
    async with open_fake_dispatcher(openrouter=openrouter) as dispatcher:
        text, answer = await answer_of(dispatcher, ask("openrouter/v/m"), mode)
    assert text == "Hello."
    assert [(attempt.status, attempt.error) for attempt in answer.attempts] == [(200, "upstream_error"), (200, None)]


async def test_an_html_page_instead_of_an_answer_is_an_upstream_error_that_quotes_it(
    autojump_clock: MockClock, mode: str
) -> None:
    page = Script(headers={"content-type": "text/html"}, chunks=[(0, b"<html><h1>Bad gateway</h1></html>")])
    openrouter = FakeProvider(page)
    async with open_fake_dispatcher(settings(policy={"retries": 1}), openrouter=openrouter) as dispatcher:
        with pytest.raises(ErrUpstream, match="Bad gateway") as raised:
            await answer_of(dispatcher, ask("openrouter/v/m"), mode)
    assert raised.value.error_class == "upstream_error"


async def test_a_redirect_is_not_followed(autojump_clock: MockClock, mode: str) -> None:
    ollama = FakeProvider(Script(status=307, headers={"location": "http://elsewhere/"}))
    async with open_fake_dispatcher(ollama=ollama) as dispatcher:
        with pytest.raises(ErrUpstream, match="redirect"):
            await answer_of(dispatcher, ask(), mode)
    assert len(ollama.requests) == 1


async def test_an_answer_over_its_bound_is_an_error_and_not_kept(
    autojump_clock: MockClock, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = b"x" * 1_000_000
    ollama = FakeProvider(Script(chunks=[(0, b'{"message":{"content":"')] + [(0.001, chunk)] * 64))
    async with open_fake_dispatcher(settings(policy={"retries": 0}), ollama=ollama) as dispatcher:
        with pytest.raises(ErrUpstream, match="bound"):
            await answer_of(dispatcher, ask(), mode)
    assert trio.current_time() < 0.040


async def test_streams_and_whole_answers_are_accepted_in_place_of_each_other(
    autojump_clock: MockClock,
) -> None:
    openrouter = FakeProvider(completion_stream("Hel", "lo."), completion("Hello."))
    async with open_fake_dispatcher(openrouter=openrouter) as dispatcher:
        assert (await dispatcher(ask("openrouter/v/m"))).content == "Hello."
        text, _ = await answer_of(dispatcher, ask("openrouter/v/m"), "stream")
    assert text == "Hello."


# ----- one deadline


async def test_there_is_no_retry_after_the_deadline(autojump_clock: MockClock, mode: str) -> None:
    ollama = FakeProvider(error_response(429, "slow down", headers={"retry-after": "5"}))
    async with open_fake_dispatcher(settings(timeout=5.0), ollama=ollama) as dispatcher:
        with pytest.raises(ErrRateLimited):
            await answer_of(dispatcher, ask(), mode)
    assert trio.current_time() == 0.0


async def test_a_deadline_around_the_call_counts_as_well(autojump_clock: MockClock, mode: str) -> None:
    ollama = FakeProvider(error_response(429, "slow down", headers={"retry-after": "5"}))
    async with open_fake_dispatcher(ollama=ollama) as dispatcher:
        with pytest.raises(ErrRateLimited), trio.fail_after(4):
            await answer_of(dispatcher, ask(), mode)
    assert trio.current_time() == 0.0


async def test_one_deadline_covers_attempts_pauses_and_fallbacks_together(autojump_clock: MockClock, mode: str) -> None:
    ollama = FakeProvider(error_response(500, "boom", after=4))
    openrouter = FakeProvider(SILENCE)
    config = settings(timeout=10.0, policy={"retries": 1, "backoff": 1.0})
    async with open_fake_dispatcher(config, ollama=ollama, openrouter=openrouter) as dispatcher:
        with pytest.raises(ErrTimeout, match=r"^timeout: .* did not come within 10 s$") as raised:
            await answer_of(dispatcher, ask("ollama/m", "openrouter/v/m"), mode)
    assert trio.current_time() == pytest.approx(10)
    assert (ollama.times, openrouter.times) == ([0.0, 5.0], [9.0])
    assert [(attempt.error, attempt.ms) for attempt in raised.value.attempts] == [
        ("server_error", 4000),
        ("server_error", 4000),
        ("timeout", 1000),
    ]
    assert (raised.value.status, raised.value.error_class) == (504, "timeout")


async def test_there_is_no_fallback_after_the_deadline(autojump_clock: MockClock) -> None:
    class Slow(FakeProvider):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            with trio.CancelScope(shield=True):  # a transport that does not hear of the deadline in time
                await trio.sleep(11)
            raise httpx.ConnectError("refused")

    ollama, openrouter = Slow(SILENCE), FakeProvider(completion())
    async with open_fake_dispatcher(settings(timeout=10.0), ollama=ollama, openrouter=openrouter) as dispatcher:
        with pytest.raises(LakehouseError):
            await dispatcher(ask("ollama/m", "openrouter/v/m"))
    assert openrouter.requests == []


# ----- silence


async def test_a_silent_route_is_not_retried(autojump_clock: MockClock, mode: str) -> None:
    ollama, openrouter = FakeProvider(SILENCE), FakeProvider(openai_in_mode("From the other.", mode))
    async with open_fake_dispatcher(
        settings(first_token_timeout=20.0), ollama=ollama, openrouter=openrouter
    ) as dispatcher:
        text, answer = await answer_of(dispatcher, ask("ollama/m", "openrouter/v/m"), mode)
    assert text == "From the other."
    assert (ollama.times, openrouter.times) == ([0.0], [20.0])
    assert answer.attempts[0] == Attempt(provider="ollama", model="m", status=None, error="timeout", ms=20_000)


async def test_on_the_last_route_a_stream_ends_at_first_token_timeout(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(SILENCE)
    async with open_fake_dispatcher(settings(first_token_timeout=20.0), ollama=ollama) as dispatcher:
        with pytest.raises(ErrTimeout, match=r"^first_token_timeout: ollama/m sent no piece of an answer within 20 s$"):
            await answer_of(dispatcher, ask(), "stream")
    assert trio.current_time() == 20.0
    assert len(ollama.requests) == 1


async def test_on_the_last_route_a_whole_answer_has_until_timeout(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(ollama_answer("At last.", after=170))
    async with open_fake_dispatcher(settings(first_token_timeout=20.0, timeout=180.0), ollama=ollama) as dispatcher:
        assert (await dispatcher(ask())).content == "At last."
    assert trio.current_time() == 170.0


async def test_a_route_whose_fallback_is_not_open_is_the_last_one(autojump_clock: MockClock) -> None:
    ollama, openrouter = FakeProvider(ollama_answer("At last.", after=170)), FakeProvider(error_response(500))
    config = settings(first_token_timeout=20.0, policy={"breaker_failures": 1, "breaker_cooldown": 600.0})
    async with open_fake_dispatcher(config, ollama=ollama, openrouter=openrouter) as dispatcher:
        with pytest.raises(ErrUpstream):
            await dispatcher(ask("openrouter/v/m"))
        assert (await dispatcher(ask("ollama/m", "openrouter/v/m"))).content == "At last."


async def test_data_of_a_whole_answer_is_progress_and_white_space_is_not(
    autojump_clock: MockClock,
) -> None:
    answer = ollama_answer("Slowly.").chunks[0][1]
    assert isinstance(answer, bytes)
    breathing = Script(chunks=[(5, b" \n")] * 99)
    speaking = Script(chunks=[(15, b" \n"), (4, answer[:1]), (50, answer[1:])])
    stalling = Script(chunks=[(15, b" \n"), (4, answer[:1]), (inf, answer[1:])])
    for script, text, seconds in (
        (breathing, "From the other.", 20),
        (speaking, "Slowly.", 69),
        (stalling, "From the other.", 79),
    ):
        ollama, openrouter = FakeProvider(script), FakeProvider(completion("From the other."))
        config = settings(first_token_timeout=20.0, idle_timeout=60.0)
        async with open_fake_dispatcher(config, ollama=ollama, openrouter=openrouter) as dispatcher:
            answered = await dispatcher(ask("ollama/m", "openrouter/v/m"))
        assert (answered.content, answered.latency_ms) == (text, seconds * 1000)


async def test_a_timeout_response_is_retried(autojump_clock: MockClock, mode: str) -> None:
    ollama = FakeProvider(error_response(504, "gateway timeout"), ollama_in_mode("Hello.", mode))
    async with open_fake_dispatcher(ollama=ollama) as dispatcher:
        text, _ = await answer_of(dispatcher, ask(), mode)
    assert text == "Hello."


# ----- names


async def test_a_provider_that_is_named_and_not_registered_is_404_and_nothing_is_called(
    autojump_clock: MockClock, mode: str
) -> None:
    ollama = FakeProvider(ollama_in_mode("Hello.", mode))
    async with open_fake_dispatcher(env={}, ollama=ollama) as dispatcher:
        for request in (ask("m:cloud"), ask("m", "openrouter/v/m")):
            with pytest.raises(ErrProviderNotFound, match=r"registered: ollama") as raised:
                await answer_of(dispatcher, request, mode)
            assert raised.value.status == 404
    assert ollama.requests == []


async def test_a_tier_is_a_chain_and_its_answer_names_who_served(autojump_clock: MockClock, mode: str) -> None:
    config = settings(models={"judge": ("ollama/big", "openrouter/v/m")}, policy={"retries": 0})
    ollama, openrouter = FakeProvider(OVERLOADED), FakeProvider(openai_in_mode("From the other.", mode))
    async with open_fake_dispatcher(config, ollama=ollama, openrouter=openrouter) as dispatcher:
        text, answer = await answer_of(dispatcher, ask("judge"), mode)
    assert (text, answer.provider, answer.model) == ("From the other.", "openrouter", "v/m")


async def test_our_own_full_queue_is_503_and_no_fault_of_the_route(autojump_clock: MockClock, mode: str) -> None:
    full = Script(error=ErrUnavailable("the queue for ollama is full", retry_after=1))
    ollama = FakeProvider(full)
    async with open_fake_dispatcher(settings(policy={"breaker_failures": 1}), ollama=ollama) as dispatcher:
        with pytest.raises(ErrUnavailable) as raised:
            await answer_of(dispatcher, ask(), mode)
        assert raised.value.headers() == [("retry-after", "1")]
        assert [state.available for state in dispatcher.providers() if state.name == "ollama"] == [True]
    assert len(ollama.requests) == 1


# ----- cancelled in every phase


PHASES = {
    "waiting for the head": ([SILENCE], 1.0),
    "in the back-off": ([OVERLOADED], 0.2),
    "in the second attempt": ([OVERLOADED, SILENCE], 5.0),
    "reading the body": ([Script(chunks=[(0.5, ollama_line("a")), (inf, b"")])], 1.0),
    "reading a refusal": ([Script(status=500, chunks=[(0.5, b"{"), (inf, b"")])], 1.0),
}


@pytest.mark.parametrize(("scripts", "seconds"), PHASES.values(), ids=PHASES)
async def test_cancellation_in_any_phase_leaves_nothing(
    autojump_clock: MockClock, mode: str, scripts: list[Script], seconds: float
) -> None:
    ollama, openrouter = FakeProvider(*scripts), FakeProvider(SILENCE)
    async with open_fake_dispatcher(ollama=ollama, openrouter=openrouter) as dispatcher:
        with trio.move_on_after(seconds) as scope:
            await answer_of(dispatcher, ask("ollama/m", "openrouter/v/m"), mode)
        assert scope.cancelled_caught
        assert trio.current_time() == seconds
        assert ollama.open == 0


async def test_time_of_failed_attempts_counts_as_upstream_time(autojump_clock: MockClock) -> None:
    here = context()
    async with open_fake_dispatcher(ollama=FakeProvider(OVERLOADED.after(1.0), SILENCE)) as dispatcher:
        with trio.move_on_after(5.0):
            await dispatcher(ask(), context=here)
    pause = here.attempts[1].started - 1.0
    assert here.upstream_seconds == pytest.approx(5.0 - pause)


async def test_the_request_context_shows_the_phase_of_the_call(autojump_clock: MockClock, mode: str) -> None:
    here = context()
    seen = []

    class Watching(FakeProvider):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            assert request.extensions["lakehouse.context"] is here
            seen.append((here.phase, here.upstream, here.model, here.attempt_count))
            return await super().handle_async_request(request)

    ollama, openrouter = Watching(OVERLOADED), Watching(openai_in_mode("Hello.", mode))
    async with open_fake_dispatcher(
        settings(policy={"retries": 1}), ollama=ollama, openrouter=openrouter
    ) as dispatcher:
        request = ask("ollama/m", "openrouter/v/m")
        if mode == "whole":
            await dispatcher(request, context=here)
        else:
            async with dispatcher.stream(request, context=here) as pieces:
                async for _ in pieces:
                    pass
    assert seen == [
        ("received", "ollama", "m", 1),
        ("backoff", "ollama", "m", 2),
        ("backoff", "openrouter", "v/m", 3),
    ]
    assert [(made.upstream, made.why, made.error) for made in here.attempts] == [
        ("ollama", "first", "overloaded"),
        ("ollama", "retry", "overloaded"),
        ("openrouter", "fallback", None),
    ]
    assert here.usage is not None
    assert (here.usage.input_tokens, here.provider, here.finish_reason) == (11, "openrouter", "stop")
