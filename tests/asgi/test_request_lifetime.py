"""The lifetime of requests under our own server and under stock Hypercorn: the same promises, as far as a server lets them.

What only our connection can promise is asserted for it alone, and said so.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio

from lakehouse.asgi import request_scope
from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.types import App, Message, Receive, Scope, Send
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrProviderNotFound, ErrTimeout, ErrUnavailable, ErrUpstream
from tools.kit.raw_http import (
    CLOSE,
    GET,
    TEXT,
    RunningServer,
    frame,
    get,
    post,
    read_whole_body,
    send_response,
    serve_app,
    serve_app_under_hypercorn,
    websocket,
)

pytestmark = pytest.mark.alone  # measures the time to a deadline and from the end of a client to the end of its work

Host = Callable[[App], AbstractAsyncContextManager[RunningServer]]


@asynccontextmanager
async def owned(app: App) -> AsyncIterator[RunningServer]:
    async with serve_app(app, lifetime=True) as served:
        yield served


@pytest.fixture(params=["own", "hypercorn"])
def host(request: pytest.FixtureRequest) -> Host:
    """Serves an application behind the lifetime middleware: under our own server, or under stock Hypercorn."""
    return owned if request.param == "own" else serve_app_under_hypercorn


def app(handle: App) -> App:
    """An application that handles requests so, and a server's lifespan as it must be."""

    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await handle(scope, receive, send)
            return
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})

    return whole


async def settled(served: RunningServer, active_requests: int = 1) -> list[RequestContext]:
    """The contexts of the requests that have ended, once there are so many and no request is active."""
    with trio.fail_after(2):
        while len(served.ended) < active_requests or len(served.active_requests):
            await trio.sleep(0.001)
    return served.ended


def error_of(out: bytes) -> dict[str, Any]:
    document = json.loads(out.partition(b"\r\n\r\n")[2].removesuffix(b"<EOF>"))
    return dict(document["error"])


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send_response(send, b"hello")


async def begin(send: Send) -> None:
    """The head and a piece of the body."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})


CLOSING = "Connection: close"


# The context.


async def test_a_request_is_in_flight_while_it_runs(host: Host) -> None:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        context = request_scope.get(scope).context
        assert list(served.active_requests) == [context]
        assert (context.method, context.path, context.outcome) == ("POST", "/a b", None)
        await send_response(send, await read_whole_body(receive), 201)

    async with host(app(handle)) as served:
        assert (await served.exchange(post("/a%20b", b"abc", CLOSING))).startswith(b"HTTP/1.1 201")
        (context,) = await settled(served)
    assert (context.status, context.outcome) == (201, "answered")


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [("abc-123", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("\u00e9", False), (None, False)],
)
async def test_a_request_id_is_echoed_when_it_is_sane_and_made_up_otherwise(
    host: Host, sent: str | None, echoed: bool
) -> None:
    async with host(app(hello)) as served:
        out = await served.exchange(get("/", *([f"X-Request-Id: {sent}"] if sent else []), CLOSING))
        (context,) = await settled(served)
    (line,) = [line for line in out.split(b"\r\n") if line.lower().startswith(b"x-request-id: ")]
    assert line.partition(b": ")[2].decode() == context.id
    assert (context.id == sent) == echoed
    assert context.id


async def test_an_upstreams_request_id_gives_way_to_ours(host: Host) -> None:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await send_response(send, b"", 200, [(b"X-Request-Id", b"theirs"), (b"x-other", b"kept")])

    async with host(app(handle)) as served:
        out = await served.exchange(get("/", "X-Request-Id: ours", CLOSING))
    assert b"theirs" not in out
    assert out.lower().count(b"x-request-id") == 1
    assert b"x-other: kept" in out


# The deadline.


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "1e3", "", "\u0663"])
async def test_a_deadline_that_is_none_is_a_400(host: Host, value: str) -> None:
    async with host(app(hello)) as served:
        out = await served.exchange(get("/", f"X-Request-Timeout-Ms: {value}", CLOSING))
        await settled(served)
    assert out.startswith(b"HTTP/1.1 400 ")
    assert "X-Request-Timeout-Ms" in error_of(out)["message"]


async def test_a_deadline_before_the_head_is_a_504_in_time(host: Host) -> None:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        context = request_scope.get(scope).context
        context.begin_upstream_phase("queryd", "waiting")
        await send({"type": "http.response.start", "status": 200, "headers": []})  # held until there is a body
        await trio.sleep_forever()

    took: list[float] = []
    async with host(app(handle)) as served:
        for _ in range(3):  # the best counts, for the machine may be busy
            began = time.perf_counter()
            out = await served.exchange(get("/", "X-Request-Timeout-Ms: 300", CLOSING))
            took.append(time.perf_counter() - began)
        context = (await settled(served, 3))[-1]
    assert out.startswith(b"HTTP/1.1 504 ")
    error = error_of(out)
    assert (error["code"], error["request_id"]) == ("ErrTimeout", context.id)
    assert "waiting, queryd" in error["message"]
    assert (context.status, context.outcome, context.error) == (504, "deadline", "timeout")
    assert 0.290 < min(took) < 0.400


async def test_a_deadline_after_the_head_cuts_the_connection(host: Host) -> None:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await begin(send)
        await trio.sleep_forever()

    async with host(app(handle)) as served:
        out = await served.exchange(get("/", "X-Request-Timeout-Ms: 100"))
        (context,) = await settled(served)
    assert b"half" in out
    assert out.endswith((b"<EOF>", b"<RST>"))
    assert not out.endswith(b"0\r\n\r\n<EOF>")
    assert (context.status, context.outcome) == (200, "deadline")


async def test_a_deadline_holds_against_a_client_that_stops_reading() -> None:
    """Under our own connection only: stock Hypercorn's write cannot be cancelled."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await begin(send)
        while True:
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})

    async with owned(handle) as served, await served.connect() as client:
        began = time.perf_counter()
        await client.send(get("/", "X-Request-Timeout-Ms: 200"))
        (context,) = await settled(served)
        assert 0.190 < time.perf_counter() - began < 0.400
    assert (context.status, context.outcome) == (200, "deadline")


