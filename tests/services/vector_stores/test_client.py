"""The client of a store's server against a scripted server: what it sends again, and what its errors say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from trio.testing import MockClock

from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.errors import ErrTimeout, ErrUnavailable, ErrUnreached, ErrUpstream
from lakehouse.services.vector_stores.remote import client as client_module
from lakehouse.services.vector_stores.remote.client import ATTEMPTS, Refused, StoreClient
from tools.kit.raw_http import read_whole_body, send_response, serve_app
from tools.kit.socket_upstream import RawConnection, open_socket_upstream

KEY = "hidden-key"
Script = Callable[[], tuple[int, str]]


@dataclass
class ScriptedServer:
    """Answers each request with a status and a body, and records target, key and body of the requests."""

    answer: Script
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = dict(scope["headers"]).get(b"api-key", b"").decode()
        self.requests.append((scope["raw_path"].decode(), key, await read_whole_body(receive)))
        status, body = self.answer()
        headers = [(b"content-length", b"%d" % len(body)), (b"location", b"http://127.0.0.1:1/other")]
        await send_response(send, body.encode(), status, headers)


def make_client(port: int, load_key: Callable[[], str] = lambda: KEY) -> StoreClient:
    url = f"http://127.0.0.1:{port}/base"
    return StoreClient(url, name="the vector store", key_field="api-key", load_key=load_key)


@asynccontextmanager
async def open_scripted(
    answer: Script, load_key: Callable[[], str] = lambda: KEY
) -> AsyncIterator[tuple[ScriptedServer, StoreClient]]:
    script = ScriptedServer(answer)
    async with serve_app(script) as server:
        client = make_client(server.port, load_key)
        try:
            yield script, client
        finally:
            client.close()


async def test_a_server_that_is_busy_is_asked_again_with_the_key_of_the_moment(autojump_clock: MockClock) -> None:
    left, keys = [(503, ""), (500, ""), (200, '{"a":1}')], ["one", "two", "three"]
    async with open_scripted(lambda: left.pop(0), lambda: keys.pop(0)) as (script, client):
        assert await client.call("POST", "/x", dict[str, int], {"q": [1.5]}) == {"a": 1}
    body = b'{"q":[1.5]}'
    assert script.requests == [("/base/x", "one", body), ("/base/x", "two", body), ("/base/x", "three", body)]


async def test_a_server_that_stays_busy_is_given_up(autojump_clock: MockClock) -> None:
    async with open_scripted(lambda: (503, "")) as (script, client):
        with pytest.raises(ErrUnavailable, match="busy or failed") as caught:
            await client.call("GET", "/x", dict[str, int])
    assert len(script.requests) == ATTEMPTS
    assert (caught.value.retryable, caught.value.retry_after) == (True, 2.0)


async def test_a_refused_key_is_said_and_neither_sent_again_nor_shown() -> None:
    async with open_scripted(lambda: (401, f"Invalid API key {KEY}")) as (script, client):
        with pytest.raises(ErrUpstream, match=r"refuses the key .*lake\.key_file") as caught:
            await client.call("GET", "/x", dict[str, int])
    assert len(script.requests) == 1
    assert KEY not in str(caught.value)


async def test_a_redirect_is_not_followed() -> None:
    async with open_scripted(lambda: (307, "")) as (script, client):
        with pytest.raises(ErrUpstream, match="redirect"):
            await client.call("GET", "/x", dict[str, int])
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ('{"status":{"error":"Not found: Collection `a`"},"time":0.1}', "Not found: Collection `a`"),
        ('{"error":"NotFoundError","message":"no such collection"}', "no such collection"),
        ("plain text", "plain text"),
        ("<html>a proxy</html>", ""),
    ],
)
async def test_what_the_server_says_of_a_refusal_is_kept(body: str, sentence: str) -> None:
    async with open_scripted(lambda: (404, body)) as (_, client):
        with pytest.raises(Refused) as caught:
            await client.call("GET", "/x", dict[str, int])
    assert (caught.value.status, str(caught.value)) == (404, sentence)


@pytest.mark.parametrize("body", ["", "[1", '{"a":"text"}', "\udcff"])
async def test_an_answer_that_is_not_understood_is_an_error_of_the_server(body: str) -> None:
    async def script(wire: RawConnection) -> None:
        await wire.read_head()
        content = body.encode("utf-8", "surrogateescape")
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))

    async with open_socket_upstream(script) as port:
        client = make_client(port)
        with pytest.raises(ErrUpstream, match="not understood"):
            await client.call("GET", "/x", dict[str, int])
        client.close()


async def test_an_answer_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_ANSWER", 10)
    async with open_scripted(lambda: (200, '{"a": 12345678}')) as (script, client):
        with pytest.raises(ErrUpstream, match="more than 10 bytes"):
            await client.call("GET", "/x", dict[str, int])
    assert len(script.requests) == 1


async def test_a_connection_that_breaks_in_an_answer_is_replaced(autojump_clock: MockClock) -> None:
    async def script(wire: RawConnection) -> None:
        await wire.read_head()
        if wire.number == 0:
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{")
        else:
            await wire.send(b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}')

    async with open_socket_upstream(script) as port:
        client = make_client(port)
        assert await client.call("GET", "/x", dict[str, int]) == {"a": 1}
        client.close()


async def test_a_server_that_is_not_there_or_silent_is_an_error_in_time(autojump_clock: MockClock) -> None:
    async def silent(wire: RawConnection) -> None:
        await wire.read_head()
        await wire.read_head()

    async with open_socket_upstream(silent) as port:
        client = make_client(port)
        with pytest.raises(ErrTimeout):
            await client.call("GET", "/x", dict[str, int])
        client.close()
    with pytest.raises(ErrUnreached):
        await make_client(port).call("GET", "/x", dict[str, int])
