"""Which requests are sent a second time after a reused connection ended without an answer, and which never are.

The upstream answers the first request of a connection, takes the second one as far as the case says, and ends the
connection at once. How soon it does that proves nothing: it may have acted on what it read.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
import trio

from lakehouse.chat.model.pieces import Done
from lakehouse.core.errors import ErrUpstream
from lakehouse.testing.upstreams import ReceivedRequest, respond
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.httpx_transport import UpstreamTransport
from lakehouse.upstream.pool import Upstream
from tools.kit.dispatcher_over_sockets import chunked, ollama_body, open_dispatcher_over_sockets
from tools.kit.fake_providers import OLLAMA_END, ask, ollama_line
from tools.kit.gateway_services import ServiceRequest, answer_ok, open_gateway
from tools.kit.service_with_providers import ollama, open_service_with_providers
from tools.kit.socket_upstream import HELLO, RawConnection, open_socket_upstream

KEY = [(b"Idempotency-Key", b"a1")]

# method, headers, whether it may be repeated
REQUESTS = [
    *[(method, [], True) for method in (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE")],
    *[(method, [], False) for method in (b"POST", b"PATCH", b"PROPFIND", b"MKCOL", b"LOCK", b"get", b"QUERY")],
    *[(method, KEY, True) for method in (b"POST", b"PATCH", b"MKCOL")],
    (b"POST", [(b"idempotency-key", b'"8e03978e"')], True),
    (b"POST", [(b"IDEMPOTENCY-KEY", b"0")], True),
    (b"PUT", [(b"If-Match", b'"a"')], False),
    (b"PUT", [(b"if-none-match", b"*")], False),
    (b"DELETE", [(b"If-Unmodified-Since", b"Sat, 28 Nov 2026 12:00:00 GMT")], False),
    (b"GET", [(b"If-None-Match", b'"a"')], True),
    (b"POST", [(b"Idempotency-Key", b"")], False),
    (b"POST", [(b"X-Idempotency-Key", b"a1")], False),
    (b"POST", [(b"Idempotency-Keys", b"a1")], False),
    (b"POST", [(b"X-Note", b"idempotency-key: a1")], False),
    (b"POST", [(b"X-Request-Id", b"a1")], False),
]
NAMES = [f"{method.decode()}-{headers[0][0].decode() if headers else 'plain'}-{n}" for n, (method, headers, _) in enumerate(REQUESTS)]  # fmt: skip

LARGE = bytes(6 * 1024 * 1024)
"""More than a socket takes at once: its rest is sent beside the wait for the answer."""

BODIES = {"no body": b"", "a small body": b"body", "a large body": LARGE}


async def nothing(wire: RawConnection) -> None:
    """Not a byte of it is read: closing resets the connection."""
    await trio.lowlevel.wait_readable(wire.socket)


async def a_part(wire: RawConnection) -> None:
    await wire.receive(1)


async def the_head(wire: RawConnection) -> None:
    await wire.read_head()


READ: dict[str, Callable[[RawConnection], Awaitable[None]]] = {
    "nothing read": nothing,
    "a byte read": a_part,
    "the head read": the_head,
}


class Upended:
    """An upstream whose first connection ends at its second request; it counts the requests that arrive."""

    def __init__(self, read: Callable[[RawConnection], Awaitable[None]], *, reset: bool, after: float = 0) -> None:
        self.arrived = 0
        self._read = read
        self._reset = reset
        self._after = after

    async def __call__(self, wire: RawConnection) -> None:
        await wire.read_head()
        self.arrived += 1
        await wire.send(HELLO)
        if wire.number:
            await wire.receive()
            return
        await self._read(wire)
        self.arrived += 1
        await trio.sleep(self._after)
        if self._reset:
            await wire.reset()


async def second(upended: Upended, method: bytes, headers: list[tuple[bytes, bytes]], content: bytes) -> bool:
    """Whether the second request was sent again. If not, it failed as an upstream's failure."""
    async with open_socket_upstream(upended) as port:
        upstream = Upstream(f"http://127.0.0.1:{port}", name="storaged")
        try:
            with trio.fail_after(10):
                (await upstream.send(UpstreamRequest(b"GET", b"/", []))).close()
                failed: ErrUpstream | None = None
                try:
                    (await upstream.send(UpstreamRequest(method, b"/", headers, content))).close()
                except ErrUpstream as error:
                    failed = error
                if failed is not None:
                    assert failed.error_class == "upstream_error"
                    assert "without an answer" in failed.message
                assert upended.arrived == (2 if failed else 3)
                return failed is None
        finally:
            upstream.close()


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize(("method", "headers", "repeated"), REQUESTS, ids=NAMES)
async def test_the_method_or_a_key_decides(
    method: bytes, headers: list[tuple[bytes, bytes]], *, repeated: bool, reset: bool
) -> None:
    content = b"" if method in (b"GET", b"HEAD", b"TRACE") else b"body"
    assert await second(Upended(the_head, reset=reset), method, headers, content) is repeated


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("content", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("read", READ.values(), ids=READ)
@pytest.mark.parametrize(("method", "headers", "repeated"), [(b"POST", [], False), (b"POST", KEY, True), (b"PUT", [], True)])  # fmt: skip
async def test_what_was_read_of_it_and_its_size_do_not_matter(
    method: bytes,
    headers: list[tuple[bytes, bytes]],
    read: Callable[[RawConnection], Awaitable[None]],
    content: bytes,
    *,
    repeated: bool,
    reset: bool,
) -> None:
    assert await second(Upended(read, reset=reset), method, headers, content) is repeated


@pytest.mark.parametrize("after", [0.0, 0.02, 0.2])
async def test_how_soon_the_end_came_does_not_matter(after: float) -> None:
    assert not await second(Upended(the_head, reset=False, after=after), b"POST", [], b"body")
    assert await second(Upended(the_head, reset=False, after=after), b"GET", [], b"")


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"GET"])
async def test_a_connection_that_ended_while_it_was_idle_is_not_used(method: bytes) -> None:
    """Nothing was written to it, so the request is sent once, on a new connection."""
    arrived = 0

    async def one_answer(wire: RawConnection) -> None:
        nonlocal arrived
        await wire.read_head()
        arrived += 1
        await wire.send(HELLO)

    async with open_socket_upstream(one_answer) as port:
        upstream = Upstream(f"http://127.0.0.1:{port}", name="storaged")
        for _ in range(5):
            with await upstream.send(UpstreamRequest(method, b"/", [], b"")) as response:
                await response.read(100)
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert arrived == 5
        upstream.close()


