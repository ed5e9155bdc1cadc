"""The edge's connection on real sockets: what a client gets, what the application sees, and what time does to both.

Every test has its own listener on port 0. Times are virtual (`autojump_clock`) where they are meant; the few bounds on real
time are generous. Nothing sleeps for luck.
"""

from __future__ import annotations

import logging
import os
import ssl
import statistics
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from lakehouse.asgi.types import Message, Receive, Scope, Send
from lakehouse.net.fairness import OPERATIONS
from lakehouse.server.connection import serve_connection
from lakehouse.server.connection_io import LARGE_BODY_READ
from lakehouse.server.limits import ServerLimits
from lakehouse.server.server_state import open_server_state
from lakehouse.server.transports.socket_transport import SocketTransport
from tools.kit.raw_http import (
    BINARY,
    CLOSE,
    CONTINUATION,
    GET,
    PING,
    TEXT,
    Client,
    frame,
    get,
    hello,
    post,
    read_whole_body,
    send_response,
    serve_app,
    websocket,
)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await send_response(send, await read_whole_body(receive))


# Keep-alive and pipelining.


async def test_requests_follow_each_other_on_one_connection() -> None:
    async with serve_app(echo) as served, await served.connect() as client:
        for n in range(3):
            body = b"%d" % n
            await client.send(post("/", body))
            assert await client.response() == (200, body)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(0.02 if scope["path"] == "/slow" else 0)
        await send_response(send, scope["path"].encode() + await read_whole_body(receive))

    async with serve_app(app) as served, await served.connect() as client:
        await client.send(get("/slow") + post("/b", b"body") + get("/c"))
        assert [await client.response() for _ in range(3)] == [(200, b"/slow"), (200, b"/bbody"), (200, b"/c")]


async def test_receive_reports_a_disconnect_only_after_the_response_is_written() -> None:
    """The gateway uploads while it sends an early response: a disconnect before its last byte would cancel it."""
    events: list[str] = []
    blocked = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def respond() -> None:
            await send_response(send, b"x" * 20_000_000)
            events.append("sent")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(respond)
            await trio.testing.wait_all_tasks_blocked()
            blocked.set()
            events.append((await receive())["type"])

    async with serve_app(app) as served, await served.connect() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        await blocked.wait()
        status, body = await client.response()
    assert (status, len(body)) == (200, 20_000_000)
    assert events == ["sent", "http.disconnect"]


async def test_a_close_is_announced_and_kept() -> None:
    async with serve_app(hello) as served:
        out = await served.exchange(get("/", "Connection: close") + GET)
    assert out.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in out
    assert out.endswith(b"hello<EOF>")


async def test_http_1_0_closes_and_keep_alive_keeps() -> None:
    async with serve_app(hello) as served:
        assert (await served.exchange(b"GET / HTTP/1.0\r\n\r\n")).endswith(b"hello<EOF>")
        async with await served.connect() as client:
            for _ in range(2):
                await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                assert await client.response() == (200, b"hello")


# What the application sees.


