"""The native form over real HTTP, with a dispatcher that plays a script."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock as Clock

from lakehouse.asgi.request_scope import REQUEST_KEY
from lakehouse.asgi.responses import Response
from lakehouse.chat.api.event_stream import EventStream
from lakehouse.chat.api.native import NativeEncoder, NativeFormat
from lakehouse.chat.model.pieces import ContentPiece, ReasoningPiece, ToolCallPiece
from lakehouse.chat.model.request import Quorum, Request
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import Attempt, ErrTimeout, ErrUpstream, LakehouseError
from lakehouse.core.provider_failures import make_failure
from tools.kit.fake_dispatcher import CALL, FakeDispatcher, answer, chat_app, done_piece, serve
from tools.kit.sse import sse_events

ASK: dict[str, Any] = {"model": "ollama/qwen3:8b", "messages": [{"role": "user", "content": "Hi"}]}
STREAM = {**ASK, "stream": True}


@pytest.fixture
def dispatcher() -> FakeDispatcher:
    return FakeDispatcher()


everywhere = pytest.mark.parametrize("url", ["ours", "hypercorn", "quart-trio"], indirect=True)


@pytest.fixture
async def url(request: pytest.FixtureRequest, dispatcher: FakeDispatcher, nursery: trio.Nursery) -> str:
    """On our own connections, or where the test says."""
    return await serve(nursery, chat_app(dispatcher, max_body=LIMIT), getattr(request, "param", "ours"))


@pytest.fixture
async def client(url: str) -> Any:
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
        yield client


@everywhere
async def test_a_whole_answer(client: httpx.AsyncClient, dispatcher: FakeDispatcher) -> None:
    dispatcher.reply = answer("Hello!", tool_calls=(CALL,), finish_reason="tool_calls")
    response = await client.post("/v1/chat", json={**ASK, "temperature": 0, "fallbacks": ["judge"]})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.headers["x-lakehouse-attempts"] == "1"
    assert re.fullmatch(r"upstream;dur=0\.0, gateway;dur=\d+\.\d", response.headers["server-timing"])
    assert response.json() == {
        "model": "qwen3:8b",
        "provider": "ollama",
        "content": "Hello!",
        "reasoning": "",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Ghent"}'}}
        ],
        "finish_reason": "tool_calls",
        "input_tokens": 12,
        "output_tokens": 5,
        "cached_tokens": None,
        "reasoning_tokens": None,
        "cost_usd": None,
        "latency_ms": 42.0,
        "attempts": [{"provider": "ollama", "model": "qwen3:8b", "status": 200, "error": None, "ms": 41.5}],
    }
    (asked,) = dispatcher.requests
    assert (asked.model, asked.messages[0].content, asked.temperature) == ("ollama/qwen3:8b", "Hi", 0)
    assert (asked.fallbacks, asked.max_tokens) == (("judge",), None)


async def test_a_quorum(client: httpx.AsyncClient, dispatcher: FakeDispatcher) -> None:
    asks = {**ASK, "format": "json", "quorum": {"of": ["a", "b", "c"], "agree": 2}}
    assert (await client.post("/v1/chat", json=asks)).status_code == 200
    assert dispatcher.requests[0].quorum == Quorum(of=("a", "b", "c"), agree=2)


async def test_the_registered_providers(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/chat/providers")
    assert response.json() == {
        "providers": [
            {"name": "ollama", "available": True, "default": True},
            {"name": "kimi", "available": False, "default": False},
        ],
        "default": "ollama",
    }


async def test_the_prefix_is_a_choice(dispatcher: FakeDispatcher, nursery: trio.Nursery) -> None:
    url = await serve(nursery, chat_app(dispatcher, max_body=LIMIT, prefix=""))
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        assert (await client.post("/chat", json=ASK)).status_code == 200
        assert (await client.get("/chat/providers")).status_code == 200
        assert (await client.post("/v1/chat", json=ASK)).status_code == 404


HI = b'"messages":[{"role":"user","content":"Hi"}]'
NESTED = b'{"a":' * 10_000
LIMIT = 64_000


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b'{"model":', "the body is not JSON"),
        (b"model=x", "the body is not JSON: invalid character (byte 0)"),
        (b'{"model":"m",' + HI + b"} tail", "the body is not JSON: trailing characters"),
        (b'{"model":"m\xff",' + HI + b"}", "the body is not UTF-8"),
        (b'{"model":"\\ud800",' + HI + b"}", "the body is not JSON"),
        (b"[]", "the body does not fit: expected `object`, got `array`"),
        (b"{}", "`model` is required"),
        (b"{" + HI + b"}", "`model` is required"),
        (b'{"model":" ",' + HI + b"}", "`model` must name a model"),
        (b'{"model":7,' + HI + b"}", "`model` does not fit: expected `str`, got `int`"),
        (b'{"model":"m"}', "`messages` is required"),
        (b'{"model":"m","messages":[]}', "`messages` must not be empty"),
        (b'{"model":"m","messages":"Hi"}', "`messages` does not fit: expected `array`, got `str`"),
        (b'{"model":"m","messages":[{"role":"user"}]}', "`messages[0]` does not fit: `content` is required"),
        (b'{"model":"m","messages":[{"content":"Hi"}]}', "`messages[0].role` is required"),
        (b'{"model":"m","messages":[{"role":"king","content":"Hi"}]}', "`messages[0].role` does not fit"),
        (b'{"model":"m","messages":[{"role":"user","content":"Hi","to":1}]}', "`messages[0].to` is not a field"),
        (b'{"model":"m",' + HI + b',"max_tokens":0}', "`max_tokens` must be at least 1"),
        (b'{"model":"m",' + HI + b',"max_tokens":"9"}', "`max_tokens` does not fit: expected `int | null`, got `str`"),
        (b'{"model":"m",' + HI + b',"temprature":1}', "`temprature` is not a field of this request"),
        (b'{"model":"m",' + HI + b',"extra":{"n":2}}', "`extra` is not a field of this request"),
        (b'{"model":"m",' + HI + b',"quorum":{"of":["a","b"],"agree":2}}', "`format` is required with `quorum`"),
        (b'{"model":"m",' + HI + b',"quorum":{"of":["a"],"agree":1}}', "`quorum` does not fit: `of` must name from 2"),
        (b'{"model":"m",' + HI + b',"options":' + NESTED, "nested too deeply"),
    ],
)
async def test_a_wrong_body_is_refused_with_what_is_wrong(
    client: httpx.AsyncClient, dispatcher: FakeDispatcher, body: bytes, says: str
) -> None:
    response = await client.post("/v1/chat", content=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["status"]) == (400, "ErrBadRequest", 400)
    assert says in error["message"]
    assert (error["class"], error["retryable"], error["attempts"]) == (None, False, [])
    assert response.headers["x-lakehouse-attempts"] == "0"
    assert dispatcher.requests == []


@pytest.mark.parametrize("where", ["role", "x" * 50_000])
async def test_what_was_wrong_is_not_sent_back_at_length(client: httpx.AsyncClient, where: str) -> None:
    message = {"role": "user", "content": "Hi", where: "y" * 10_000}
    response = await client.post("/v1/chat", json={"model": "m", "messages": [message]})
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("`messages[0].")
    assert len(response.json()["error"]["message"]) < 400


async def test_a_compressed_body_is_refused_by_name(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/chat", content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert response.status_code == 400
    assert "Content-Encoding: gzip" in response.json()["error"]["message"]


@everywhere
async def test_a_body_over_the_limit_is_refused_before_it_is_read(url: str, dispatcher: FakeDispatcher) -> None:
    head = f"POST /v1/chat HTTP/1.1\r\nHost: x\r\nContent-Length: {LIMIT + 1}\r\n\r\n"
    async with await connect(url) as stream:
        await stream.send_all(head.encode())  # and not a byte of the body
        status, document = await one_answer(stream)
    assert status == 413
    assert document["error"]["code"] == "ErrTooLarge"
    assert f"{LIMIT} bytes" in document["error"]["message"]
    assert dispatcher.requests == []


@everywhere
async def test_a_chunked_body_over_the_limit_is_refused_before_its_end(url: str, dispatcher: FakeDispatcher) -> None:
    async with await connect(url) as stream:
        await stream.send_all(b"POST /v1/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(LIMIT // 1000 + 1):
            await stream.send_all(b"3e8\r\n" + b" " * 1000 + b"\r\n")
        status, document = await one_answer(stream)
    assert (status, document["error"]["code"]) == (413, "ErrTooLarge")
    assert dispatcher.requests == []


@everywhere
async def test_a_body_of_just_the_limit_is_taken(client: httpx.AsyncClient) -> None:
    body = json.dumps(ASK).encode()
    response = await client.post("/v1/chat", content=body + b" " * (LIMIT - len(body)))
    assert response.status_code == 200


@everywhere
async def test_a_failure_is_its_document_with_its_status_and_headers(
    client: httpx.AsyncClient, dispatcher: FakeDispatcher
) -> None:
    dispatcher.reply = make_failure("rate_limit", "slow down", provider="kimi", upstream_status=429, retry_after=2.1)
    dispatcher.reply.attempts = (Attempt(provider="kimi", model="k2", status=429, error="rate_limit", ms=3),)
    for body in (ASK, STREAM):
        dispatcher.script = [dispatcher.reply]
        response = await client.post("/v1/chat", json=body)
        assert (response.status_code, response.headers["content-type"]) == (429, "application/json")
        assert (response.headers["retry-after"], response.headers["x-lakehouse-attempts"]) == ("3", "1")
        assert response.json() == {
            "error": {
                "code": "ErrRateLimited",
                "message": "slow down",
                "status": 429,
                "provider": "kimi",
                "upstream_status": 429,
                "class": "rate_limit",
                "retryable": True,
                "request_id": response.headers["x-request-id"],
                "attempts": [{"provider": "kimi", "model": "k2", "status": 429, "error": "rate_limit", "ms": 3.0}],
            }
        }


@everywhere
@pytest.mark.parametrize("body", [ASK, STREAM])
async def test_a_group_of_failures_is_told_as_one(
    client: httpx.AsyncClient, dispatcher: FakeDispatcher, body: object
) -> None:
    group = ExceptionGroup("nursery", [ExceptionGroup("inner", [ErrTimeout("too late")]), ErrUpstream("broke")])
    dispatcher.reply, dispatcher.script = group, [group]
    response = await client.post("/v1/chat", json=body)
    assert (response.status_code, response.json()["error"]["message"]) == (504, "too late")


@everywhere
@pytest.mark.parametrize("body", [ASK, STREAM])
@pytest.mark.parametrize(
    "defect", [KeyError("secret"), ExceptionGroup("nursery", [ErrTimeout("too late"), KeyError("secret")])]
)
async def test_a_defect_is_an_apology_and_a_log_entry(
    client: httpx.AsyncClient, dispatcher: FakeDispatcher, body: object, defect: Exception, caplog: Any
) -> None:
    dispatcher.reply, dispatcher.script = defect, [defect]
    response = await client.post("/v1/chat", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (500, "ErrInternal")
    assert "secret" not in response.text
    assert "KeyError: 'secret'" in caplog.text


PIECES = (ReasoningPiece(text="Hm."), ContentPiece(text="Hel"), ContentPiece(text="lo"), ToolCallPiece(tool_call=CALL))


@everywhere
async def test_a_stream_is_its_pieces_and_then_done(client: httpx.AsyncClient, dispatcher: FakeDispatcher) -> None:
    dispatcher.script = [PIECES[:2], PIECES[2:3], [PIECES[3], done_piece(finish_reason="tool_calls")]]
    response = await client.post("/v1/chat", json=STREAM)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert response.headers["x-lakehouse-attempts"] == "1"
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Ghent"}'}}
    assert sse_events(response.text) == [
        {"type": "reasoning", "text": "Hm."},
        {"type": "content", "text": "Hel"},
        {"type": "content", "text": "lo"},
        {"type": "tool_call", "tool_call": call},
        {
            "type": "done",
            "model": "qwen3:8b",
            "provider": "ollama",
            "finish_reason": "tool_calls",
            "input_tokens": 12,
            "output_tokens": 5,
            "cached_tokens": None,
            "reasoning_tokens": None,
            "cost_usd": None,
            "latency_ms": 42.0,
            "attempts": [{"provider": "ollama", "model": "qwen3:8b", "status": 200, "error": None, "ms": 41.5}],
        },
    ]
    assert dispatcher.under_way == 0


async def test_line_ends_of_other_alphabets_do_not_cut_an_event(
    client: httpx.AsyncClient, dispatcher: FakeDispatcher
) -> None:
    text = "a\u2028b\u2029c\u0085d\u00e9\u4f60e\u000bf\u001cg\r\n"
    dispatcher.script = [[ContentPiece(text=text), done_piece()]]
    response = await client.post("/v1/chat", json=STREAM)
    assert json.loads(response.text.splitlines()[0].removeprefix("data: "))["text"] == text


@everywhere
@pytest.mark.parametrize("raised", [make_failure("incomplete_stream", "cut"), ExceptionGroup("", [ErrUpstream("cut")])])
async def test_a_stream_that_breaks_ends_in_one_error(
    client: httpx.AsyncClient, dispatcher: FakeDispatcher, raised: Exception
) -> None:
    dispatcher.script = [PIECES[1:2], raised]
    response = await client.post("/v1/chat", json=STREAM)
    first, last = sse_events(response.text)
    assert (response.status_code, first) == (200, {"type": "content", "text": "Hel"})
    assert (last["type"], last["error"]["code"], last["error"]["message"]) == ("error", "ErrUpstream", "cut")


async def test_a_stream_that_breaks_through_a_defect_says_so(
    client: httpx.AsyncClient, dispatcher: FakeDispatcher, caplog: Any
) -> None:
    dispatcher.script = [PIECES[1:2], KeyError("secret")]
    response = await client.post("/v1/chat", json=STREAM)
    assert [event["type"] for event in sse_events(response.text)] == ["content", "error"]
    assert sse_events(response.text)[1]["error"]["code"] == "ErrInternal"
    assert "KeyError: 'secret'" in caplog.text


async def test_a_stream_without_its_end_is_an_error(client: httpx.AsyncClient, dispatcher: FakeDispatcher) -> None:
    dispatcher.script = [PIECES[1:2]]
    response = await client.post("/v1/chat", json=STREAM)
    assert [event["type"] for event in sse_events(response.text)] == ["content", "error"]


async def test_done_is_said_only_when_the_call_has_ended(client: httpx.AsyncClient, dispatcher: FakeDispatcher) -> None:
    dispatcher.script = [PIECES[1:2], [done_piece()], ErrUpstream("broke while it was closed")]
    response = await client.post("/v1/chat", json=STREAM)
    assert [event["type"] for event in sse_events(response.text)] == ["content", "error"]


@everywhere
async def test_pieces_leave_as_they_arrive(client: httpx.AsyncClient, dispatcher: FakeDispatcher) -> None:
    gates = [trio.Event(), trio.Event()]
    dispatcher.script = [PIECES[:1], gates[0], PIECES[1:3], gates[1], [done_piece()]]
    with trio.fail_after(20):
        async with client.stream("POST", "/v1/chat", json=STREAM) as response:
            chunks = response.aiter_bytes()
            assert len(sse_events((await anext(chunks)).decode())) == 1
            gates[0].set()
            assert len(sse_events((await anext(chunks)).decode())) == 2  # they arrived together, so they leave together
            gates[1].set()
            assert sse_events((await anext(chunks)).decode())[0]["type"] == "done"
            with pytest.raises(StopAsyncIteration):
                await anext(chunks)


@everywhere
@pytest.mark.parametrize("phase", ["whole", "before the first piece", "between two pieces"])
async def test_a_client_that_leaves_ends_what_it_started(url: str, dispatcher: FakeDispatcher, phase: str) -> None:
    never = trio.Event()
    dispatcher.reply = never
    dispatcher.script = [PIECES[:1], never] if phase == "between two pieces" else [never]
    body = json.dumps(ASK if phase == "whole" else STREAM)
    with trio.fail_after(20):
        async with await connect(url) as stream:
            await stream.send_all(
                f"POST /v1/chat HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            await dispatcher.begun.wait()
            if phase == "between two pieces":
                await stream.receive_some()
            assert dispatcher.under_way == 1
        await dispatcher.closed.wait()


async def test_the_layers_around_the_application_are_used(dispatcher: FakeDispatcher, nursery: trio.Nursery) -> None:
    context = RequestContext(id="req-7", method="POST", path="/v1/chat", started=0.0)
    app = chat_app(dispatcher, max_body=LIMIT)
    begun = []
    last_words = []

    class Around:
        server = None

        def __init__(self) -> None:
            self.context = context

        def begin_stream(self, encode_error: Callable[[LakehouseError], bytes]) -> None:
            begun.append(len(dispatcher.requests))
            last_words.append(encode_error(ErrUpstream("from outside")))

    async def lifetime(scope: Any, receive: Any, send: Any) -> None:
        inner: Any = {**scope, REQUEST_KEY: Around()}
        await app(inner, receive, send)

    url = await serve(nursery, lifetime, "quart-trio")
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        await client.post("/v1/chat", json=ASK)
        assert (dispatcher.contexts, begun) == ([context], [])
        dispatcher.script = [ErrUpstream("no")]
        refused = await client.post("/v1/chat", json=STREAM)
        assert (refused.json()["error"]["request_id"], begun, context.error) == ("req-7", [], "ErrUpstream")
        dispatcher.script = [PIECES[:1], PIECES[1:2], ErrUpstream("no")]
        broken = await client.post("/v1/chat", json=STREAM)
        assert (sse_events(broken.text)[-1]["error"]["request_id"], begun) == ("req-7", [3])
        assert sse_events(last_words[0].decode())[-1]["error"]["message"] == "from outside"
        assert dispatcher.contexts == [context] * 3
        context.error = None
        await client.post("/v1/chat", content=b"nonsense")
        assert context.error == "ErrBadRequest"


class PlainRequest:
    """A request under a server that offers nothing beyond ASGI."""

    server = None

    def __init__(self) -> None:
        self.context = RequestContext(id="req-8", method="POST", path="/v1/chat", started=0.0)

    def render_errors_with(self, render_error: Callable[[LakehouseError], Response]) -> None:
        """Nothing but the application sends a response."""

    def begin_stream(self, encode_error: Callable[[LakehouseError], bytes]) -> None:
        """There is no deadline to remove."""


def make_stream(dispatcher: FakeDispatcher, *, keep_alive: float) -> EventStream:
    pieces = dispatcher.stream(Request(**ASK))
    return EventStream(pieces, NativeEncoder("req-8"), NativeFormat(), keep_alive=keep_alive, request=PlainRequest())


async def test_silence_between_pieces_is_filled_with_comments(autojump_clock: Clock) -> None:
    dispatcher = FakeDispatcher(script=[40.0, PIECES[1:2], 14.0, PIECES[2:3], 31.0, [done_piece()]])
    sent: list[tuple[float, str]] = []

    async def send(message: Any) -> None:
        await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.body":
            text = message["body"].decode()
            sent.append((trio.current_time(), "comment" if text.startswith(":") else sse_events(text)[0]["type"]))

    start = trio.current_time()
    stream = make_stream(dispatcher, keep_alive=15.0)
    await stream.send_to(send)
    assert [(at - start, what) for at, what in sent] == [
        (40.0, "content"),  # nothing before the first piece, for the status is not known yet
        (54.0, "content"),
        (69.0, "comment"),
        (84.0, "comment"),
        (85.0, "done"),
    ]


async def test_a_comment_never_lands_inside_an_event(autojump_clock: Clock) -> None:
    dispatcher = FakeDispatcher(script=[PIECES[1:2], 10.0, PIECES[2:3], 1.0, [done_piece()]])
    sent: list[bytes] = []
    under_way = 0

    async def send(message: Any) -> None:
        nonlocal under_way
        under_way += 1
        assert under_way == 1
        await trio.sleep(7)  # a client that reads slowly
        under_way -= 1
        sent.append(message.get("body", b"head"))

    stream = make_stream(dispatcher, keep_alive=2.0)
    await stream.send_to(send)
    assert [message[:4] for message in sent] == [b"head", b"data", b": ke", b"data", b"data"]


async def connect(url: str) -> trio.SocketStream:
    """A bare connection to the service."""
    host, port = url.removeprefix("http://").split(":")
    return await trio.open_tcp_stream(host, int(port))


async def one_answer(stream: trio.SocketStream) -> tuple[int, Any]:
    """The status and document of an answer whose connection stays open."""
    received = b""
    with trio.fail_after(20):
        while not received.endswith(b"}"):
            received += await stream.receive_some()
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)
