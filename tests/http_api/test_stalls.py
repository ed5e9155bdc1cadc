"""Who stalls, or crawls, holds nothing for long: readers of answers, senders of bodies, upstreams that take an upload.

`idle_timeout` bounds each pause and, over several, the rate. Real sockets, mostly virtual time. What is slow because nobody
has anything to say, or takes what there is in its own time, is left alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
import trustme

from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.net.transfer_rate import ALLOWED_LAG_LIMITS
from lakehouse.server.limits import ServerLimits
from lakehouse.testing.upstreams import ReceivedRequest
from tools.kit.gateway_services import OK, GatewayWithServices, HttpStream, ServiceRequest, open_gateway
from tools.kit.raw_http import GET, Client, RunningServer, serve_app, websocket
from tools.kit.service_with_providers import chunk, open_service_with_providers

T = 0.4
"""`idle_timeout`, in seconds of virtual time."""

STALL = 2 * T
"""By then somebody who does nothing is gone."""

CRAWL = (ALLOWED_LAG_LIMITS + 2) * T
"""By then somebody who does next to nothing is gone."""

PIECE = bytes(64 * 1024)

HEADS = {
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 40),
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "no length": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
}


def flooding(head: bytes, ended: list[float]) -> Callable[[ServiceRequest], Awaitable[None]]:
    """An upstream that sends as fast as it may, and notes when it could not any more."""

    async def flood(visit: ServiceRequest) -> None:
        await visit.send(head)
        piece = b"10000\r\n%b\r\n" % PIECE if b"chunked" in head else PIECE
        try:
            while True:
                await visit.send(piece)
        finally:
            ended.append(trio.current_time())

    return flood


async def stall(client: HttpStream) -> None:
    await trio.sleep_forever()


def sip(size: int, pause: float) -> Callable[[HttpStream], Awaitable[None]]:
    """Read a little, again and again."""

    async def read(client: HttpStream) -> None:
        while True:
            await trio.sleep(pause * T)
            await client.stream.receive_some(size)

    return read


READERS: dict[str, tuple[Callable[[HttpStream], Awaitable[None]], float]] = {
    "stalls": (stall, STALL),
    "takes a byte before every limit": (sip(1, 0.9), CRAWL),
    "takes a byte often": (sip(1, 0.05), CRAWL),
    "takes 50 bytes before every limit": (sip(50, 0.9), CRAWL),
    "takes 200 bytes twice a limit": (sip(200, 0.5), CRAWL),
}


async def small_client(there: GatewayWithServices) -> HttpStream:
    """A client whose kernel takes little that it does not read."""
    stream = await trio.open_tcp_stream(*there.address)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return HttpStream(stream)


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize(("reader", "limit"), READERS.values(), ids=READERS)
async def test_a_reader_that_crawls_lets_go_of_its_upstream(
    reader: Callable[[HttpStream], Awaitable[None]], limit: float, head: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    ended: list[float] = []
    async with open_gateway(idle_timeout=T) as up, trio.open_nursery() as nursery:
        up.storaged.script = flooding(head, ended)
        client = await small_client(up)
        async with client.stream:
            await client.send(b"GET /v1/storage/x HTTP/1.1\r\nhost: x\r\n\r\n")
            await client.head()
            began = trio.current_time()
            nursery.start_soon(reader, client)
            await up.storaged.gone.wait()
            assert ended[0] - began < limit
            assert ended[0] - began > 0.9 * T
            await trio.testing.wait_all_tasks_blocked()
            assert up.is_quiet()
            assert up.ended[0].status == 499
            nursery.cancel_scope.cancel()


SIZE = 3 * 1024 * 1024
"""Of bodies that are taken slowly. That is tried in real time: the kernel's own timers know of no other, and may have a
part in it when a buffer has overflowed."""


def spoon(size: int, pause: float) -> Callable[[HttpStream], Awaitable[int]]:
    """Read it all in large pieces with pauses, none as long as the limit."""

    async def read(client: HttpStream) -> int:
        got = len(client.waiting)
        while got < SIZE:
            await trio.sleep(pause * T)
            want = min(size, SIZE - got)
            while want:
                data = await client.stream.receive_some(want)
                assert data, f"cut after {got} bytes"
                want -= len(data)
                got += len(data)
        return got

    return read


PATIENT = {
    "128 KiB at a time": spoon(128 * 1024, 0.1),
    "512 KiB at a time": spoon(512 * 1024, 0.5),
    "all at once": spoon(SIZE, 0.6),
}


@pytest.mark.parametrize("reader", PATIENT.values(), ids=PATIENT)
async def test_a_slow_reader_that_takes_part_is_served(reader: Callable[[HttpStream], Awaitable[int]]) -> None:
    async def download(visit: ServiceRequest) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        for _ in range(SIZE // len(PIECE)):
            await visit.send(PIECE)

    async with open_gateway(idle_timeout=T) as up, await up.connect() as client:
        up.storaged.script = download
        await client.send(b"GET /v1/storage/x HTTP/1.1\r\nhost: x\r\n\r\n")
        await client.head()
        assert await reader(client) == SIZE


@pytest.mark.parametrize("wait", [0.0, 3 * T], ids=["reads at once", "reads now and then"])
async def test_a_stream_with_little_to_say_is_not_slow(wait: float, autojump_clock: trio.testing.MockClock) -> None:
    async def events(visit: ServiceRequest) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            await trio.sleep(0.9 * T)
            await visit.send(b"3\r\n:\n\n\r\n")
        await visit.send(b"0\r\n\r\n")

    async with open_gateway(idle_timeout=T) as up, await up.connect() as client:
        up.storaged.script = events
        await client.send(b"GET /v1/storage/x HTTP/1.1\r\nhost: x\r\n\r\n")
        await client.head()
        got = 0
        while await client.chunk():
            got += 1
            await trio.sleep(wait if got % 4 == 0 else 0)
        assert got == 20


# Bodies on their way up.


async def nothing_more(client: HttpStream) -> None:
    await trio.sleep_forever()


def drip(size: int, pause: float, *, chunked: bool = False) -> Callable[[HttpStream], Awaitable[None]]:
    async def send(client: HttpStream) -> None:
        while True:
            await trio.sleep(pause * T)
            await client.send(b"%x\r\n%b\r\n" % (size, bytes(size)) if chunked else bytes(size))

    return send


LENGTH, CHUNKS = b"Content-Length: 1000000000", b"Transfer-Encoding: chunked"

SENDERS = {
    "stalls": (LENGTH, nothing_more, STALL),
    "stalls between chunks": (CHUNKS, nothing_more, STALL),
    "sends a byte before every limit": (LENGTH, drip(1, 0.9), CRAWL),
    "sends a byte often": (LENGTH, drip(1, 0.1), CRAWL),
    "sends a chunk of a byte before every limit": (CHUNKS, drip(1, 0.9, chunked=True), CRAWL),
    "sends 200 bytes three times a limit": (LENGTH, drip(200, 0.3), CRAWL),
}


@pytest.mark.parametrize(("framing", "sender", "limit"), SENDERS.values(), ids=SENDERS)
async def test_a_sender_that_crawls_is_a_504(
    framing: bytes,
    sender: Callable[[HttpStream], Awaitable[None]],
    limit: float,
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def take(visit: ServiceRequest) -> None:
        while await visit.some():
            pass

    async with open_gateway(idle_timeout=T) as up, await up.connect() as client, trio.open_nursery() as nursery:
        up.ingestd.script = take
        began = trio.current_time()
        await client.send(b"POST /v1/ingest HTTP/1.1\r\nhost: x\r\n%b\r\n\r\n" % framing)
        nursery.start_soon(sender, client)
        assert (await client.answer_head()).status == 504
        assert 0.9 * T < trio.current_time() - began < limit
        await up.ingestd.gone.wait()
        nursery.cancel_scope.cancel()


BODIES = {
    "4 bytes in 4 pieces": [b"x"] * 4,
    "4 KiB before every limit": [bytes(4096)] * 12,
    "64 KiB before every limit": [PIECE] * 8,
    "pauses, and then the rest": [b"x", b"x", bytes(200_000), b"x", b"x", bytes(200_000)],
}


@pytest.mark.parametrize("pieces", BODIES.values(), ids=BODIES)
async def test_a_slow_sender_that_takes_part_is_served(
    pieces: list[bytes], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_gateway(idle_timeout=T) as up, await up.connect() as client:
        length = sum(map(len, pieces))
        await client.send(b"POST /v1/ingest HTTP/1.1\r\nhost: x\r\nContent-Length: %d\r\n\r\n" % length)
        for piece in pieces:
            await trio.sleep(0.9 * T)
            await client.send(piece)
        assert (await client.answer_head()).status == 200


TAKERS = {
    "takes nothing": (stall, STALL),
    "takes a byte before every limit": (sip(1, 0.9), CRAWL),
    "takes 100 bytes often": (sip(100, 0.2), CRAWL),
}


@pytest.mark.parametrize("framing", [LENGTH, CHUNKS], ids=["a length", "chunks"])
@pytest.mark.parametrize(("taker", "limit"), TAKERS.values(), ids=TAKERS)
async def test_an_upstream_that_crawls_through_an_upload_is_a_504(
    taker: Callable[[HttpStream], Awaitable[None]], limit: float, framing: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async def take(visit: ServiceRequest) -> None:
        visit.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await taker(visit)

    async def upload() -> None:
        while True:
            await client.send(b"10000\r\n%b\r\n" % PIECE if framing == CHUNKS else PIECE)

    async with open_gateway(idle_timeout=T, response_timeout=100) as up, await up.connect() as client:
        up.ingestd.script = take
        async with trio.open_nursery() as nursery:
            await client.send(b"POST /v1/ingest HTTP/1.1\r\nhost: x\r\n%b\r\n\r\n" % framing)
            began = trio.current_time()
            nursery.start_soon(upload)
            assert (await client.answer_head()).status == 504
            assert 0.9 * T < trio.current_time() - began < limit
            nursery.cancel_scope.cancel()
        assert up.is_quiet()


async def test_a_slow_upstream_that_takes_part_gets_its_upload() -> None:
    async def take(visit: ServiceRequest) -> None:
        left = SIZE - len(visit.waiting)
        while left > 0:
            await trio.sleep(0.4 * T)
            for _ in range(8):
                left -= len(await visit.stream.receive_some(min(left, 65536))) if left else 0
        await visit.send(OK)

    async with open_gateway(idle_timeout=T) as up, await up.connect() as client:
        up.ingestd.script = take
        await client.send(b"POST /v1/ingest HTTP/1.1\r\nhost: x\r\nContent-Length: %d\r\n\r\n" % SIZE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, bytes(SIZE))
            assert (await client.answer_head()).status == 200


# Over TLS, where what the kernel takes is counted in records.


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})


async def open_to(port: int, authority: trustme.CA | None) -> trio.abc.Stream:
    stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", port)
    if authority is None:
        return stream
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return trio.SSLStream(stream, trust, server_hostname="127.0.0.1", https_compatible=True)


@asynccontextmanager
async def flooded(*, secure: bool) -> AsyncIterator[tuple[RunningServer, Client]]:
    """A client that has been sent the beginning of something endless."""
    authority, tls = (trustme.CA() if secure else None), None
    if authority is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with serve_app(flood, ServerLimits(send_timeout=T), tls=tls) as served:
        async with Client(await open_to(served.port, authority)) as client:
            await client.send(GET)
            await client.read_until(b"\r\n\r\n")
            yield served, client


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize(("size", "limit"), [(0, STALL), (1, CRAWL), (60, CRAWL)])
async def test_over_tls_a_reader_that_crawls_is_let_go_as_well(
    size: int, limit: float, autojump_clock: trio.testing.MockClock, *, secure: bool
) -> None:
    async with flooded(secure=secure) as (served, client):
        began = trio.current_time()
        assert served.server_state is not None
        while served.server_state.connections:
            await trio.sleep(0.3 * T)
            if size:
                await client.stream.receive_some(size)
            assert trio.current_time() - began < limit + 0.3 * T


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
async def test_over_tls_a_slow_reader_that_takes_part_is_served_as_well(*, secure: bool) -> None:
    async with flooded(secure=secure) as (_, client):
        for _ in range(8):
            await trio.sleep(0.5 * T)
            left = 500_000
            while left > 0:
                data = await client.stream.receive_some(left)
                assert data
                left -= len(data)


# WebSockets and chats.


async def test_a_websocket_that_is_not_read_lets_go_of_its_upstream(autojump_clock: trio.testing.MockClock) -> None:
    async def talk(visit: ServiceRequest) -> None:
        await visit.send(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept(visit))  # fmt: skip
        while True:
            await visit.send(b"\x82\x7e\xff\xff" + bytes(65535))

    async with open_gateway(idle_timeout=T) as up:
        up.vectord.script = talk
        client = await small_client(up)
        async with client.stream:
            await client.send(websocket("/v1/vectors/x"))
            await client.head()
            began = trio.current_time()
            await up.vectord.gone.wait()
            assert 0.9 * T < trio.current_time() - began < STALL


def accept(visit: ServiceRequest) -> bytes:
    key = dict(visit.headers)[b"sec-websocket-key"]
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
    return base64.b64encode(digest)


@pytest.mark.parametrize("path", ["/v1/chat", "/v1/chat/completions"])
async def test_a_chat_that_is_not_read_lets_go_of_its_provider(path: str) -> None:
    """In real time, for the provider is asked through the whole service; its limit is a tenth of a second."""
    ended = trio.Event()

    async def long(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        try:
            while True:
                await stream.send_all(event(chunk(content="x" * 50_000)))
        finally:
            ended.set()

    with trio.fail_after(10):
        async with open_service_with_providers(scripts={"openrouter": long}, chatd={"idle_timeout": "100ms"}) as there:
            port = int(there.service.urls[0].rpartition(":")[2])
            body = b'{"model": "openrouter/v/m", "stream": true, "messages": [{"role": "user", "content": "x"}]}'
            async with await trio.open_tcp_stream("127.0.0.1", port) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await client.send_all(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (path.encode(), len(body), body))  # fmt: skip
                await client.receive_some(100)
                began = trio.current_time()
                await ended.wait()
                assert trio.current_time() - began < 5


def event(document: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % json.dumps(document).encode()