async def test_the_scope_says_what_was_sent() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await send_response(send, b"")

    async with serve_app(app) as served:
        await served.exchange(get("/a%2Fb%20%C3%A9?q=%41", "X-A: 1", "X-A: 2", "Connection: close"))
        await served.exchange(get("http://other/x", "Connection: close"))
        await served.exchange(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    first, absolute, asterisk = scopes
    assert {key: first[key] for key in ("type", "method", "scheme", "path", "raw_path", "query_string")} == {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/a/b \u00e9",
        "raw_path": b"/a%2Fb%20%C3%A9",
        "query_string": b"q=%41",
    }
    assert first["headers"][1:3] == [(b"x-a", b"1"), (b"x-a", b"2")]
    assert first["server"] == ("127.0.0.1", served.port)
    assert first["client"][0] == "127.0.0.1"
    assert absolute["raw_path"] == b"http://other/x"
    assert asterisk["raw_path"] == b"*"


async def test_a_body_is_given_as_it_arrives_and_then_the_end() -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        came.set()
        seen.append(await receive())
        await send_response(send, b"")
        seen.append(await receive())

    came = trio.Event()
    async with serve_app(app) as served, await served.connect() as client:
        await client.send(post("/", b"abc", length=5))
        await came.wait()
        await client.send(b"de")
        await client.response()
    assert [(m.get("body"), m.get("more_body")) for m in seen[:2]] == [(b"abc", True), (b"de", False)]
    assert seen[2] == {"type": "http.disconnect"}


async def test_an_unread_body_waits_with_the_kernel() -> None:
    """Back-pressure: what the application does not ask for stays with the client, all but what a read brought."""
    stuck = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await stuck.wait()
        size = 0
        while (message := await receive())["more_body"]:
            largest[0] = max(largest[0], len(message["body"]))
            size += len(message["body"])
        await send_response(send, b"%d" % (size + len(message["body"])))

    largest = [0]
    total = 64 * 1024 * 1024
    sent = 0
    async with serve_app(app) as served, await served.connect() as client:
        await client.send(post("/", b"", length=total))
        with trio.move_on_after(0.3):
            while True:
                sent += await client.socket.send(bytes(1024 * 1024))
        assert sent < 24 * 1024 * 1024  # the kernel's buffers of both sides
        stuck.set()
        await client.send(bytes(total - sent))
        assert await client.response() == (200, b"%d" % total)
    assert largest[0] <= LARGE_BODY_READ


async def test_100_continue_is_sent_when_the_application_reads() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_response(
            send,
            await read_whole_body(receive) if scope["path"] == "/read" else b"",
            200 if scope["path"] == "/read" else 401,
        )

    async with serve_app(app) as served:
        async with await served.connect() as client:
            await client.send(post("/read", b"", "Expect: 100-continue", length=3))
            assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(b"abc")
            assert await client.response() == (200, b"abc")
        out = await served.exchange(post("/refuse", b"", "Expect: 100-continue", length=3))
        assert out.startswith(b"HTTP/1.1 401")
        assert b"connection: close" in out
        assert out.endswith(b"<EOF>")
        # A client that did not wait needs no invitation.
        assert (await served.exchange(post("/read", b"abc", "Expect: 100-continue", "Connection: close"))).startswith(
            b"HTTP/1.1 200"
        )


# Writing.


class Spy(trio.abc.HalfCloseableStream):
    """A stream that keeps count of the writes on another."""

    def __init__(self, below: trio.StapledStream[Any, Any]) -> None:
        self.below = below
        self.writes: list[bytes] = []

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))
        await self.below.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.below.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.below.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self.below.receive_some(max_bytes))

    async def aclose(self) -> None:
        await self.below.aclose()


async def test_head_and_body_leave_in_one_write() -> None:
    client, below = trio.testing.memory_stream_pair()
    server = Spy(below)
    async with open_server_state(hello) as server_state, trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, server_state, server)
        await client.send_all(GET)
        await client.receive_some(1000)
        await client.aclose()
    assert len(server.writes) == 1
    assert server.writes[0].endswith(b"content-length: 5\r\n\r\nhello")


async def test_an_empty_piece_sends_the_head() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await go.wait()
        await send({"type": "http.response.body", "body": b"abc"})

    go = trio.Event()
    async with serve_app(app) as served, await served.connect() as client:
        await client.send(GET)
        assert b"chunked" in await client.read_until(b"\r\n\r\n")
        go.set()
        assert await client.read_until(b"0\r\n\r\n") == b"3\r\nabc\r\n0\r\n\r\n"


async def test_a_large_body_arrives_whole() -> None:
    body = bytes(range(256)) * 40_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_response(send, body)

    async with serve_app(app) as served, await served.connect() as client:
        await client.send(GET)
        assert await client.response() == (200, body)


