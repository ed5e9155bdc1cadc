"""Upstreams behind httpx's transport interface: what httpx's own client and our providers see of them."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import trio
import trio.testing

from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrTimeout, ErrUpstream
from lakehouse.testing.upstreams import ReceivedRequest, open_upstream, respond
from lakehouse.upstream.httpx_transport import UpstreamTransport
from lakehouse.upstream.pool import Upstream
from tools.kit.socket_upstream import HELLO, OK, RawConnection, hello, open_socket_upstream

made: list[Upstream] = []


@pytest.fixture(autouse=True)
def close_idle_connections() -> Iterator[None]:
    yield
    while made:
        made.pop().close()


def to(*urls: str, **limits: float) -> UpstreamTransport:
    mine = [Upstream(url, name=f"provider{number}", **limits) for number, url in enumerate(urls)]  # type: ignore[arg-type]
    made.extend(mine)
    return UpstreamTransport(mine)


async def test_a_request_arrives_as_it_was_written() -> None:
    heads: list[bytes] = []

    async def script(wire: RawConnection) -> None:
        while True:
            heads.append(await wire.read_head())
            await wire.until(b"{}")
            await wire.send(HELLO)

    async with open_socket_upstream(script) as port:
        transport = to(f"http://127.0.0.1:{port}/v1")
        request = httpx.Request(
            "POST",
            f"http://127.0.0.1:{port}/v1/chat%2Fx?a=1&a=2",
            headers=[("X-One", "1"), ("x-one", "2"), ("Authorization", "Bearer k")],
            content=b"{}",
        )
        response = await transport.handle_async_request(request)
        assert await response.aread() == b"hello"
        lines = heads[0].split(b"\r\n")
        assert lines[:2] == [b"POST /v1/chat%2Fx?a=1&a=2 HTTP/1.1", b"Host: 127.0.0.1:%d" % port]
        assert sorted(lines[2:]) == sorted(
            [b"X-One: 1", b"x-one: 2", b"Authorization: Bearer k", b"Content-Length: 2", b"", b""]
        ), "no default headers, nothing twice"


async def test_an_answer_is_handed_on_as_it_came() -> None:
    async def script(wire: RawConnection) -> None:
        await wire.read_head()
        await wire.send(b"HTTP/1.1 200 Fine\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 5\r\n\r\nhello")
        await wire.receive()

    async with open_socket_upstream(script) as port:
        response = await to(f"http://127.0.0.1:{port}").handle_async_request(
            httpx.Request("GET", f"http://127.0.0.1:{port}/")
        )
        assert (response.status_code, response.reason_phrase, response.http_version) == (200, "Fine", "HTTP/1.1")
        assert response.headers.raw == [(b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"Content-Length", b"5")]
        assert await response.aread() == b"hello"


async def test_nothing_is_kept_and_nowhere_is_gone_to() -> None:
    asked: list[ReceivedRequest] = []

    async def script(it: ReceivedRequest, stream: trio.SocketStream) -> None:
        asked.append(it)
        more = "set-cookie: user=alice\r\nlocation: /elsewhere\r\n"
        await stream.send_all(respond(b"moved", 302, more=more))

    async with open_upstream(script) as up:
        transport = to(up.url)
        for _ in range(2):
            response = await transport.handle_async_request(httpx.Request("GET", up.url + "/a"))
            assert (response.status_code, await response.aread()) == (302, b"moved")
        assert [it.target for it in asked] == ["/a", "/a"]
        assert "cookie" not in asked[1].headers


async def test_httpx_client_over_it() -> None:
    async def script(it: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.send_all(respond({"echo": it.json}))

    async with open_upstream(script) as up, httpx.AsyncClient(transport=to(up.url)) as client:
        for number in range(3):
            assert (await client.post(up.url, json={"n": number})).json() == {"echo": {"n": number}}
        assert up.opened == 1
    with pytest.raises(RuntimeError, match="closed"):
        await client.get(up.url)


async def test_each_origin_has_its_upstream() -> None:
    async def other(wire: RawConnection) -> None:
        await wire.read_head()
        await wire.send(OK + b"Content-Length: 5\r\n\r\nother")
        await wire.receive()

    async with (
        open_socket_upstream(hello) as one,
        open_socket_upstream(other) as two,
        httpx.AsyncClient(transport=to(f"http://127.0.0.1:{one}", f"http://127.0.0.1:{two}")) as client,
    ):
        assert (await client.get(f"http://127.0.0.1:{one}/")).text == "hello"
        assert (await client.get(f"http://127.0.0.1:{two}/")).text == "other"
        with pytest.raises(ErrUpstream, match=r"no upstream is configured for https://127\.0\.0\.1"):
            await client.get(f"https://127.0.0.1:{one}/?key=secret")


@pytest.mark.parametrize("length", [None, 6])
async def test_a_body_that_streams(length: int | None) -> None:
    heads: list[bytes] = []

    async def script(wire: RawConnection) -> None:
        heads.append(await wire.read_head())
        heads.append(await wire.until(b"0\r\n\r\n" if length is None else b"def"))
        await wire.send(HELLO)
        await wire.receive()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"
        yield b""
        yield b"def"

    async with open_socket_upstream(script) as port:
        transport = to(f"http://127.0.0.1:{port}")
        headers = {} if length is None else {"content-length": str(length)}
        request = httpx.Request("POST", f"http://127.0.0.1:{port}/", content=pieces(), headers=headers)
        response = await transport.handle_async_request(request)
        assert await response.aread() == b"hello"
        assert heads[1] == (b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n" if length is None else b"abcdef")
        assert heads[0].lower().count(b"content-length") == (length is not None)
        assert made[0].idle == 1


async def test_a_stream_left_early_leaves_no_rubbish_and_no_connection() -> None:
    async def script(wire: RawConnection) -> None:
        await wire.read_head()
        await wire.send(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        assert await wire.receive() == b""

    async with open_socket_upstream(script) as port:
        transport = to(f"http://127.0.0.1:{port}")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            response = await transport.handle_async_request(httpx.Request("GET", f"http://127.0.0.1:{port}/"))
            assert isinstance(response.stream, httpx.AsyncByteStream)
            async for piece in response.stream:
                assert piece == b"a"
                break
            await response.aclose()
            gc.collect()
        assert (made[0].in_use, made[0].idle) == (0, 0)


async def test_failures_are_ours(autojump_clock: trio.testing.MockClock) -> None:
    async def script(wire: RawConnection) -> None:
        head = await wire.read_head()
        if b"/silent" not in head:
            await wire.send(OK + b"Content-Length: 9\r\n\r\nhello")
            return
        await wire.receive()

    async with open_socket_upstream(script) as port:
        transport = to(f"http://127.0.0.1:{port}", response_timeout=3)
        with pytest.raises(ErrTimeout, match="provider0 did not answer within 3 s"):
            await transport.handle_async_request(httpx.Request("GET", f"http://127.0.0.1:{port}/silent"))
        response = await transport.handle_async_request(httpx.Request("GET", f"http://127.0.0.1:{port}/cut"))
        with pytest.raises(ErrUpstream, match="provider0 closed the connection in the middle of the body"):
            await response.aread()
        assert made[0].in_use == 0


async def test_the_request_context_is_kept_up_to_date() -> None:
    phases: list[str] = []
    context = RequestContext(id="1", method="POST", path="/", started=0)

    async def script(wire: RawConnection) -> None:
        await wire.read_head()
        await trio.testing.wait_all_tasks_blocked()
        phases.append(context.phase)
        await wire.send(HELLO)
        await wire.receive()

    async with open_socket_upstream(script) as port:
        request = httpx.Request("GET", f"http://127.0.0.1:{port}/", extensions={"lakehouse.context": context})
        await (await to(f"http://127.0.0.1:{port}").handle_async_request(request)).aread()
        assert (phases, context.phase, context.upstream) == (["waiting"], "streaming", "provider0")


async def test_a_cancelled_call_leaves_nothing() -> None:
    async def script(wire: RawConnection) -> None:
        await wire.read_head()
        assert await wire.receive() == b""

    async with (
        open_socket_upstream(script) as port,
        httpx.AsyncClient(transport=to(f"http://127.0.0.1:{port}")) as client,
    ):
        with trio.move_on_after(0.02) as scope:
            await client.get(f"http://127.0.0.1:{port}/")
        assert scope.cancelled_caught
        assert (made[0].in_use, made[0].idle) == (0, 0)
