"""The two ways to a provider, our pool and any httpx transport, behave the same. On real sockets."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
import trio.testing

from lakehouse.chat.dispatch.policies.failure_rules import is_connection_lost
from lakehouse.chat.dispatch.transport.interface import ProviderResponse, ProviderTransport
from lakehouse.chat.dispatch.transport.via_httpx import HttpxTransport
from lakehouse.chat.dispatch.transport.via_pool import PoolTransport
from lakehouse.core.errors import LakehouseError
from lakehouse.testing.upstreams import (
    ScriptedUpstream,
    UpstreamScript,
    answer_with,
    never_answer,
    open_upstream,
    respond,
)
from lakehouse.upstream.httpx_transport import UpstreamTransport
from lakehouse.upstream.pool import Upstream as Pool

HEADERS = ((b"X-Test", b"a"), (b"x-test", b"b"))
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"

Opener = Callable[[str], tuple[ProviderTransport, Callable[[], object]]]


def over_pool(url: str) -> tuple[ProviderTransport, Callable[[], object]]:
    """Our pool; nothing of it may be in use when it is closed."""
    pool = Pool(url, name="p")

    def close() -> None:
        assert (pool.in_use, pool.waiting) == (0, 0)
        pool.close()

    return PoolTransport(pool), close


def over_httpx(url: str) -> tuple[ProviderTransport, Callable[[], object]]:
    """httpx's own transport."""
    transport = httpx.AsyncHTTPTransport(trust_env=False)
    return HttpxTransport(transport, base_url=url, provider="p"), transport.aclose


def over_our_httpx(url: str) -> tuple[ProviderTransport, Callable[[], object]]:
    """Our pool behind httpx's interface, as a program may compose it."""
    pool = Pool(url, name="p")
    return HttpxTransport(UpstreamTransport([pool]), base_url=url, provider="p"), pool.close


@pytest.fixture(params=[over_pool, over_httpx, over_our_httpx], ids=["pool", "httpx", "pool behind httpx"])
def opener(request: pytest.FixtureRequest) -> Opener:
    chosen: Opener = request.param
    return chosen


@asynccontextmanager
async def provider(opener: Opener, script: UpstreamScript) -> AsyncIterator[tuple[ProviderTransport, ScriptedUpstream]]:
    """A scripted provider and the transport to it."""
    with trio.fail_after(20):
        async with open_upstream(script) as upstream:
            transport, close = opener(upstream.url)
            yield transport, upstream
            if (closing := close()) is not None:
                await closing  # type: ignore[misc]


async def post(transport: ProviderTransport, body: bytes = b"{}") -> ProviderResponse:
    return await transport.request(b"POST", b"/v1/chat?x=%2F", HEADERS, body)


def ignore() -> None:
    pass


async def test_a_request_is_sent_as_given_and_its_response_is_read(opener: Opener) -> None:
    script = answer_with(respond(b"Hello.", more="x-a: 1\r\nX-A: 2\r\n"))
    async with provider(opener, script) as (transport, upstream):
        async with await post(transport, b"body") as response:
            assert response.status == 200
            assert [value for name, value in response.headers() if name.lower() == "x-a"] == ["1", "2"]
            assert await response.read(100, ignore) == b"Hello."
            assert await response.receive() == b""
        [request] = upstream.requests
        assert (request.method, request.target, request.body) == ("POST", "/v1/chat?x=%2F", b"body")
        assert request.headers["host"] == upstream.url.removeprefix("http://")
        assert request.headers["content-length"] == "4"
        assert request.headers["x-test"] == "b"  # the last of the two
        assert not {"cookie", "user-agent", "accept-encoding"} & request.headers.keys()


async def test_a_body_read_to_its_end_leaves_its_connection_for_the_next_request(opener: Opener) -> None:
    async with provider(opener, answer_with(respond(b"Hello."))) as (transport, upstream):
        for _ in range(3):
            assert await (await post(transport)).read_and_close(100, ignore) == b"Hello."
        assert (len(upstream.requests), upstream.opened) == (3, 1)


async def test_progress_is_reported_for_data_and_not_for_white_space(opener: Opener) -> None:
    async def script(_: object, stream: trio.SocketStream) -> None:
        for part in (CHUNKED, b"2\r\n\n \r\n", b"6\r\nHello.\r\n", b"0\r\n\r\n"):
            await stream.send_all(part)
            await trio.sleep(0.02)

    async with provider(opener, script) as (transport, _):
        progress: list[None] = []
        body = await (await post(transport)).read_and_close(100, lambda: progress.append(None))
        assert (body, len(progress)) == (b"\n Hello.", 1)