async def test_a_stalled_reader_is_cut_within_its_limit() -> None:
    ended: list[float] = []

    async def flood(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        began = trio.current_time()
        try:
            while True:
                began = trio.current_time()
                await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        finally:
            ended.append(trio.current_time() - began)
            over.set()

    over = trio.Event()
    async with serve_app(flood, ServerLimits(send_timeout=0.2)) as served, await served.connect() as client:
        await client.send(GET)
        with trio.fail_after(20):
            await over.wait()
        assert 0.15 < ended[0] < 10
        assert len(served.server_state.connections) <= 1
        assert not (await client.read_all(3)).endswith(b"0\r\n\r\n<EOF>")


async def test_a_write_can_be_cancelled_and_then_the_connection_is_cut() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100000000")]})
        with trio.move_on_after(0.1) as timeout:
            while True:
                await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
        cancelled.append(timeout.cancelled_caught)
        with pytest.raises(trio.Cancelled):  # what was cut short is as good as a client that is gone
            await send({"type": "http.response.body", "body": b"more", "more_body": True})

    cancelled: list[bool] = []
    async with serve_app(app) as served, await served.connect() as client:
        await client.send(GET)
        await trio.sleep(0.3)
        out = await client.read_all(5)
    assert cancelled == [True]
    assert len(out) < 100_000_000
    assert b"more" not in out


# Failures.


async def test_a_failing_application_is_a_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/leave":
            return
        if scope["path"] == "/inject":
            await send_response(send, b"", 200, [(b"x", b"a\r\nset-cookie: b")])
        if scope["path"] == "/late":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("the application's own business")

    async with serve_app(app) as served:
        for path in ("/raise", "/leave", "/inject"):
            out = await served.exchange(get(path))
            assert out.startswith(b"HTTP/1.1 500 ")
            assert out.endswith(b"<EOF>")
            assert b"ErrInternal" in out
            assert b"business" not in out
            assert b"set-cookie" not in out
        cut = await served.exchange(get("/late"))
        assert b"half" in cut
        assert not cut.endswith(b"0\r\n\r\n<EOF>")
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 4
    assert {record.name for record in errors} == {"lakehouse.server"}


async def test_a_cut_body_without_a_length_ends_in_a_reset() -> None:
    """To an HTTP/1.0 client an orderly end would look like success."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("cut")

    async with serve_app(app) as served:
        out = await served.exchange(b"GET / HTTP/1.0\r\n\r\n")
    assert out.endswith(b"<RST>")


async def test_one_connections_failure_is_its_own(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even a defect of ours ends one connection only."""

    async def broken(_: object) -> None:
        raise ZeroDivisionError

    async with serve_app(echo) as served, await served.connect() as bystander:
        await bystander.send(post("/", b"a"))
        assert await bystander.response() == (200, b"a")
        with monkeypatch.context() as patch:
            patch.setattr("lakehouse.server.request_cycle.RequestCycle.run", broken)
            assert await served.exchange(GET) in (b"<EOF>", b"<RST>")
        await bystander.send(post("/", b"b"))
        assert await bystander.response() == (200, b"b")
    assert "a connection failed" in caplog.text


# Early answers.


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers POST without reading the body."""
    await send_response(send, b"no", 401 if scope["method"] == "POST" else 200)


@pytest.mark.parametrize("size", [10, 100_000, 200_000])
async def test_after_an_early_answer_a_small_body_is_discarded_and_the_connection_goes_on(size: int) -> None:
    async with serve_app(refuse) as served, await served.connect() as client:
        for _ in range(2):
            await client.send(post("/", bytes(size)))
            assert await client.response() == (401, b"no")
        await client.send(GET)
        assert await client.response() == (200, b"no")


async def test_after_an_early_answer_a_large_body_is_read_until_the_client_has_seen_it() -> None:
    """A client that sends all of it before it reads must find the answer, not a reset."""
    async with serve_app(refuse) as served, await served.connect() as client:
        await client.send(post("/", bytes(8_000_000)))
        out = await client.read_all(2)
    assert out.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in out
    assert out.endswith(b"no<EOF>")


async def test_the_discarding_has_an_end_in_bytes_and_in_time(autojump_clock: trio.testing.MockClock) -> None:
    limits = ServerLimits(linger_bytes=1_000_000, linger_timeout=5)
    async with open_server_state(refuse, limits) as server_state:
        for send_on in (True, False):
            client, server = trio.testing.lockstep_stream_pair()
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve_connection, server_state, server)
                await client.send_all(post("/", b"", length=10**12))
                await client.receive_some(1000)
                sent = 0
                with suppress(trio.BrokenResourceError):
                    while sent < 10_000_000:
                        await trio.sleep(0 if send_on else 1)
                        await client.send_all(bytes(10_000))
                        sent += 10_000
            assert sent <= (1_100_000 if send_on else 60_000)
            assert trio.current_time() - began < 7


async def test_what_is_no_request_is_read_on_until_the_client_has_seen_its_answer() -> None:
    async with serve_app(hello) as served:
        out = await served.exchange(b"nonsense\r\n\r\n" + bytes(8_000_000))
    assert out.startswith(b"HTTP/1.1 400 ")
    assert out.endswith(b"<EOF>")


async def test_a_small_body_that_never_ends_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_server_state(refuse, ServerLimits(linger_timeout=5)) as server_state,
        trio.open_nursery() as nursery,
    ):
        client, server = trio.testing.memory_stream_pair()
        nursery.start_soon(serve_connection, server_state, server)
        waiting = Waiting(client)
        await waiting.send(post("/", b"abc", length=10))
        out, seconds = await waiting.end()
    assert out.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" not in out
    assert 5 <= seconds <= 11


# Time, virtual.


class Waiting:
    """A client on a memory stream; `end` is what it had received, and when, at the end of its connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.began = trio.current_time()

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def end(self) -> tuple[bytes, float]:
        out = b""
        while data := await self.stream.receive_some(65536):
            out += data
        return out, trio.current_time() - self.began


async def test_a_new_connection_that_says_nothing_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_server_state(hello, ServerLimits(header_timeout=20)) as server_state,
        trio.open_nursery() as nursery,
    ):
        client, server = trio.testing.memory_stream_pair()
        nursery.start_soon(serve_connection, server_state, server)
        out, seconds = await Waiting(client).end()
    assert out == b""
    assert seconds == pytest.approx(20)