async def test_a_deadline_can_be_lifted(host: Host) -> None:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await begin(send)
        request_scope.get(scope).begin_stream(lambda failure: failure.code.encode())
        await trio.sleep(0.1)
        await send({"type": "http.response.body", "body": b"whole"})

    async with host(app(handle)) as served:
        out = await served.exchange(get("/", "X-Request-Timeout-Ms: 50", CLOSING))
        (context,) = await settled(served)
    assert out.endswith(b"0\r\n\r\n<EOF>")
    assert context.outcome == "answered"


async def test_an_application_that_turns_its_cancellation_into_an_error_still_timed_out(host: Host) -> None:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the clean-up")

    async with host(app(handle)) as served:
        out = await served.exchange(get("/", "X-Request-Timeout-Ms: 50", CLOSING))
        await settled(served)
    assert out.startswith(b"HTTP/1.1 504 ")


# Failures.


async def test_an_applications_failure_is_its_json(host: Host) -> None:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/group":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                raise ErrProviderNotFound("no such provider")
        raise ErrUnavailable("come back", retry_after=2.5)

    async with host(app(handle)) as served:
        alone = await served.exchange(get("/", CLOSING))
        grouped = await served.exchange(get("/group", CLOSING))
        first, second = await settled(served, 2)
    assert alone.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 3\r\n" in alone
    assert error_of(alone)["message"] == "come back"
    assert error_of(grouped)["code"] == "ErrProviderNotFound"
    assert (first.status, first.outcome, first.error) == (503, "answered", "ErrUnavailable")
    assert second.status == 404