# Through httpx's transport.

TRANSPORTED = [
    ("GET", {}, None, True),
    ("PUT", {}, b"x", True),
    ("DELETE", {}, None, True),
    ("POST", {}, b"x", False),
    ("POST", {}, None, False),
    ("PATCH", {}, b"x", False),
    ("POST", {"Idempotency-Key": "k"}, b"x", True),
    ("PATCH", {"Idempotency-Key": "k"}, None, True),
    ("PUT", {}, "streamed", False),
    ("POST", {"Idempotency-Key": "k"}, "streamed", False),
]


@pytest.mark.parametrize(("method", "headers", "content", "repeated"), TRANSPORTED)
async def test_the_transport_keeps_the_rule(
    method: str, headers: dict[str, str], content: bytes | str | None, *, repeated: bool
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"

    upended = Upended(the_head, reset=False)
    async with open_socket_upstream(upended) as port:
        transport = UpstreamTransport([Upstream(f"http://127.0.0.1:{port}", name="provider")])
        async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{port}") as client:
            await client.get("/")
            given = pieces() if isinstance(content, str) else content
            if repeated:
                assert (await client.request(method, "/", headers=headers, content=given)).status_code == 200
            else:
                with pytest.raises(ErrUpstream, match="without an answer"):
                    await client.request(method, "/", headers=headers, content=given)
    assert upended.arrived == 2 + repeated


# Through the gateway.

RELAYED = [
    ("GET", "", b"", 200),
    ("HEAD", "", b"", 200),
    ("OPTIONS", "", b"", 200),
    ("DELETE", "", b"", 200),
    ("PUT", "content-length: 2", b"hi", 200),
    ("POST", "content-length: 2", b"hi", 502),
    ("POST", "content-length: 0", b"", 502),
    ("POST", "", b"", 502),
    ("PATCH", "content-length: 2", b"hi", 502),
    ("POST", "content-length: 2\r\nidempotency-key: k", b"hi", 200),
    ("PATCH", "content-length: 2\r\nidempotency-key: k", b"hi", 200),
    ("POST", "transfer-encoding: chunked", b"2\r\nhi\r\n0\r\n\r\n", 502),
    ("POST", "transfer-encoding: chunked\r\nidempotency-key: k", b"2\r\nhi\r\n0\r\n\r\n", 502),
]


@pytest.mark.parametrize(("method", "headers", "content", "status"), RELAYED)
async def test_the_gateway_keeps_the_rule(method: str, headers: str, content: bytes, status: int) -> None:
    met: set[int] = set()

    async def once(visit: ServiceRequest) -> None:
        if id(visit.stream) in met:
            raise EOFError  # closes the connection
        met.add(id(visit.stream))
        await answer_ok(visit)

    async with open_gateway() as up:
        up.ingestd.script = once
        assert (await up.ask("/v1/ingest")).status == 200

        answer = await up.ask("/v1/ingest", method=method, headers=headers, body=content)
        assert answer.status == status
        assert len(up.ingestd.requests) == (2 if status == 502 else 3)
        if status == 502:
            assert json.loads(answer.body)["error"]["code"] == "ErrUpstream"
        assert up.is_quiet()


async def test_a_websockets_handshake_is_a_get_and_may_be_repeated() -> None:
    """Nothing of the WebSocket has begun before its answer, and a client that fails asks again in the same way."""
    met: set[int] = set()

    async def refuse(visit: ServiceRequest) -> None:
        if id(visit.stream) in met:
            raise EOFError
        met.add(id(visit.stream))
        await visit.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")

    ws = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="  # fmt: skip
    async with open_gateway() as up:
        up.vectord.script = refuse
        assert (await up.ask("/v1/vectors/x")).status == 403
        assert (await up.ask("/v1/vectors/x", headers=ws)).status == 403
        assert len(up.vectord.requests) == 3


# Through the chats: the policy decides, and every attempt is told.


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("retries", "told"), [(0, ["upstream_error"]), (1, ["upstream_error", None]), (3, ["upstream_error", None])])  # fmt: skip
async def test_a_chat_is_repeated_by_the_policy_alone(retries: int, told: list[str | None], *, streamed: bool) -> None:
    good = chunked(ollama_line("Hello."), OLLAMA_END) if streamed else respond(ollama_body())
    met: list[trio.SocketStream] = []

    async def once(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        met.append(stream)
        if len(met) == 2:
            assert met[0] is stream, "the chat was to meet a connection that had served before"
            raise trio.BrokenResourceError
        await stream.send_all(good)

    async with open_dispatcher_over_sockets(once, policy={"backoff": 0.001, "retries": retries}) as (dispatcher, there):

        async def chat() -> list[str | None]:
            try:
                if streamed:
                    async with dispatcher.stream(ask()) as pieces:
                        *_, done = [piece async for piece in pieces]
                    assert isinstance(done, Done)
                    return [attempt.error for attempt in done.attempts]
                return [attempt.error for attempt in (await dispatcher(ask())).attempts]
            except ErrUpstream as failed:
                return [attempt.error for attempt in failed.attempts]

        assert await chat() == [None]
        assert await chat() == told
        assert len(there.requests) == 1 + len(told)


async def test_the_caller_of_a_chat_sees_the_second_attempt() -> None:
    count = 0

    async def once(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise trio.BrokenResourceError
        await stream.send_all(respond(ollama()))

    async with open_service_with_providers(scripts={"ollama": once}, policy={"retries": 2, "backoff": "1ms"}) as there:
        assert (await there.chat("m")).headers["x-lakehouse-attempts"] == "1"
        answer = await there.chat("m")
        assert [attempt["error"] for attempt in answer.json()["attempts"]] == ["upstream_error", None]
        assert answer.headers["x-lakehouse-attempts"] == "2"
        assert len(there.requests["ollama"]) == 3