async def test_an_idle_connection_is_closed_and_each_request_moves_its_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(200)  # longer than any limit, and none of theirs
        await send_response(send, b"hello")

    async with (
        open_server_state(slow, ServerLimits(keep_alive_timeout=75)) as server_state,
        trio.open_nursery() as nursery,
    ):
        client, server = trio.testing.memory_stream_pair()
        nursery.start_soon(serve_connection, server_state, server)
        waiting = Waiting(client)
        for _ in range(3):
            await waiting.send(GET)
            assert (await client.receive_some(1000)).endswith(b"hello")
            await trio.sleep(74)
        out, seconds = await waiting.end()
    assert out == b""
    assert seconds == pytest.approx(3 * 274 + 1)


async def test_a_head_has_its_time_however_steadily_it_drips(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_server_state(hello, ServerLimits(header_timeout=20)) as server_state,
        trio.open_nursery() as nursery,
    ):
        client, server = trio.testing.memory_stream_pair()
        nursery.start_soon(serve_connection, server_state, server)
        await client.send_all(GET)
        await client.receive_some(1000)
        await trio.sleep(50)  # the head's time begins with its first byte
        waiting = Waiting(client)

        async def drip() -> None:
            with suppress(trio.BrokenResourceError):
                while True:
                    await trio.sleep(1)
                    await waiting.send(b"x")

        await waiting.send(b"GET / HTTP/1.1\r\nX-Drip: ")
        nursery.start_soon(drip)
        out, seconds = await waiting.end()
    assert out.startswith(b"HTTP/1.1 408 ")
    assert seconds == pytest.approx(20)


async def test_a_body_may_take_its_time_but_not_stop(autojump_clock: trio.testing.MockClock) -> None:
    async with open_server_state(echo, ServerLimits(body_timeout=60)) as server_state, trio.open_nursery() as nursery:
        client, server = trio.testing.memory_stream_pair()
        nursery.start_soon(serve_connection, server_state, server)
        waiting = Waiting(client)
        await waiting.send(post("/", b"", length=10))
        for _ in range(5):
            await trio.sleep(59)
            await waiting.send(b"x")
        out, seconds = await waiting.end()
    assert out.startswith(b"HTTP/1.1 408 ")
    assert seconds == pytest.approx(5 * 59 + 60 + ServerLimits().linger_timeout)


