"""What is promised about time and failure, over real sockets: retries, fallbacks, circuits, hedges, cuts, leaving."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from lakehouse.testing.upstreams import ReceivedRequest, UpstreamScript, never_answer, respond
from tools.kit.service_with_providers import (
    HELLO,
    ServiceWithProviders,
    answer_in_turn,
    chunk,
    events,
    line,
    lines,
    ollama,
    open_service_with_providers,
    streamed_response,
)
from tools.kit.sse import sse_documents

pytestmark = pytest.mark.alone  # timeouts of a fraction of a second on real sockets decide which provider answers

BUSY = respond({"error": "server busy, please try again.  maximum pending requests exceeded"}, 503)
QUICK = {"retries": 2, "backoff": "1ms"}


def refusal(status: int, said: str, more: str = "") -> bytes:
    """As Ollama says it."""
    return respond({"error": said}, status, more=more)


async def errors_of(there: ServiceWithProviders, model: str = "m", **fields: Any) -> tuple[int, list[str | None]]:
    """The status of an answer, and what became of each attempt at it."""
    answer = await there.chat(model, **fields)
    body = answer.json() if answer.headers["content-type"] == "application/json" else sse_documents(answer.text)[-1]
    attempts = body.get("error", body)["attempts"]
    assert answer.headers["x-lakehouse-attempts"] == str(len(attempts))
    return answer.status_code, [attempt["error"] for attempt in attempts]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_passing_failure_is_retried_as_often_as_the_policy_says(*, stream: bool) -> None:
    fine = streamed_response(lines(line("Hi"), line(done=True))) if stream else respond(ollama())
    for answers, status, errors in (
        ([BUSY, BUSY, fine], 200, ["overloaded", "overloaded", None]),
        ([BUSY], 502, ["overloaded"] * 3),
    ):
        async with open_service_with_providers(scripts={"ollama": answer_in_turn(*answers)}, policy=QUICK) as there:
            assert await errors_of(there, stream=stream) == (status, errors)
            assert len(there.requests["ollama"]) == 3


# What it is, and how often the same route is asked with two retries.
AGAIN = [
    (refusal(500, "model runner has unexpectedly stopped"), 3),
    (refusal(502, "x"), 3),
    (refusal(429, "too many requests"), 3),
    (respond(ollama("")), 2),  # an empty answer was paid for: once more
    (refusal(401, "unauthorized"), 1),
    (refusal(402, "pay"), 1),
    (refusal(403, "this model requires a subscription"), 1),
    (refusal(429, "you have reached your weekly usage limit"), 1),
    (refusal(404, "model 'm' not found"), 1),
    (refusal(400, "the prompt is longer than the context length currently available to the model"), 1),
]


@pytest.mark.parametrize(("answer", "times"), AGAIN, ids=range(len(AGAIN)))
async def test_a_failure_that_is_left_goes_on_to_the_next_route(answer: bytes, times: int) -> None:
    async with open_service_with_providers(scripts={"ollama": answer_in_turn(answer)}, policy=QUICK) as there:
        got = await there.chat("ollama/m", fallbacks=["openrouter/v/m"])
        assert got.status_code == 200
        body = got.json()
        assert (body["provider"], body["model"]) == ("openrouter", "v/m")
        assert len(there.requests["ollama"]) == times
        assert [attempt["provider"] for attempt in body["attempts"]] == ["ollama"] * times + ["openrouter"]
        assert body["attempts"][-1]["error"] is None
        assert all(attempt["error"] for attempt in body["attempts"][:-1])
        openai = (await there.complete("ollama/m", fallbacks=["openrouter/v/m"])).json()
        assert openai["model"] == "v/m"


BACK = [
    (refusal(400, "json: cannot unmarshal string"), "bad_request"),
    (refusal(400, '"m" does not support tools'), "unsupported_parameter"),
    (refusal(400, "the request was rejected because it was considered high risk"), "content_policy"),
]


@pytest.mark.parametrize(("answer", "error_class"), BACK, ids=[row[1] for row in BACK])
async def test_the_callers_mistake_goes_back_to_the_caller(answer: bytes, error_class: str) -> None:
    async with open_service_with_providers(
        scripts={"ollama": answer_in_turn(answer)}, policy=QUICK, models={"tier": ["m", "kimi/m"]}
    ) as there:
        for model, fallbacks in (("m", ["kimi/m"]), ("tier", [])):
            there.clear_requests()
            assert await errors_of(there, model, fallbacks=fallbacks) == (400, [error_class])
            assert list(there.requests) == ["ollama"]


async def test_a_tier_and_fallbacks_are_one_chain() -> None:
    tiers = {"first": ["m", "openrouter/v/m"], "then": ["m:cloud", "kimi/m"]}
    down = answer_in_turn(refusal(500, "internal server error"))
    scripts = dict.fromkeys(("ollama", "openrouter", "ollama_cloud"), down)
    async with open_service_with_providers(scripts=scripts, models=tiers) as there:
        answer = (await there.chat("first", fallbacks=["then", "ollama/m"])).json()
        asked = [(attempt["provider"], attempt["model"]) for attempt in answer["attempts"]]
        assert asked == [("ollama", "m"), ("openrouter", "v/m"), ("ollama_cloud", "m"), ("kimi", "m")]


async def test_without_fallbacks_nobody_else_is_asked() -> None:
    async with open_service_with_providers(scripts={"openrouter": answer_in_turn(respond(b"{}", 500))}) as there:
        assert (await there.chat("openrouter/v/m")).status_code == 502
        assert list(there.requests) == ["openrouter"]


async def test_retry_after_is_waited_out_unless_it_is_too_long() -> None:
    for seconds, times in ((1, 2), (3, 1)):
        slow_down = refusal(429, "too many requests", f"retry-after: {seconds}\r\n")
        script = answer_in_turn(slow_down, ollama())
        async with open_service_with_providers(
            scripts={"ollama": script}, policy={**QUICK, "max_retry_after": "2s"}
        ) as there:
            began = trio.current_time()
            answer = await there.chat("m")
            assert len(there.requests["ollama"]) == times
            if times == 2:
                assert answer.status_code == 200
                assert trio.current_time() - began >= 1
            else:
                assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")


async def test_a_retry_that_would_end_past_the_deadline_is_not_made() -> None:
    slow_down = refusal(429, "too many requests", "retry-after: 5\r\n")
    async with open_service_with_providers(
        scripts={"ollama": answer_in_turn(slow_down)}, chatd={"timeout": "2s"}, policy=QUICK
    ) as there:
        with trio.fail_after(1):
            assert await errors_of(there) == (429, ["rate_limit"])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_silent_route_is_left_and_not_retried(*, stream: bool) -> None:
    chatd = {"first_token_timeout": "300ms"}
    async with open_service_with_providers(scripts={"ollama": never_answer}, chatd=chatd, policy=QUICK) as there:
        assert await errors_of(there, fallbacks=["kimi/m"], stream=stream) == (200, ["timeout", None])
        assert len(there.requests["ollama"]) == 1


async def test_on_the_last_route_a_stream_ends_at_the_first_token_timeout_and_an_answer_has_the_whole_time() -> None:
    async def late(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
        await trio.sleep(0.3)
        await stream.send_all(respond(ollama()))

    async with open_service_with_providers(
        scripts={"ollama": late}, chatd={"first_token_timeout": "100ms", "timeout": "2s"}
    ) as there:
        assert (await there.chat("m")).status_code == 200
        answer = await there.chat("m", stream=True)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["class"]) == (504, "ErrTimeout", "timeout")
        assert "first_token_timeout" in error["message"]


def drip(*texts: str, gap: float, before: float = 0.0, after: UpstreamScript | None = None) -> UpstreamScript:
    """Ollama's stream, a piece every `gap` seconds, and its end; or what comes `after` instead of that."""

    async def script(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
        await trio.sleep(before)
        await stream.send_all(streamed_response(b""))
        for text in texts:
            await stream.send_all(lines(line(text)))
            await trio.sleep(gap)
        if after is not None:
            await after(asked, stream)
        await stream.send_all(lines(line(done=True)))
        await stream.aclose()

    return script


async def test_a_healthy_stream_is_cut_by_no_total_limit() -> None:
    limits = {"timeout": "600ms", "first_token_timeout": "600ms", "idle_timeout": "600ms"}
    async with open_service_with_providers(scripts={"ollama": drip(*"abcd", gap=0.2)}, chatd=limits) as there:
        told: list[str] = []

        async def listen(ask: Callable[..., Awaitable[Any]], headers: dict[str, str] | None) -> None:
            told.append((await ask("m", headers, stream=True)).text)

        async with trio.open_nursery() as nursery:
            for ask in (there.chat, there.complete):
                for headers in (None, {"x-request-timeout-ms": "600"}):
                    nursery.start_soon(listen, ask, headers)
        assert len(told) == 4
        for text in told:
            assert all(f'"{letter}"' in text for letter in "abcd")
            assert '"type":"done"' in text or text.endswith("data: [DONE]\n\n")


async def test_silence_in_a_stream_ends_it_with_an_error() -> None:
    async with open_service_with_providers(
        scripts={"ollama": drip("a", gap=0, after=never_answer)}, chatd={"idle_timeout": "80ms"}
    ) as there:
        first, last = sse_documents((await there.chat("m", stream=True)).text)
        assert first["text"] == "a"
        assert (last["type"], last["error"]["code"], last["error"]["class"]) == ("error", "ErrTimeout", "timeout")
        assert "[DONE]" not in (await there.complete("m", stream=True)).text


CUT = streamed_response(events(chunk(content="Hello, "), chunk(content="wor"), end=b""))


def sse(*texts: str) -> bytes:
    """A whole stream of completions."""
    return streamed_response(events(*[chunk(content=text) for text in texts], chunk("stop")))


async def test_a_stream_that_broke_is_left_and_by_default_not_resumed() -> None:
    async with open_service_with_providers(scripts={"openrouter": answer_in_turn(CUT)}, policy=QUICK) as there:
        *_, last = sse_documents((await there.chat("openrouter/v/m", fallbacks=["opencode/m"], stream=True)).text)
        assert (last["type"], last["error"]["class"]) == ("error", "incomplete_stream")
        assert {name: len(requests) for name, requests in there.requests.items()} == {"openrouter": 1}


async def test_a_resumed_stream_goes_on_exactly_where_it_broke() -> None:
    for other, whole in ((sse("Hel", "lo, world", "!"), True), (sse("Hi, world!"), False), (sse("Hello,"), False)):
        scripts = {"openrouter": answer_in_turn(CUT), "opencode": answer_in_turn(other)}
        async with open_service_with_providers(scripts=scripts, policy={"on_cut": "resume"}) as there:
            *said, last = sse_documents(
                (await there.chat("openrouter/v/m", fallbacks=["opencode/m"], stream=True)).text
            )
            text = "".join(piece["text"] for piece in said)
            if whole:
                assert (text, last["type"]) == ("Hello, world!", "done")
                assert (last["provider"], last["model"]) == ("opencode", "m")
                assert [attempt["error"] for attempt in last["attempts"]] == ["incomplete_stream", None]
            else:
                assert (text, last["type"]) == ("Hello, wor", "error")
            asked = there.requests["opencode"][0].json
            assert asked["messages"] == HELLO  # the whole question again


async def test_a_hedge_is_the_next_route_once_and_the_first_piece_wins() -> None:
    slow = drip("slow", gap=0, before=0.5)
    async with open_service_with_providers(scripts={"ollama": slow}, policy={**QUICK, "hedge_after": "60ms"}) as there:
        *said, done = sse_documents((await there.chat("m", fallbacks=["kimi/m"], stream=True)).text)
        assert "".join(piece["text"] for piece in said) == "Hello."
        assert done["provider"] == "kimi"
        assert done["attempts"][-1]["provider"] == "kimi"
    failing = {"ollama": drip("slow", gap=0, before=0.3), "kimi": answer_in_turn(BUSY)}
    async with open_service_with_providers(scripts=failing, policy={**QUICK, "hedge_after": "60ms"}) as there:
        *said, done = sse_documents((await there.chat("m", fallbacks=["kimi/m"], stream=True)).text)
        assert (said[0]["text"], done["provider"]) == ("slow", "ollama")
        assert len(there.requests["kimi"]) == 1


async def test_a_circuit_counts_attempts_and_lets_one_probe_through() -> None:
    policy = {"retries": 1, "backoff": "1ms", "breaker_failures": 2, "breaker_cooldown": "800ms"}
    async with open_service_with_providers(
        scripts={"ollama": answer_in_turn(BUSY, BUSY, ollama())}, policy=policy
    ) as there:
        assert await errors_of(there) == (502, ["overloaded"] * 2)
        assert (await there.chat("m")).status_code == 503
        assert (await there.chat("m", fallbacks=["kimi/m"])).json()["provider"] == "kimi"
        assert (await there.chat("other")).status_code == 200
        await trio.sleep(0.9)
        assert (await there.chat("m")).status_code == 200
        assert (await there.chat("m")).status_code == 200
    async with open_service_with_providers(
        scripts={"ollama": answer_in_turn(BUSY)}, policy={"breaker_failures": 0}
    ) as there:
        for _ in range(8):
            assert (await there.chat("m")).status_code == 502


# Everything a request starts ends with it.

PHASES: dict[str, UpstreamScript] = {
    "waiting": never_answer,
    "streaming": drip("a", gap=0, after=never_answer),
    "backoff": answer_in_turn(refusal(429, "too many requests", "retry-after: 5\r\n")),
}


@pytest.mark.parametrize("phase", PHASES)
async def test_everything_ends_with_the_client(phase: str) -> None:
    with trio.fail_after(10):
        async with open_service_with_providers(scripts={"ollama": PHASES[phase]}, policy={"retries": 2}) as there:
            await leave_at(there, phase)
            await nothing_in_flight(there)
            upstream = there.providers["ollama"]
            while phase != "backoff" and upstream.closed < upstream.opened:
                await trio.sleep(0.005)
            assert len(upstream.requests) == 1


async def leave_at(there: ServiceWithProviders, phase: str) -> None:
    """Ask for a stream, and close the connection once the request is in that phase."""
    host, port = "127.0.0.1", int(there.service.urls[0].rpartition(":")[2])
    body = json.dumps({"model": "m", "messages": HELLO, "stream": True}).encode()
    client = await trio.open_tcp_stream(host, port)
    await client.send_all(b"POST /v1/chat HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    while phase not in [row["phase"] for row in await requests(there)]:
        await trio.sleep(0.005)
    await client.aclose()


async def requests(there: ServiceWithProviders) -> list[dict[str, Any]]:
    """The chats in flight."""
    rows = (await there.client.get("/v1/requests")).json()["requests"]
    return [row for row in rows if row["path"] == "/v1/chat"]


async def nothing_in_flight(there: ServiceWithProviders) -> None:
    """Wait until no chat is in flight."""
    while await requests(there):
        await trio.sleep(0.005)


async def test_a_request_in_flight_is_shown_with_phase_upstream_age_time_left_and_attempts() -> None:
    async with (
        open_service_with_providers(scripts={"ollama": never_answer}, chatd={"timeout": "30s"}) as there,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(there.chat, "qwen3:8b", {"x-request-id": "mine"})
        while not (rows := await requests(there)) or rows[0]["phase"] != "waiting":
            await trio.sleep(0.005)
        (row,) = rows
        assert (row["id"], row["upstream"], row["model"], row["attempt_count"]) == ("mine", "ollama", "qwen3:8b", 1)
        assert 0 <= row["age"] < 5
        assert 20 < row["time_left"] <= 30
        nursery.cancel_scope.cancel()


async def test_draining_lets_what_is_in_flight_end_and_takes_nothing_new() -> None:
    go_on = trio.Event()

    async def until_then(_: ReceivedRequest, __: trio.SocketStream) -> None:
        await go_on.wait()

    with trio.fail_after(10):
        async with open_service_with_providers(scripts={"ollama": drip("a", gap=0, after=until_then)}) as there:
            async with trio.open_nursery() as nursery:
                told: list[str] = []

                async def ask() -> None:
                    told.append((await there.chat("m", stream=True)).text)

                nursery.start_soon(ask)
                while "streaming" not in [row["phase"] for row in await requests(there)]:
                    await trio.sleep(0.005)
                there.service.stop()
                port = int(there.service.urls[0].rpartition(":")[2])
                while await accepts(port):
                    await trio.sleep(0.005)
                go_on.set()
            assert sse_documents(told[0])[-1]["type"] == "done"


async def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True


async def test_what_outlives_the_drain_is_503() -> None:
    with trio.fail_after(10):
        async with open_service_with_providers(
            scripts={"ollama": never_answer}, server={"drain_timeout": "100ms"}
        ) as there:
            async with trio.open_nursery() as nursery:
                answers = []

                async def ask(form: Callable[..., Awaitable[Any]], **fields: Any) -> None:
                    answers.append(await form("m", **fields))

                nursery.start_soon(ask, there.chat)
                nursery.start_soon(ask, there.complete)
                while len(there.requests.get("ollama", ())) < 2:
                    await trio.sleep(0.005)
                there.service.stop()
            assert [answer.status_code for answer in answers] == [503, 503]
            assert {"retry-after"} <= set(answers[0].headers)
            assert {answer.json()["error"].get("code") for answer in answers} == {"ErrUnavailable", "unavailable"}


@pytest.mark.parametrize("after", [1, 3], ids=["awaited", "handed on"])
async def test_a_stream_that_outlives_the_drain_ends_in_an_error_event(after: int) -> None:
    begun = 0

    async def for_ever(_: ReceivedRequest, __: trio.SocketStream) -> None:
        nonlocal begun
        begun += 1
        await trio.sleep_forever()

    script = drip(*"abc"[:after], gap=0.02, after=for_ever)
    with trio.fail_after(10):
        async with open_service_with_providers(scripts={"ollama": script}, server={"drain_timeout": "100ms"}) as there:
            async with trio.open_nursery() as nursery:
                told: dict[str, str] = {}

                async def ask(name: str, form: Callable[..., Awaitable[Any]]) -> None:
                    told[name] = (await form("m", stream=True)).text

                nursery.start_soon(ask, "native", there.chat)
                nursery.start_soon(ask, "openai", there.complete)
                while begun < 2:
                    await trio.sleep(0.005)
                there.service.stop()
    last = sse_documents(told["native"])[-1]
    assert (last["type"], last["error"]["code"]) == ("error", "ErrUnavailable")
    assert sse_documents(told["openai"])[-1]["error"]["code"] == "unavailable"
    assert "[DONE]" not in told["openai"]