@pytest.mark.parametrize("chunks", [1, 4])
async def test_a_body_over_its_limit_is_an_error_and_closes_the_connection(opener: Opener, chunks: int) -> None:
    part = b"x" * (40 // chunks)
    body = CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for _ in range(chunks)) + b"0\r\n\r\n"
    async with provider(opener, answer_with(body)) as (transport, upstream):
        with pytest.raises(LakehouseError, match="over the bound of 20 bytes") as raised:
            await (await post(transport)).read_and_close(20, ignore)
        error = raised.value
        assert (error.error_class, error.upstream_status, error.retryable) == ("upstream_error", 200, False)
        del upstream


async def test_a_body_with_a_content_coding_is_decoded(opener: Opener) -> None:
    script = answer_with(respond(gzip.compress(b"Hello." * 99), more="content-encoding: gzip\r\n"))
    async with provider(opener, script) as (transport, _):
        assert await (await post(transport)).read_and_close(10_000, ignore) == b"Hello." * 99


async def test_a_content_encoding_that_names_no_coding_changes_nothing(opener: Opener) -> None:
    async with provider(opener, answer_with(respond(b"Hello.", more="content-encoding: identity\r\n"))) as (
        transport,
        _,
    ):
        assert await (await post(transport)).read_and_close(100, ignore) == b"Hello."


async def test_an_error_response_is_classified(opener: Opener) -> None:
    script = answer_with(respond({"error": "slow down"}, 429, more="retry-after: 7\r\n"))
    async with provider(opener, script) as (transport, _):
        async with await post(transport) as response:
            error = await response.read_error()
        assert (error.error_class, error.upstream_status, error.retry_after) == ("rate_limit", 429, 7)
        assert error.provider == "p"


async def test_an_error_response_whose_body_breaks_off_is_classified_by_what_came(opener: Opener) -> None:
    async def script(_: object, stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 503 X\r\ncontent-length: 99\r\n\r\n{")
        await stream.aclose()

    async with provider(opener, script) as (transport, _), await post(transport) as response:
        assert (await response.read_error()).upstream_status == 503


async def test_a_refused_connection_is_a_lost_connection(opener: Opener) -> None:
    async with open_upstream(never_answer) as upstream:
        pass
    transport, close = opener(upstream.url)
    with trio.fail_after(20), pytest.raises(LakehouseError) as raised:
        await post(transport)
    assert is_connection_lost(raised.value)
    assert (raised.value.provider, raised.value.retryable) == ("p", True)
    if (closing := close()) is not None:
        await closing  # type: ignore[misc]


@pytest.mark.parametrize("sent", [b"", CHUNKED, CHUNKED + b"6\r\nHel"], ids=["no head", "no body", "in a chunk"])
async def test_a_connection_that_breaks_is_a_lost_connection(opener: Opener, sent: bytes) -> None:
    async def script(_: object, stream: trio.SocketStream) -> None:
        await stream.send_all(sent)
        await stream.aclose()

    async with provider(opener, script) as (transport, _):
        with pytest.raises(LakehouseError) as raised:
            await (await post(transport)).read_and_close(100, ignore)
        assert is_connection_lost(raised.value)
        assert raised.value.retryable


async def test_waiting_for_the_body_ends_at_its_deadline(opener: Opener) -> None:
    async def script(_: object, stream: trio.SocketStream) -> None:
        await stream.send_all(CHUNKED)
        await stream.receive_some()

    async with provider(opener, script) as (transport, _), await post(transport) as response:
        assert response.body.try_read() is None
        assert await response.body.wait_readable(trio.current_time() + 0.05) is False


@pytest.mark.parametrize("sent", [b"", CHUNKED], ids=["before the head", "in the body"])
async def test_a_cancelled_exchange_closes_its_connection(opener: Opener, sent: bytes) -> None:
    reached = trio.Event()

    async def script(_: object, stream: trio.SocketStream) -> None:
        await stream.send_all(sent)
        reached.set()
        await stream.receive_some()

    async with provider(opener, script) as (transport, upstream):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def cancel() -> None:
                    await reached.wait()
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    scope.cancel()

                nursery.start_soon(cancel)
                await (await post(transport)).read_and_close(100, ignore)
        assert scope.cancelled_caught
        while not upstream.closed:
            await trio.sleep(0.005)