async def test_a_healthy_stream_has_no_end_in_time(autojump_clock: trio.testing.MockClock) -> None:
    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await trio.sleep(3600)
        await send({"type": "http.response.body", "body": b""})

    async with open_server_state(stream) as server_state, trio.open_nursery() as nursery:
        client, server = trio.testing.memory_stream_pair()
        nursery.start_soon(serve_connection, server_state, server)
        waiting = Waiting(client)
        await waiting.send(get("/", "Connection: close"))
        out, seconds = await waiting.end()
    assert out.endswith(b"0\r\n\r\n")
    assert seconds == pytest.approx(360_000)


async def test_a_head_that_began_behind_another_request_has_its_time_as_well(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serve_app(hello) as served, await served.connect() as client:
        began = trio.current_time()
        await client.send(GET + GET[:-2])
        out = await client.read_all(100)
    assert out.count(b"HTTP/1.1 200") == 1
    assert b"HTTP/1.1 408" in out
    assert trio.current_time() - began == pytest.approx(20, abs=1)


async def test_behind_an_upgrade_that_is_ignored_a_connection_is_idle(autojump_clock: trio.testing.MockClock) -> None:
    upgrade = post("/", b"body", "Connection: upgrade", "Upgrade: h2c")
    async with serve_app(echo) as served, await served.connect() as client:
        began = trio.current_time()
        await client.send(upgrade)
        out = await client.read_all(100)
    assert out.endswith(b"body<EOF>"), "without a 408, for nothing of a head has come"
    assert trio.current_time() - began == pytest.approx(75, abs=1)


# Draining.


async def test_a_drain_closes_idle_connections_and_the_others_after_their_response() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/wait":
            begun.set()
            await go.wait()
        await send_response(send, b"hello")

    begun, go = trio.Event(), trio.Event()
    async with (
        serve_app(app) as served,
        await served.connect() as idle,
        await served.connect() as busy,
        await served.connect() as new,
    ):
        await idle.send(GET)
        await idle.response()
        await busy.send(get("/wait") + GET)
        await begun.wait()
        await trio.testing.wait_all_tasks_blocked()
        served.server_state.drain()
        assert await idle.read_all() == b"<EOF>"
        assert await new.read_all() == b"<EOF>"
        go.set()
        out = await busy.read_all()
    assert out.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in out


async def test_a_request_that_has_arrived_when_the_drain_begins_is_answered() -> None:
    async with serve_app(hello) as served, await served.connect() as client:
        await client.send(GET)
        await client.response()
        await trio.testing.wait_all_tasks_blocked()
        os.write(client.socket.fileno(), GET)  # the server's task has not run since
        served.server_state.drain()
        out = await client.read_all()
    assert out.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in out


@pytest.mark.parametrize("before", range(OPERATIONS - 2, OPERATIONS + 2))
async def test_so_it_is_behind_many_in_a_row(before: int) -> None:
    """A connection that has had its turns in a row, and then waits, has them anew."""
    async with serve_app(hello) as served, await served.connect() as client:
        await client.send(GET * before)
        for _ in range(before):
            await client.response()
        await trio.testing.wait_all_tasks_blocked()
        os.write(client.socket.fileno(), GET)
        served.server_state.drain()
        assert (await client.read_all()).startswith(b"HTTP/1.1 200")


async def test_a_connection_that_comes_during_the_drain_is_answered_if_it_speaks_at_once() -> None:
    async with serve_app(hello) as served:
        served.server_state.drain()
        silent = await served.exchange()
        assert silent == b"<EOF>"


# The client that leaves.

PHASES = {
    "waiting": [get("/wait")],
    "body up": [post("/up", b"some", length=1000)],
    "body down": [get("/down")],
    "with a second request pipelined": [get("/wait") + GET],
    "with a body behind the request": [post("/wait", bytes(30_000), length=50_000)],
}


@pytest.mark.alone  # measures time
@pytest.mark.parametrize("how", ["fin", "rst", "half"])
@pytest.mark.parametrize("phase", PHASES)
async def test_a_client_that_leaves_cancels_its_request_at_once(phase: str, how: str) -> None:
    """p50 is well below a millisecond; the bound is for a busy machine, and holds for the best of the tries."""
    began, over = [trio.Event()], [trio.Event()]
    ended: list[float] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        began[0].set()
        try:
            if scope["path"] == "/up":
                await read_whole_body(receive)
            elif scope["path"] == "/down":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                while True:
                    await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
                    await trio.sleep(0.001)
            await trio.sleep_forever()
        finally:
            ended.append(time.perf_counter())
            over[0].set()

    took = []
    async with serve_app(app) as served:
        for _ in range(9):
            began[0], over[0] = trio.Event(), trio.Event()
            async with await served.connect() as client:
                for data in PHASES[phase]:
                    await client.send(data)
                await began[0].wait()
                if phase == "body down":
                    await client.read_until(b"x" * 100)
                left = time.perf_counter()
                client.leave(how)
                with trio.fail_after(2):
                    await over[0].wait()
            took.append(ended[-1] - left)
        with trio.fail_after(2):
            while served.server_state.connections:
                await trio.sleep(0.001)
    assert min(took) < 0.020
    assert statistics.median(took) < 0.100


async def test_a_client_that_leaves_after_its_answer_cancels_nothing() -> None:
    """What an application still does then, a log line for instance, it may finish."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_response(send, b"hello")
        assert await receive() == {"type": "http.disconnect"}
        await left.wait()
        await trio.sleep(0.01)
        done.set()

    left, done = trio.Event(), trio.Event()
    async with serve_app(app) as served:
        async with await served.connect() as client:
            await client.send(GET)
            await client.response()
        left.set()
        with trio.fail_after(20):
            await done.wait()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_client_that_is_gone_before_its_request_is_read_is_not_served_for_long() -> None:
    """Request and FIN come together: whichever is seen first, nothing stays."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep_forever()

    async with serve_app(app) as served:
        for _ in range(50):
            async with await served.connect() as client:
                await trio.testing.wait_all_tasks_blocked()
                os.write(client.socket.fileno(), GET)
                client.leave("half")
                assert await client.read_all() in (b"<EOF>", b"<RST>")


async def test_nothing_is_left_of_a_thousand_aborted_requests() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
            await trio.sleep(0.001)

    async def abort(number: int) -> None:
        async with await served.connect() as client:
            await client.send(GET if number % 3 else post("/", b"x", length=100))
            with trio.move_on_after(0.0003 * (number % 17)):
                await client.read_all()
            client.leave("rst" if number % 2 else "fin")

    async with serve_app(app) as served:
        await abort(5)
        await trio.testing.wait_all_tasks_blocked(0.01)
        tasks, open_files = trio.lowlevel.current_statistics().tasks_living, descriptors()
        for batch in range(20):
            async with trio.open_nursery() as nursery:
                for n in range(50):
                    nursery.start_soon(abort, batch * 50 + n)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert descriptors() == open_files
        assert not served.server_state.connections


async def test_cancelling_the_server_closes_every_connection_at_once() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep_forever()

    async with open_server_state(app) as server_state, trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(trio.serve_tcp, partial(serve_connection, server_state), 0, host="127.0.0.1")
        )
        client = await trio.testing.open_stream_to_socket_listener(listeners[0])
        await client.send_all(GET)
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()
    assert not server_state.connections
    with suppress(trio.BrokenResourceError):
        assert await client.receive_some(10) == b""
    await client.aclose()


