"""One deadline covers the whole call, the reading of the request's body included: `[chatd] timeout`.

Real sockets, both forms, under the service's own server, under Hypercorn as it comes, and without the lifetime middleware.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any, Protocol

import pytest
import trio

from tools.kit.fake_dispatcher import FakeDispatcher, chat_app, serve
from tools.kit.lifetime.phases import chat_request, post_request
from tools.kit.lifetime.testbed import Client, open_testbed
from tools.kit.lifetime.under_hypercorn import open_hypercorn_testbed

pytestmark = pytest.mark.alone  # measures the time to a deadline

TIMEOUT = 0.4
LATE = 0.3
"""Seconds that a busy machine may be late; less than `TIMEOUT`, so that a second deadline after the first is noticed."""

PAUSE = 0.02
FORMS = ["/v1/chat", "/v1/chat/completions"]


class Place(Protocol):
    """Where the service runs."""

    async def client(self) -> Client: ...


Served = Callable[..., AbstractAsyncContextManager[Place]]


@asynccontextmanager
async def mounted(*, chatd: dict[str, Any]) -> AsyncIterator[Place]:
    """The chat group in the Quart-Trio application of somebody else, under Hypercorn."""

    class Mounted:
        async def client(self) -> Client:
            return Client(await trio.open_tcp_stream("127.0.0.1", port))

    app = chat_app(FakeDispatcher(), max_body=8_000_000, timeout=chatd["timeout"])
    async with trio.open_nursery() as nursery:
        url = await serve(nursery, app, "quart-trio")
        port = int(url.rpartition(":")[2])
        yield Mounted()
        nursery.cancel_scope.cancel()


SERVERS: dict[str, Served] = {"ours": open_testbed, "stock Hypercorn": open_hypercorn_testbed, "in Quart-Trio": mounted}


async def drip(client: Client, _: bytes) -> None:
    """A byte at a time, of eight million."""
    while True:
        await client.send(b" ")
        await trio.sleep(PAUSE)


async def drip_chunks(client: Client, _: bytes) -> None:
    while True:
        await client.send(b"1\r\n \r\n")
        await trio.sleep(PAUSE)


async def stall(client: Client, body: bytes) -> None:
    """All but the last byte, at once."""
    await client.send(body[:-1])


async def nothing(_: Client, __: bytes) -> None:
    """Not a byte."""


BODIES = {
    "a drip": ("Content-Length: 8000000\r\n", drip),
    "a drip of chunks": ("Transfer-Encoding: chunked\r\n", drip_chunks),
    "a stall": ("", stall),
    "nothing": ("Content-Length: 10\r\n", nothing),
    "a drip after 100 Continue": ("Content-Length: 8000000\r\nExpect: 100-continue\r\n", drip),
}


async def answer_to(client: Client, name: str, path: str, more: str = "") -> float:
    """Send the head and the body of that name, and wait for an answer that is an error; the seconds that it took."""
    framing, send = BODIES[name]
    body = chat_request("ok.x").partition(b"\r\n\r\n")[2]
    framing = framing or f"Content-Length: {len(body)}\r\n"

    async def feed() -> None:
        with suppress(trio.BrokenResourceError):
            await send(client, body)

    began = trio.current_time()
    await client.send(f"POST {path} HTTP/1.1\r\nHost: x\r\n{framing}{more}\r\n".encode())
    if "Expect" in framing:
        await client.until(b"\r\n\r\n")
        assert client.said.startswith(b"HTTP/1.1 100 ")
        client.said = b""
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed)
            await client.until(b"}}")
            nursery.cancel_scope.cancel()
    return trio.current_time() - began


def error_in(client: Client) -> dict[str, Any]:
    """The error of an answer that is here."""
    document = json.loads(client.said.rpartition(b"\r\n\r\n")[2])["error"]
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("server", SERVERS)
async def test_a_body_that_does_not_arrive_in_time_is_a_504(server: str) -> None:
    """Every way of not arriving, in both forms and through Quart, which answers a path that is percent-encoded."""

    async def check(name: str, path: str) -> None:
        async with await place.client() as client:
            took = await answer_to(client, name, path)
            assert client.said.startswith(b"HTTP/1.1 504 "), (name, path, client.said)
            assert TIMEOUT - 0.01 <= took <= TIMEOUT + LATE, (name, path)
            error = error_in(client)
            assert error["code"] == ("timeout" if path.endswith("completions") else "ErrTimeout"), (name, path)
            assert "the body of the request did not arrive within 0.4 s" in error["message"], (name, path)

    async with SERVERS[server](chatd={"timeout": TIMEOUT}) as place:
        async with trio.open_nursery() as nursery:
            for name in BODIES:
                for path in (*FORMS, "/v1/%63hat"):
                    nursery.start_soon(check, name, path)


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("server", ["ours", "stock Hypercorn"])
async def test_a_nearer_deadline_of_the_caller_holds_for_the_body_too(server: str, path: str) -> None:
    async with SERVERS[server](chatd={"timeout": 10}) as place, await place.client() as client:
        took = await answer_to(client, "a drip", path, "X-Request-Timeout-Ms: 200\r\n")
        assert client.said.startswith(b"HTTP/1.1 504 ")
        assert 0.19 <= took <= 0.2 + LATE


@pytest.mark.parametrize("server", ["ours", "stock Hypercorn"])
async def test_the_time_of_the_body_is_taken_from_that_of_the_answer(server: str) -> None:
    """A body that arrives late, and a provider that does not answer: one deadline, not two of them."""
    seconds = 0.6

    async def check(path: str, *, stream: bool) -> None:
        async with await place.client() as client:
            body = chat_request("silent.x", stream=stream).partition(b"\r\n\r\n")[2]
            began = trio.current_time()
            await client.send(post_request(path, len(body)) + body[:-1])
            await trio.sleep(0.4)
            await client.send(body[-1:])
            with trio.fail_after(5):
                await client.until(b"}}")
            took = trio.current_time() - began
            assert client.said.startswith(b"HTTP/1.1 504 "), (path, stream)
            assert seconds - 0.01 <= took <= seconds + LATE, (path, stream)
            assert "answer" in error_in(client)["message"], (path, stream)

    async with SERVERS[server](chatd={"timeout": seconds}) as place, trio.open_nursery() as nursery:
        for path in (*FORMS, "/v1/%63hat"):
            for stream in (False, True):
                nursery.start_soon(partial(check, path, stream=stream))


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("server", ["ours", "stock Hypercorn"])
async def test_a_slow_body_that_arrives_in_time_is_answered(server: str, path: str) -> None:
    async with SERVERS[server](chatd={"timeout": 5}) as place, await place.client() as client:
        request = chat_request("ok.x", path=path)
        head, mark, body = request.partition(b"\r\n\r\n")
        await client.send(head + mark)
        for byte in body:
            await client.send(bytes((byte,)))
            await trio.sleep(0.001)
        with trio.fail_after(5):
            await client.until(b"}")
        assert client.said.startswith(b"HTTP/1.1 200 ")