async def test_the_unexpected_is_a_500_without_internals_and_logged(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/leave":
            return
        if scope["path"] == "/mixed":
            raise ExceptionGroup("both", [ErrTimeout("late"), KeyError("secret")])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("secret")

    async with host(app(handle)) as served:
        for path in ("/", "/leave", "/mixed"):
            out = await served.exchange(get(path, CLOSING))
            assert out.startswith(b"HTTP/1.1 500 ")
            assert error_of(out)["code"] == "ErrInternal"
            assert b"secret" not in out
        active_requests = await settled(served, 3)
    assert {context.outcome for context in active_requests} == {"failed"}
    logged = [
        record for record in caplog.records if record.name == "lakehouse.server" and record.levelno == logging.ERROR
    ]
    assert [context.id in record.getMessage() for context, record in zip(active_requests, logged, strict=True)] == [
        True
    ] * 3
    assert all(record.exc_info for record in logged)


async def test_a_failure_after_the_head_cuts_the_connection(host: Host) -> None:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await begin(send)
        raise ErrUpstream("broke off", error_class="upstream_error")

    async with host(app(handle)) as served:
        out = await served.exchange(GET)
        (context,) = await settled(served)
    assert b"half" in out
    assert not out.endswith((b"0\r\n\r\n<EOF>", b"0\r\n\r\n"))
    assert (context.status, context.outcome, context.error) == (200, "failed", "upstream_error")


async def test_a_failure_after_the_end_changes_nothing_for_the_client(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await send_response(send, b"hello", 200, [(b"content-length", b"5")])
        raise ValueError("afterwards")

    async with host(app(handle)) as served, await served.connect() as client:
        for _ in range(2):
            await client.send(GET)
            assert await client.response() == (200, b"hello")
        await settled(served, 2)
    assert "afterwards" in caplog.text


# The client that leaves.


@pytest.mark.parametrize("how", ["fin", "rst", "half"])
@pytest.mark.parametrize("phase", ["waiting", "body up", "body down"])
async def test_a_client_that_leaves_ends_its_request(host: Host, phase: str, how: str) -> None:
    ended: list[float] = []
    begun = [trio.Event()]

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        begun[0].set()
        try:
            if phase == "body up":
                await read_whole_body(receive)
            if phase == "body down":
                await begin(send)
            await trio.sleep_forever()
        finally:
            ended.append(time.perf_counter())

    took: list[float] = []
    async with host(app(handle)) as served:
        for _ in range(7):
            async with await served.connect() as client:
                begun[0] = trio.Event()
                await client.send(post("/", b"abc", length=10) if phase == "body up" else GET)
                await begun[0].wait()
                if phase == "body down":
                    await client.read_until(b"half")
                left = time.perf_counter()
                client.leave(how)
                await settled(served, len(took) + 1)
            took.append(ended[-1] - left)
        active_requests = await settled(served, 7)
    assert {(context.status, context.outcome) for context in active_requests} == {(499, "client left")}
    assert min(took) < 0.020


async def test_a_client_that_leaves_with_a_second_request_in_the_pipe_ends_the_first() -> None:
    """Under our own connection only: stock Hypercorn stops reading there, and so does not see the client go."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await trio.sleep_forever()

    begun = trio.Event()
    async with owned(handle) as served, await served.connect() as client:
        await client.send(GET + GET)
        await begun.wait()
        client.leave("fin")
        (context,) = await settled(served)
    assert context.outcome == "client left"


async def test_a_server_that_stops_at_once_is_an_outcome_of_its_own() -> None:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await trio.sleep_forever()

    begun = trio.Event()
    async with owned(handle) as served:
        client = await served.connect()
        await client.send(GET)
        await begun.wait()
    await trio.aclose_forcefully(client.stream)
    assert [(context.status, context.outcome) for context in served.ended] == [(None, "cancelled")]


# The safe ending.


async def test_an_answer_before_a_large_body_does_not_hang(host: Host) -> None:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(0.05)  # meanwhile a server that reads ahead has filled its queue
        await send_response(send, b"no", 413)

    async with host(app(handle)) as served, await served.connect() as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.send, post("/", bytes(5_000_000)))
        with trio.fail_after(2):
            assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 413")
            (context,) = await settled(served)
        nursery.cancel_scope.cancel()
    assert (context.status, context.outcome) == (413, "answered")


async def test_an_idle_connection_is_still_closed_in_time_under_hypercorn() -> None:
    """A runner that is cancelled while it sends the last message would keep Hypercorn from arming its timer."""
    async with serve_app_under_hypercorn(app(hello)) as served, await served.connect() as client:
        for _ in range(3):
            await client.send(GET)
            await client.read_until(b"hello")
        assert (await client.read_all(2)).endswith(b"<EOF>")


async def test_a_foreign_servers_last_message_is_not_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    """A server that does its bookkeeping in there would be left half-way by a deadline."""
    sent: list[Message] = []

    async def receive() -> Message:
        if len(received) < 1:
            received.append({"type": "http.request", "body": b"", "more_body": False})
            return received[0]
        await trio.sleep_forever()
        raise AssertionError

    async def slow(message: Message) -> None:
        await trio.sleep(2)
        sent.append(message)

    received: list[Message] = []
    ended: list[RequestContext] = []
    line = RequestLifetimeMiddleware(hello, active_requests=ActiveRequests(), on_end=ended.append)
    headers = [(b"x-request-timeout-ms", b"3000")]
    await line({"type": "http", "method": "GET", "path": "/", "headers": headers, "extensions": {}}, receive, slow)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert ended[0].outcome == "answered"


async def test_an_application_that_waits_for_the_end_is_told(host: Host) -> None:
    seen: list[Message] = []

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["more_body"] is False
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                seen.append(await receive())

            nursery.start_soon(listen)
            await send_response(send, b"hello")

    async with host(app(handle)) as served:
        assert (await served.exchange(get("/", CLOSING))).startswith(b"HTTP/1.1 200")
        await settled(served)
    assert seen == [{"type": "http.disconnect"}]


# The drain.


async def test_a_drain_is_a_503_before_the_head_and_a_cut_after_it(host: Host) -> None:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/begun":
            await begin(send)
        await trio.sleep_forever()

    async with host(app(handle)) as served, await served.connect() as waiting, await served.connect() as begun:
        await waiting.send(GET)
        await begun.send(get("/begun"))
        await begun.read_until(b"half")
        with trio.fail_after(1):
            while len(served.active_requests) < 2:
                await trio.sleep(0.001)
        served.drain()
        assert b" 503 " in await waiting.read_until(b"\r\n\r\n")
        assert not (await begun.read_all(0.5)).endswith(b"0\r\n\r\n<EOF>")
        active_requests = await settled(served, 2)
    assert sorted((context.status, context.outcome) for context in active_requests) == [(200, "drain"), (503, "drain")]


async def test_a_stream_has_a_last_event_at_the_drain_and_where_the_application_fails(host: Host) -> None:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await begin(send)
        request_scope.get(scope).begin_stream(lambda failure: f"last: {failure.code}".encode())
        if scope["path"] == "/failing":
            raise RuntimeError("a bug")
        await trio.sleep_forever()

    async with host(app(handle)) as served, await served.connect() as draining:
        failed = await served.exchange(get("/failing", CLOSING))
        await draining.send(GET)
        await draining.read_until(b"half")
        served.drain()
        drained = await draining.read_until(b"0\r\n\r\n")
        active_requests = await settled(served, 2)
    assert b"last: ErrInternal" in failed
    assert b"last: ErrUnavailable" in drained
    assert [context.outcome for context in active_requests] == ["failed", "drain"]


# WebSockets.


async def chat(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    if scope["path"] == "/refuse":
        raise ErrUpstream("refused upstream")
    if scope["path"] == "/before":
        await trio.sleep_forever()
    await send({"type": "websocket.accept", "headers": [(b"x-other", b"kept")]})
    if scope["path"] == "/crash":
        raise ValueError("secret")
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def test_a_websocket_has_a_context_and_an_id(host: Host) -> None:
    async with host(app(chat)) as served, await served.connect() as client:
        await client.send(websocket("/ws", "X-Request-Id: abc"))
        head = await client.read_until(b"\r\n\r\n")
        assert b"x-request-id: abc\r\n" in head.lower()
        assert b"x-other: kept" in head
        assert [context.path for context in served.active_requests] == ["/ws"]
        await client.send(frame(TEXT, b"hi"))
        await client.read_until(b"hi")
        await client.send(frame(CLOSE, b"\x03\xe8"))
        await client.read_all()
        (context,) = await settled(served)
    assert (context.status, context.outcome) == (101, "answered")


async def test_a_websocket_is_denied_before_its_handshake_is_answered(host: Host) -> None:
    async with host(app(chat)) as served:
        late = await served.exchange(websocket("/before", "X-Request-Timeout-Ms: 50"))
        refused = await served.exchange(websocket("/refuse"))
        bad = await served.exchange(websocket("/ws", "X-Request-Timeout-Ms: soon"))
        async with await served.connect() as client:
            await client.send(websocket("/before"))
            with trio.fail_after(1):
                while not len(served.active_requests):
                    await trio.sleep(0.001)
            served.drain()
            drained = await client.read_all(0.5)
        active_requests = await settled(served, 4)
    assert [int(out[9:12]) for out in (late, refused, bad, drained)] == [504, 502, 400, 503]
    assert [context.status for context in active_requests] == [504, 502, 400, 503]
    assert b"ErrTimeout" in late


async def test_an_open_websocket_is_closed_with_the_reason(host: Host) -> None:
    async with host(app(chat)) as served:
        crashed = await served.exchange(websocket("/crash"), seconds=0.3)
        late = await served.exchange(websocket("/ws", "X-Request-Timeout-Ms: 50"), seconds=0.3)
        async with await served.connect() as client:
            await client.send(websocket())
            await client.read_until(b"\r\n\r\n")
            served.drain()
            drained = await client.read_until(b"ErrUnavailable")
        active_requests = await settled(served, 3)
    assert b"\x03\xf3ErrInternal" in crashed
    assert b"\x03\xf3ErrTimeout" in late
    assert b"\x03\xe9ErrUnavailable" in drained
    assert [context.outcome for context in active_requests] == ["failed", "deadline", "drain"]


async def test_a_websocket_whose_client_vanishes_ends(host: Host) -> None:
    async with host(app(chat)) as served, await served.connect() as client:
        await client.send(websocket())
        await client.read_until(b"\r\n\r\n")
        client.leave("rst")
        await settled(served)


# What passes through.


async def test_lifespan_passes_through() -> None:
    seen: list[str] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def nothing(*_: object) -> Any:
        raise AssertionError

    await RequestLifetimeMiddleware(inner, active_requests=ActiveRequests())({"type": "lifespan"}, nothing, nothing)
    assert seen == ["lifespan"]