# Fairness.


async def test_a_connection_that_never_waits_lets_the_others_run() -> None:
    """A client with thousands of requests in the pipe and one that asks a single thing."""
    pipelined = 0

    async def count(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal pipelined
        pipelined += scope["path"] == "/greedy"
        await send_response(send, b"hello")

    async with serve_app(count) as served, await served.connect() as greedy, await served.connect() as modest:
        os.write(greedy.socket.fileno(), get("/greedy") * 400)
        os.write(modest.socket.fileno(), GET)
        assert await modest.response() == (200, b"hello")
        assert pipelined < 100


async def test_a_reader_that_never_waits_lets_the_others_run() -> None:
    ours, theirs = trio.socket.socketpair()
    with theirs:
        wire = SocketTransport(trio.SocketStream(ours))
        await theirs.send(bytes(100))
        reads = [wire.try_read(1) for _ in range(OPERATIONS + 1)]
        assert reads == [b"\0"] * OPERATIONS + [None]
        assert await wire.read(1) == b"\0"  # which went through the scheduler
        assert wire.try_read(1) == b"\0"
        await wire.close()


# TLS.


PEM = Path(__file__).parents[2] / "tests" / "data" / "tls" / "localhost.pem"


async def test_the_same_over_tls() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    trust = ssl.create_default_context(cafile=PEM)
    ended = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["scheme"] == "https"
        if scope["path"] == "/wait":
            try:
                await trio.sleep_forever()
            finally:
                ended.set()
        await send_response(send, await read_whole_body(receive))

    async with serve_app(app, ServerLimits(header_timeout=0.5), tls=context) as served:
        plain = await served.exchange(GET)
        assert not plain.startswith(b"HTTP/1.1 200")
        assert await served.exchange(b"") in (b"<EOF>", b"<RST>", b"")
        for _ in range(2):
            below = await trio.open_tcp_stream("127.0.0.1", served.port)
            async with Client(
                trio.SSLStream(below, trust, server_hostname="localhost", https_compatible=True)
            ) as client:
                for size in (0, 10, 1_000_000):
                    await client.send(post("/", bytes(size)))
                    assert await client.response() == (200, bytes(size))
                await client.send(get("/wait"))
                await trio.sleep(0.01)
        with trio.fail_after(20):
            await ended.wait()


# WebSockets.


async def chat(scope: Scope, receive: Receive, send: Send) -> None:
    """Echoes messages; `/deny` and `/close` refuse the handshake, `bye` closes with 4001."""
    if scope["type"] == "http":
        await send_response(send, b"hello")
        return
    assert await receive() == {"type": "websocket.connect"}
    if scope["path"] == "/deny":
        await send({"type": "websocket.http.response.start", "status": 429, "headers": [(b"retry-after", b"3")]})
        await send({"type": "websocket.http.response.body", "body": b"later"})
        return
    if scope["path"] == "/close":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][0] if scope["subprotocols"] else None})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "bye":
            await send({"type": "websocket.close", "code": 4001, "reason": "done"})
        elif message.get("text") == "crash":
            raise ValueError("crash")
        else:
            await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})
    codes.append(message["code"])


codes: list[int] = []
ACCEPT = b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def answered(opcode: int, payload: bytes) -> bytes:
    return frame(opcode, payload, masked=False)


async def test_a_websocket_from_handshake_to_close() -> None:
    codes.clear()
    async with serve_app(chat) as served, await served.connect() as client:
        await client.send(websocket("/ws", "Sec-WebSocket-Protocol: chat, other"))
        head = await client.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert ACCEPT in head
        assert b"sec-websocket-protocol: chat\r\n" in head
        await client.send(frame(TEXT, "héllo".encode()))
        assert await client.read_until("héllo".encode()) == answered(TEXT, "héllo".encode())
        await client.send(frame(BINARY, b"one ", fin=False) + frame(PING, b"?") + frame(CONTINUATION, b"two"))
        assert await client.read_until(b"two") == answered(10, b"?") + answered(BINARY, b"one two")
        await client.send(frame(CLOSE, b"\x0f\xa0bye"))
        assert await client.read_all() == answered(CLOSE, b"\x0f\xa0bye") + b"<EOF>"
    assert codes == [4000]


async def test_bytes_right_behind_the_upgrade_are_the_first_frames() -> None:
    async with serve_app(chat) as served, await served.connect() as client:
        await client.send(websocket() + frame(TEXT, b"early"))
        await client.read_until(b"\r\n\r\n")
        assert await client.read_until(b"early") == answered(TEXT, b"early")


async def test_the_application_closes_and_the_client_answers() -> None:
    codes.clear()
    async with serve_app(chat) as served, await served.connect() as client:
        await client.send(websocket() + frame(TEXT, b"bye"))
        await client.read_until(b"\r\n\r\n")
        assert await client.read_until(b"done") == answered(CLOSE, b"\x0f\xa1done")
        await client.send(frame(CLOSE, b"\x0f\xa1"))
        assert await client.read_all() == b"<EOF>"
    assert codes == [4001]


async def test_a_client_that_does_not_answer_the_close_is_left() -> None:
    async with serve_app(chat, ServerLimits(websocket_close_timeout=0.05)) as served:
        out = await served.exchange(websocket() + frame(TEXT, b"bye"))
    assert out.endswith((b"done<EOF>", b"done<RST>"))


async def test_a_failing_application_closes_with_1011() -> None:
    async with serve_app(chat) as served:
        out = await served.exchange(websocket() + frame(TEXT, b"crash") + frame(CLOSE, b"\x03\xe8"))
    assert answered(CLOSE, b"\x03\xf3") in out or answered(CLOSE, b"\x03\xe8") in out


async def test_a_handshake_can_be_denied() -> None:
    async with serve_app(chat) as served:
        denied = await served.exchange(websocket("/deny"))
        assert denied.startswith(b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 3\r\n")
        assert denied.endswith(b"later<EOF>")
        assert (await served.exchange(websocket("/close"))).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"\xff\xfe"), 1007),
        (frame(TEXT, b"a", masked=False), 1002),
        (frame(3, b"a"), 1002),
        (frame(CONTINUATION, b"a"), 1002),
        (frame(PING, b"a", fin=False), 1002),
        (frame(TEXT, bytes(2000)), 1009),
        (frame(TEXT, bytes(600), fin=False) + frame(CONTINUATION, bytes(600)), 1009),
        (b"\xff\xff\xff\xff", 1002),
    ],
)
async def test_what_is_no_websocket_is_closed_with_its_code(data: bytes, code: int) -> None:
    codes.clear()
    async with serve_app(chat, ServerLimits(max_websocket_message=1000, linger_timeout=0.1)) as served:
        out = await served.exchange(websocket() + data)
    body = out.partition(b"\r\n\r\n")[2]
    assert body[:1] == b"\x88"
    assert body[2:4] == code.to_bytes(2, "big")
    assert codes == [code]


async def test_a_websocket_client_that_vanishes_cancels_the_application() -> None:
    for how in ("fin", "rst"):
        ended = trio.Event()

        async def app(scope: Scope, receive: Receive, send: Send, ended: trio.Event = ended) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        async with serve_app(app) as served, await served.connect() as client:
            await client.send(websocket())
            await client.read_until(b"\r\n\r\n")
            client.leave(how)
            with trio.fail_after(20):
                await ended.wait()


async def test_an_application_that_does_not_take_the_hint_is_cancelled() -> None:
    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await trio.sleep_forever()

    async with serve_app(deaf, ServerLimits(websocket_close_timeout=0.05)) as served:
        out = await served.exchange(websocket() + frame(CLOSE, b"\x03\xe8"))
        assert answered(CLOSE, b"\x03\xe8") in out
        with trio.fail_after(20):
            while served.server_state.connections:
                await trio.sleep(0.01)


@pytest.mark.parametrize("size", [0, 1, 250_000])
async def test_messages_that_nobody_takes_stay_with_the_client(size: int) -> None:
    """Small ones as well: what is kept of a message is more than what is in it."""

    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await trio.sleep_forever()

    messages = frame(BINARY, bytes(size)) * max(1, 10_000 // (size or 1))
    total, sent = 64 * 1024 * 1024, 0
    async with serve_app(deaf, ServerLimits(websocket_window=64 * 1024)) as served, await served.connect() as client:
        await client.send(websocket())
        while sent < total:
            with trio.move_on_after(0.3) as timeout:
                await client.stream.send_all(messages)
                sent += len(messages)
            if timeout.cancelled_caught:
                break
    assert sent < total / 2


async def test_a_websocket_application_may_finish_behind_a_client_that_closed() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"
        await left.wait()
        await trio.sleep(0.01)
        done.set()

    left, done = trio.Event(), trio.Event()
    async with serve_app(app) as served:
        async with await served.connect() as client:
            await client.send(websocket() + frame(CLOSE, b"\x03\xe8"))
            await client.read_until(answered(CLOSE, b"\x03\xe8"))
        left.set()
        with trio.fail_after(20):
            await done.wait()
