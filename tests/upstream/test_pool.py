"""Upstream against a scripted server on real sockets: reuse, second tries, limits of time and number, both directions at
once, and that nothing is left behind."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrBadRequest, ErrTimeout, ErrUnavailable, ErrUpstream
from lakehouse.net.fairness import OPERATIONS
from lakehouse.net.reactor import Reactor
from lakehouse.upstream.connections.connection import UpstreamConnection
from lakehouse.upstream.connections.idle_connections import MAX_IDLE_FOR_STREAMED_BODY
from lakehouse.upstream.http1.request import RequestBody, UpstreamRequest, encode_request
from lakehouse.upstream.http1.response import StaleConnection, UpstreamResponse
from lakehouse.upstream.http1.response_parser import ResponseParser
from lakehouse.upstream.pool import Upstream
from tools.kit.socket_upstream import HELLO, OK, RawConnection, hello, open_socket_upstream


@pytest.fixture(autouse=True)
async def no_waiting_for_ever(nursery: trio.Nursery) -> None:
    """A test that hangs fails: after a while, or at once where time is virtual and jumps."""

    async def limit() -> None:
        virtual = isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock)
        await trio.sleep(1e6 if virtual else 20)
        raise AssertionError("this test hangs")

    nursery.start_soon(limit)


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"

made: list[Upstream] = []


@pytest.fixture(autouse=True)
def close_idle_connections() -> Iterator[None]:
    """What a service does when it stops."""
    yield
    while made:
        made.pop().close()


by_default: dict[str, object] = {}


def at(port: int, host: str = "127.0.0.1", **options: Any) -> Upstream:
    made.append(Upstream(f"http://{host}:{port}", name="storaged", **{**by_default, **options}))
    return made[-1]


async def get(upstream: Upstream, method: bytes = b"GET", body: bytes | RequestBody | None = None) -> bytes:
    with await upstream.send(UpstreamRequest(method, b"/", [], body)) as response:
        return await response.read(10_000)


async def exchange(upstream: Upstream, body: RequestBody, error: Exception | None = None) -> None:
    async with upstream.send_full_duplex(UpstreamRequest(b"POST", b"/", [], body)) as response:
        if error is not None:
            raise error
        await response.read(10_000)


class Pieces:
    """A request's body out of a list; it counts what was taken, and can stop half-way."""

    def __init__(self, pieces: list[bytes], *, length: int | None = None, then: object = None) -> None:
        self.length = length
        self.taken = 0
        self._pieces = pieces
        self._then = then

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.taken < len(self._pieces):
            self.taken += 1
            return self._pieces[self.taken - 1]
        if isinstance(self._then, trio.Event):
            await self._then.wait()
        if isinstance(self._then, Exception):
            raise self._then
        return b""


class TestReuse:
    async def test_head_and_body_leave_together_and_the_connection_is_used_again(self) -> None:
        seen: list[tuple[int, bytes]] = []

        async def script(wire: RawConnection) -> None:
            while data := await wire.receive():
                seen.append((wire.number, data))
                await wire.send(HELLO)

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            for _ in range(3):
                with await upstream.send(
                    UpstreamRequest(b"POST", b"/a%2Fb?c=d&c=e", [(b"X-A", b"1"), (b"x-a", b"2")], b"body")
                ) as response:
                    assert await response.receive() == b"hello"
                    assert (upstream.in_use, upstream.idle) == (0, 1), "given back with the last byte, not with close()"
                    assert await response.receive() == b""
            host = b"Host: 127.0.0.1:%d\r\n" % port
            wire = b"POST /a%2Fb?c=d&c=e HTTP/1.1\r\n" + host + b"X-A: 1\r\nx-a: 2\r\nContent-Length: 4\r\n\r\nbody"
            assert seen == [(0, wire)] * 3

    async def test_last_in_first_out_and_expiry(self, autojump_clock: trio.testing.MockClock) -> None:
        served: list[int] = []
        gone: list[int] = []

        async def script(wire: RawConnection) -> None:
            try:
                while True:
                    await wire.read_head()
                    served.append(wire.number)
                    await trio.sleep(1 + wire.number)
                    await wire.send(HELLO)
            finally:
                gone.append(wire.number)

        async with open_socket_upstream(script) as port:
            upstream = at(port, keepalive_expiry=10)
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(get, upstream)
            last = served[-1]
            assert upstream.idle == 3
            for _ in range(4):  # three seconds each
                await get(upstream)
            assert served[3:] == [2, 2, 2, 2], "the one that was given back last, every time"
            assert sorted(gone) == [0, 1], "by then the others had expired"
            assert upstream.idle == 1
            await trio.sleep(11)
            await get(upstream)
            assert served[-1] == 3
            assert last == 2
            upstream.close()
            assert upstream.idle == 0
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(gone) == [0, 1, 2, 3]

    @pytest.mark.parametrize("how", ["end", "reset", "farewell"])
    async def test_an_idle_connection_that_ended_is_not_used(self, how: str) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(HELLO)
            if wire.number == 0:
                if how == "reset":
                    await wire.reset()
                if how == "farewell":  # an answer to what was not asked: taken for the next answer, it would poison it
                    await wire.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
                    await wire.receive()
                return
            await wire.read_head()

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            assert await get(upstream) == b"hello"
            await trio.testing.wait_all_tasks_blocked()
            assert await get(upstream, b"POST", b"once") == b"hello"

    @pytest.mark.parametrize(
        "raw", [HELLO + b"more", OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello", OK + b"\r\nhello"]
    )
    async def test_a_connection_that_is_out_of_step_or_to_be_closed_is_closed(self, raw: bytes) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(raw)
            if raw.startswith(OK + b"\r\n"):
                return
            assert await wire.receive() == b""

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            assert await get(upstream) == b"hello"
            assert (upstream.in_use, upstream.idle) == (0, 0)

    async def test_answers_without_a_body_keep_the_connection(self) -> None:
        async def script(wire: RawConnection) -> None:
            while True:
                head = await wire.read_head()
                if head.startswith(b"HEAD"):
                    await wire.send(OK + b"Content-Length: 5\r\n\r\n")
                elif b"/304" in head:
                    await wire.send(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")
                else:
                    await wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            for method, target, status in ((b"HEAD", b"/", 200), (b"GET", b"/304", 304), (b"DELETE", b"/", 204)) * 2:
                with await upstream.send(UpstreamRequest(method, target, [])) as response:
                    assert (response.status, await response.receive()) == (status, b"")
                assert (upstream.in_use, upstream.idle) == (0, 1)

    async def test_leaving_early_closes_the_connection(self) -> None:
        left = trio.Event()

        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(OK + b"Content-Length: 100\r\n\r\nhello")
            assert await wire.receive() == b""
            left.set()

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            with await upstream.send(UpstreamRequest(b"GET", b"/", [])) as response:
                assert await response.receive() == b"hello"
            assert (upstream.in_use, upstream.idle) == (0, 0)
            await left.wait()
            with pytest.raises(trio.ClosedResourceError):
                await response.receive()
            response.close()
            assert upstream.in_use == 0

    async def test_an_answer_that_was_forgotten_is_given_back_and_told_of(self) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(OK + b"Content-Length: 9\r\n\r\n")
            assert await wire.receive() == b""

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            response = await upstream.send(UpstreamRequest(b"GET", b"/", []))
            assert upstream.in_use == 1
            with pytest.warns(ResourceWarning, match="storaged was never closed"):
                del response
            assert upstream.in_use == 0

    async def test_closed_means_no_more(self) -> None:
        async with open_socket_upstream(hello) as port:
            upstream = at(port)
            await get(upstream)
            upstream.close()
            with pytest.raises(ErrUnavailable, match="storaged is closed"):
                await get(upstream)


class TestSecondTry:
    """A reused connection ends as the next request is on its way."""

    @staticmethod
    def script(
        asked: list[tuple[int, bytes]], before_the_end: bytes = b"", after: float = 0, *, reset: bool = False
    ) -> object:
        async def script(wire: RawConnection) -> None:
            head = await wire.read_head()
            asked.append((wire.number, head.split()[0]))
            await wire.send(HELLO)
            head = await wire.read_head()
            asked.append((wire.number, head.split()[0]))
            if wire.number:
                await wire.send(HELLO)
                return
            await trio.sleep(after)
            if before_the_end:
                await wire.send(before_the_end)
            if reset:
                await wire.reset()

        return script

    @pytest.mark.parametrize("reset", [False, True])
    @pytest.mark.parametrize("method", [b"GET", b"PUT"])
    async def test_is_made_once_on_a_new_connection(self, method: bytes, reset: bool) -> None:
        asked: list[tuple[int, bytes]] = []
        async with open_socket_upstream(self.script(asked, reset=reset)) as port:  # type: ignore[arg-type]
            upstream = at(port)
            assert await get(upstream) == b"hello"
            assert await get(upstream, method, b"body" if method == b"PUT" else None) == b"hello"
            assert asked == [(0, b"GET"), (0, method), (1, method)]

    async def test_is_not_made_for_what_may_have_been_done(self, autojump_clock: trio.testing.MockClock) -> None:
        """A POST that the upstream may have acted on; a GET may be asked again all the same."""
        for method, tries in ((b"POST", 1), (b"GET", 2), (b"PUT", 2)):
            asked: list[tuple[int, bytes]] = []
            async with open_socket_upstream(self.script(asked, after=0.2)) as port:  # type: ignore[arg-type]
                upstream = at(port)
                await get(upstream)
                if tries == 1:
                    with pytest.raises(ErrUpstream, match="storaged closed the connection without an answer"):
                        await get(upstream, method)
                else:
                    assert await get(upstream, method) == b"hello"
                assert len(asked) == 1 + tries
                upstream.close()

    @pytest.mark.parametrize("beginning", [b"H", b"HTTP/1.1 200 OK\r\nConte", OK + b"Content-Length: 5\r\n\r\nhel"])
    async def test_is_not_made_when_anything_of_an_answer_was_seen(self, beginning: bytes) -> None:
        asked: list[tuple[int, bytes]] = []
        async with open_socket_upstream(self.script(asked, beginning)) as port:  # type: ignore[arg-type]
            upstream = at(port)
            await get(upstream)
            with pytest.raises(ErrUpstream) as caught:
                await get(upstream)
            assert caught.value.error_class == ("incomplete_stream" if b"hel" in beginning else "upstream_error")
            assert len(asked) == 2

    async def test_is_not_made_on_a_connection_that_was_new(self) -> None:
        accepted = 0

        async def script(wire: RawConnection) -> None:
            nonlocal accepted
            accepted += 1
            await wire.read_head()

        async with open_socket_upstream(script) as port:
            with pytest.raises(ErrUpstream, match="closed the connection without an answer"):
                await get(at(port))
        assert accepted == 1

    async def test_is_not_made_for_a_body_that_streams(self) -> None:
        asked: list[tuple[int, bytes]] = []
        async with open_socket_upstream(self.script(asked)) as port:  # type: ignore[arg-type]
            upstream = at(port)
            await get(upstream)
            with pytest.raises(ErrUpstream, match="without an answer"):
                await get(upstream, b"PUT", Pieces([b"a"], length=1))
            assert len(asked) == 2

    async def test_is_not_risked_for_a_body_that_streams(self, autojump_clock: trio.testing.MockClock) -> None:
        used: list[int] = []

        async def script(wire: RawConnection) -> None:
            while True:
                if b"Content-Length: 1" in await wire.read_head():
                    await wire.until(b"a")
                used.append(wire.number)
                await wire.send(HELLO)

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            await get(upstream)
            await get(upstream, b"PUT", Pieces([b"a"], length=1))
            await trio.sleep(MAX_IDLE_FOR_STREAMED_BODY + 1)
            await get(upstream)
            await trio.sleep(MAX_IDLE_FOR_STREAMED_BODY + 1)
            await get(upstream, b"PUT", Pieces([b"a"], length=1))
            assert used == [0, 0, 0, 1]
            assert upstream.idle == 1


class TestFailures:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixtures only guard and tidy up
    @given(
        raw=st.sampled_from([HELLO, CHUNKED, OK + b"\r\nhello", b""]),
        place=st.integers(0, 100),
        splinter=st.binary(max_size=8),
        lost=st.integers(0, 100),
    )
    async def test_whatever_comes_is_an_answer_or_an_error_of_ours(
        self, raw: bytes, place: int, splinter: bytes, lost: int
    ) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            theirs.sendall(raw[:place] + splinter + raw[place + lost :])
        kept: list[bool] = []

        def release(connection: UpstreamConnection, keep: bool) -> None:
            connection.close()
            kept.append(keep)

        connection = UpstreamConnection(ours, memoryview(bytearray(1000)))
        with (
            UpstreamResponse(
                connection, ResponseParser(), at(9).endpoint, release, None, trio.current_time()
            ) as response,
            suppress(ErrUpstream, StaleConnection),
        ):
            await response.read_head()
            await response.read(1000)
        assert len(kept) == 1

    async def test_nobody_listens(self) -> None:
        async with open_socket_upstream(hello) as port:
            pass
        upstream = at(port)
        with pytest.raises(ErrUpstream, match="storaged could not be connected to: Connection refused") as caught:
            await get(upstream)
        assert (caught.value.error_class, caught.value.provider, caught.value.retryable) == (
            "upstream_error",
            "storaged",
            True,
        )
        assert upstream.in_use == 0

    async def test_no_such_host(self) -> None:
        upstream = Upstream("http://no-such-host.invalid", name="storaged")
        with pytest.raises(ErrUpstream, match="storaged could not be connected to: "):
            await get(upstream)
        assert upstream.in_use == 0

    @pytest.mark.parametrize(
        ("raw", "why"),
        [
            (b"SSH-2.0-OpenSSH\r\n", "answered with bytes that are not HTTP"),
            (OK + b"A: b\r\n c: d\r\n\r\n", "Unexpected whitespace"),
            (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "Duplicate Content-Length"),
            (OK + b"X: " + b"y" * 100_000 + b"\r\n\r\n", "bytes of headers"),
            (b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "101"),
        ],
    )
    async def test_rubbish(self, raw: bytes, why: str) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(raw)
            assert await wire.receive() == b""

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            with pytest.raises(ErrUpstream, match=why) as caught:
                await get(upstream)
            assert caught.value.error_class == "upstream_error"
            assert (upstream.in_use, upstream.idle) == (0, 0)

    @pytest.mark.parametrize(
        "framing", [b"Content-Length: 9\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
    )
    @pytest.mark.parametrize("reset", [False, True])
    async def test_a_body_that_breaks_off(self, framing: bytes, reset: bool) -> None:
        seen = trio.Event()

        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(OK + framing)
            await seen.wait()
            if reset:
                await wire.reset()

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            with await upstream.send(UpstreamRequest(b"GET", b"/", [])) as response:
                assert await response.receive() == b"hello"
                seen.set()
                how = (
                    "broke the connection: Connection reset by peer" if reset else "closed the connection in the middle"
                )
                with pytest.raises(ErrUpstream, match=f"storaged {how}") as caught:
                    await response.receive()
            assert (caught.value.error_class, caught.value.upstream_status) == ("incomplete_stream", 200)
            assert (upstream.in_use, upstream.idle) == (0, 0)

    async def test_more_than_was_asked_for(self) -> None:
        async with open_socket_upstream(hello) as port:
            upstream = at(port)
            with (
                await upstream.send(UpstreamRequest(b"GET", b"/", [])) as response,
                pytest.raises(ErrUpstream, match="more than 4 bytes"),
            ):
                await response.read(4)

    async def test_a_header_that_would_break_out(self) -> None:
        upstream = at(9)
        with pytest.raises(ErrBadRequest, match="header X-User"):
            await upstream.send(UpstreamRequest(b"GET", b"/", [(b"X-User", b"a\r\nX-Admin: yes")]))
        assert upstream.in_use == 0

    @pytest.mark.parametrize(
        "url",
        [
            "127.0.0.1:80",
            "ftp://host",
            "http://",
            "http://user:pass@host",
            "ftp://user:pass@host",
            "http://host?x",
            "http://h:99999",
        ],
    )
    async def test_a_base_url_that_is_none(self, url: str) -> None:
        with pytest.raises(ValueError, match=r".") as caught:
            Upstream(url, name="storaged")
        assert "pass" not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "host", "base_path"),
        [
            ("http://Example.org", b"example.org", b""),
            ("https://example.org:443/zen/v1/", b"example.org", b"/zen/v1"),
            ("https://example.org:80/v1", b"example.org:80", b"/v1"),
            ("http://[::1]:81/", b"[::1]:81", b""),
            ("http://b\u00fccher.example", b"xn--bcher-kva.example", b""),
        ],
    )
    async def test_what_a_base_url_says(self, url: str, host: bytes, base_path: bytes) -> None:
        upstream = Upstream(url, name="storaged")
        assert (upstream.host, upstream.base_path) == (host, base_path)


class TestTime:
    @pytest.fixture(params=["scopes", "watch"], autouse=True)
    async def timekeeper(self, request: pytest.FixtureRequest, nursery: trio.Nursery) -> AsyncIterator[None]:
        """Limits are kept by cancel scopes, and by a watch, alike."""
        if request.param == "watch":
            reactor = Reactor()
            nursery.start_soon(reactor.run)
            by_default["watch"] = reactor
        yield
        by_default.clear()

    async def test_a_silent_upstream(self, autojump_clock: trio.testing.MockClock) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(b"HTTP/1.1 200")  # a beginning is no head
            await wire.receive()

        async with open_socket_upstream(script) as port:
            upstream = at(port, response_timeout=7)
            began = trio.current_time()
            with pytest.raises(
                ErrTimeout, match=r"storaged did not answer within 7 s \(its response timeout\)"
            ) as caught:
                await get(upstream)
            assert trio.current_time() - began == pytest.approx(7)
            assert (caught.value.error_class, caught.value.provider) == ("timeout", "storaged")
            assert upstream.in_use == 0

    async def test_an_interim_answer_does_not_win_time(self, autojump_clock: trio.testing.MockClock) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            for _ in range(8):
                await trio.sleep(1)
                await wire.send(b"HTTP/1.1 102 Processing\r\n\r\n")

        async with open_socket_upstream(script) as port:
            with pytest.raises(ErrTimeout, match="response timeout"):
                await get(at(port, response_timeout=5))

    async def test_a_stream_that_stops_and_one_that_goes_on(self, autojump_clock: trio.testing.MockClock) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(20):
                await trio.sleep(4)
                await wire.send(b"1\r\nx\r\n")
            await wire.receive()

        async with open_socket_upstream(script) as port:
            upstream = at(port, response_timeout=1, idle_timeout=5)
            with await upstream.send(UpstreamRequest(b"GET", b"/", [])) as response:
                for _ in range(20):
                    assert await response.receive() == b"x"
                began = trio.current_time()
                with pytest.raises(
                    ErrTimeout, match=r"sent nothing more of its answer within 5 s \(its idle timeout\)"
                ) as caught:
                    await response.receive()
            assert trio.current_time() - began == pytest.approx(5)
            assert caught.value.upstream_status == 200
            assert upstream.in_use == 0

    async def test_a_connection_that_does_not_come_about(self, autojump_clock: trio.testing.MockClock) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.receive()
            await trio.sleep_forever()  # never says a word of TLS

        async with open_socket_upstream(script) as port:
            upstream = Upstream(f"https://127.0.0.1:{port}", name="storaged", connect_timeout=3)
            began = trio.current_time()
            with pytest.raises(
                ErrTimeout, match=r"storaged did not accept a connection within 3 s \(its connect timeout\)"
            ):
                await get(upstream)
            assert trio.current_time() - began == pytest.approx(3)
            assert upstream.in_use == 0

    async def test_an_upstream_that_stops_taking(self, autojump_clock: trio.testing.MockClock) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await trio.sleep_forever()

        endless = [b"x" * 65536] * 1000
        async with open_socket_upstream(script) as port:
            cases: list[tuple[dict[str, Any], str]] = [
                ({"idle_timeout": 5.0}, "took nothing more"),
                ({"response_timeout": 5.0}, "did not answer"),
            ]
            for limits, why in cases:
                upstream = at(port, **limits)
                body = Pieces(endless)
                began = trio.current_time()
                with pytest.raises(ErrTimeout, match=f"storaged {why}.* within 5 s"):
                    await get(upstream, b"POST", body)
                assert trio.current_time() - began == pytest.approx(5, abs=0.1)
                assert body.taken < 500, "what the upstream does not take is not asked for"
                assert upstream.in_use == 0
                upstream = at(port, **limits)
                with pytest.raises(ErrTimeout, match=f"storaged {why}.* within 5 s"):
                    await get(upstream, b"POST", b"".join(endless[:500]))

    async def test_the_callers_pauses_are_not_the_upstreams(self, autojump_clock: trio.testing.MockClock) -> None:
        class Slow(Pieces):
            async def receive(self) -> bytes:
                await trio.sleep(20)
                return await super().receive()

        async def script(wire: RawConnection) -> None:
            await wire.until(b"0\r\n\r\n")
            await trio.sleep(4.9)
            await wire.send(HELLO)

        async with open_socket_upstream(script) as port:
            assert await get(at(port, response_timeout=5), b"POST", Slow([b"a", b"b", b"c"])) == b"hello"
            with pytest.raises(ErrTimeout, match="did not answer within 4 s"):
                await get(at(port, response_timeout=4), b"POST", Slow([b"a", b"b", b"c"]))
            with pytest.raises(ErrTimeout, match=r"next piece of the request's body within 10 s \(its idle timeout\)"):
                await get(at(port, idle_timeout=10), b"POST", Slow([b"a"]))

    async def test_without_limits_nothing_is_cut(self, autojump_clock: trio.testing.MockClock) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await trio.sleep(10_000)
            await wire.send(HELLO)

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            assert await get(upstream) == b"hello"


class TestBothWays:
    async def test_an_echo_answers_while_it_is_asked(self) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
            while True:
                piece = await wire.until(b"\r\n") + await wire.until(b"\r\n")
                await wire.send(piece)
                if piece == b"0\r\n\r\n":
                    break
            await wire.receive()

        said, said_by_us = trio.open_memory_channel[bytes](0)

        class Conversation:
            length = None

            async def receive(self) -> bytes:
                return await said_by_us.receive()

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            async with upstream.send_full_duplex(UpstreamRequest(b"POST", b"/", [], Conversation())) as response:
                for word in (b"one", b"two", b"three"):
                    await said.send(word)
                    assert await response.receive() == word
                await said.send(b"")
                assert await response.receive() == b""
            assert (upstream.in_use, upstream.idle) == (0, 1)

    @pytest.mark.parametrize("way", ["request", "exchange"])
    @pytest.mark.parametrize("close", [True, False])
    async def test_an_early_refusal_is_delivered_and_stops_the_upload(self, way: str, close: bool) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
            if close:
                return  # with the upload unread: the client's kernel gets a reset
            await trio.sleep_forever()

        body = Pieces([b"x" * 65536] * 2000)
        async with open_socket_upstream(script) as port:
            upstream = at(port)
            if way == "request":
                with await upstream.send(UpstreamRequest(b"POST", b"/", [], body)) as response:
                    assert (response.status, await response.read(99)) == (413, b"big")
            else:
                async with upstream.send_full_duplex(UpstreamRequest(b"POST", b"/", [], body)) as response:
                    assert (response.status, await response.read(99)) == (413, b"big")
                    with trio.move_on_after(0.05):
                        while response.upload is not None and not response.upload.ended.is_set():
                            await trio.lowlevel.checkpoint()
                    assert response.upload is not None
                    assert response.upload.ended.is_set()
            assert body.taken < 1000
            assert (upstream.in_use, upstream.idle) == (0, 0)

    async def test_a_refusal_of_many_bytes_is_delivered_as_well(self) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
            await trio.sleep_forever()

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            with await upstream.send(UpstreamRequest(b"POST", b"/", [], b"x" * 50_000_000)) as response:
                assert (response.status, await response.read(99)) == (413, b"big")
            assert (upstream.in_use, upstream.idle) == (0, 0)

    @pytest.mark.parametrize("length", [None, 3_000_000])
    async def test_a_long_body_arrives_whole(self, length: int | None) -> None:
        content = random.Random(1).randbytes(3_000_000)
        got = b""

        async def script(wire: RawConnection) -> None:
            nonlocal got
            head = await wire.read_head()
            if length is None:
                assert b"Transfer-Encoding: chunked\r\n" in head
                while size := int(await wire.until(b"\r\n"), 16):
                    chunk = b""
                    while len(chunk) < size + 2:
                        chunk += await wire.receive(size + 2 - len(chunk))
                    got += chunk[:-2]
                await wire.until(b"\r\n")
            else:
                assert b"Content-Length: 3000000\r\n" in head
                while len(got) < length:
                    got += await wire.receive()
            await wire.send(HELLO)
            await wire.read_head()

        pieces = [content[i : i + 70_001] for i in range(0, len(content), 70_001)]
        async with open_socket_upstream(script) as port:
            upstream = at(port)
            assert await get(upstream, b"POST", Pieces(pieces, length=length)) == b"hello"
            assert got == content
            assert (upstream.in_use, upstream.idle) == (0, 1)

    @pytest.mark.parametrize("way", ["request", "exchange"])
    @pytest.mark.parametrize(
        ("body", "error"),
        [
            (Pieces([b"ab"], length=3), ErrBadRequest),
            (Pieces([b"ab", b"cd"], length=3), ErrBadRequest),
            (Pieces([b"abc", b"d"], length=3), ErrBadRequest),
            (Pieces([b"ab"], then=ErrUnavailable("the client's connection broke")), ErrUnavailable),
            (Pieces([b"ab"], then=OSError("the file broke")), OSError),
        ],
        ids=["short", "long", "longer by a piece", "ours", "an OSError of its own"],
    )
    async def test_a_body_that_fails_comes_out_as_it_is(self, way: str, body: Pieces, error: type[Exception]) -> None:
        body.taken = 0
        ended = trio.Event()

        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            with suppress(trio.BrokenResourceError):  # a request that is not all out ends in a reset
                while await wire.receive():
                    pass
            ended.set()

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            with pytest.raises(error):
                await (get(upstream, b"POST", body) if way == "request" else exchange(upstream, body))
            await ended.wait()
            assert (upstream.in_use, upstream.idle) == (0, 0)

    async def test_a_body_that_fails_when_the_answer_has_begun_leaves_nothing(self) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(OK + b"Content-Length: 3\r\n\r\n")
            while await wire.receive():
                pass

        class Body:
            length = 2

            async def receive(self) -> bytes:
                await trio.testing.wait_all_tasks_blocked()
                raise ErrUnavailable("the client's connection broke")

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            with pytest.raises(ErrUnavailable):
                await upstream.send(UpstreamRequest(b"POST", b"/", [], Body()))
            assert (upstream.in_use, upstream.idle) == (0, 0)

    async def test_the_last_declared_byte_ends_a_body_for_the_upstream(self) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.until(b"abc")
            await wire.send(HELLO)
            await wire.receive()

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            body = Pieces([b"abc"], length=3, then=trio.Event())
            async with upstream.send_full_duplex(UpstreamRequest(b"POST", b"/", [], body)) as response:
                assert await response.read(99) == b"hello"
            assert (upstream.in_use, upstream.idle) == (0, 1), "whether or not the caller says so, it has ended"

    async def test_an_error_in_the_block_ends_the_upload(self) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(OK + b"Content-Length: 3\r\n\r\n")
            await wire.receive()

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            body = Pieces([b"x"], then=trio.Event())
            with pytest.raises(ZeroDivisionError):
                await exchange(upstream, body, ZeroDivisionError())
            assert (upstream.in_use, upstream.idle) == (0, 0)

    async def test_an_exchange_without_a_body_is_a_request(self) -> None:
        async with open_socket_upstream(hello) as port:
            upstream = at(port)
            before = len(trio.lowlevel.current_task().child_nurseries)
            async with upstream.send_full_duplex(UpstreamRequest(b"GET", b"/", [])) as response:
                assert len(trio.lowlevel.current_task().child_nurseries) == before, "no task for it"
                assert await response.read(99) == b"hello"


class TestUpgrade:
    ASK = ((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"))
    SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

    async def test_the_raw_stream_begins_behind_the_head(self) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(self.SWITCH + b"welcome")
            while data := await wire.receive():
                await wire.send(data.upper())
            await wire.send(b"bye")

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            with await upstream.send(UpstreamRequest(b"GET", b"/", self.ASK)) as response:
                assert response.status == 101
                stream = response.upgrade()
            async with stream:
                assert await stream.receive_some(3) == b"wel"
                assert await stream.receive_some() == b"come"
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.send_all, b"x" * 10_000_000)
                    echoed = 0
                    while echoed < 10_000_000:
                        echoed += len(await stream.receive_some())
                assert upstream.in_use == 1, "it is still a connection to the upstream"
                await stream.send_eof()
                assert await stream.receive_some() == b"bye"
                assert await stream.receive_some() == b""
            assert (upstream.in_use, upstream.idle) == (0, 0)
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive_some()
            with pytest.raises(ValueError, match="101"):
                response.upgrade()

    async def test_closing_wakes_who_waits(self) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(self.SWITCH)
            await wire.receive()

        async with open_socket_upstream(script) as port:
            stream = (await at(port).send(UpstreamRequest(b"GET", b"/", self.ASK))).upgrade()

            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await stream.receive_some()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                stream.close()

    async def test_a_switch_that_nobody_takes_is_closed(self) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(self.SWITCH)
            assert await wire.receive() == b""

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            with await upstream.send(UpstreamRequest(b"GET", b"/", self.ASK)) as response:
                assert await response.receive() == b""
            assert (upstream.in_use, upstream.idle) == (0, 0)


class TestQueue:
    async def test_order_bound_and_leaving(self) -> None:
        release = trio.Event()

        async def script(wire: RawConnection) -> None:
            while True:
                await wire.read_head()
                await release.wait()
                await wire.send(HELLO)

        async with open_socket_upstream(script) as port:
            upstream = at(port, max_connections=2, max_waiting=3)
            finished: list[int] = []
            active_requests = [RequestContext(id=str(i), method="GET", path="/", started=0) for i in range(5)]

            async def one(number: int) -> None:
                with await upstream.send(
                    UpstreamRequest(b"GET", b"/", [], context=active_requests[number])
                ) as response:
                    await response.read(99)
                finished.append(number)

            async with trio.open_nursery() as nursery:
                scopes = []
                for number in range(5):
                    scopes.append(await nursery.start(in_scope, one, number))
                    await trio.testing.wait_all_tasks_blocked()
                assert (upstream.in_use, upstream.waiting) == (2, 3)
                assert [context.phase for context in active_requests] == ["waiting"] * 2 + ["queued"] * 3
                assert {context.upstream for context in active_requests} == {"storaged"}
                with pytest.raises(ErrUnavailable, match="2 requests under way and 3 waiting") as caught:
                    await get(upstream)
                assert caught.value.retry_after == 1
                scopes[3].cancel()
                await trio.testing.wait_all_tasks_blocked()
                assert (upstream.in_use, upstream.waiting) == (2, 2)
                release.set()
            assert sorted(finished[:2]) == [0, 1]
            assert sorted(finished) == [0, 1, 2, 4]
            assert (upstream.in_use, upstream.waiting, upstream.idle) == (0, 0, 2)
            assert {context.phase for context in active_requests} == {"streaming", "queued"}

    async def test_a_slot_handed_to_who_is_cancelled_at_that_moment_is_not_lost(self) -> None:
        async with open_socket_upstream(hello) as port:
            upstream = at(port, max_connections=1)
            for _ in range(20):
                held = await upstream._start(encode_request(UpstreamRequest(b"GET", b"/"), b"x", b""))
                async with trio.open_nursery() as nursery:
                    scope = await nursery.start(in_scope, get, upstream)
                    await trio.testing.wait_all_tasks_blocked()
                    held.close()
                    scope.cancel()
                assert (upstream.in_use, upstream.waiting) == (0, 0)
            assert await get(upstream) == b"hello"


async def in_scope(work: object, *args: object, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await work(*args)  # type: ignore[operator]


class Flaky:
    """An upstream that takes random moments for everything, and requests that are given up at random instants."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.connections = self.done = self.aborted = 0

    async def script(self, wire: RawConnection) -> None:
        self.connections += 1
        try:
            while True:
                if b"chunked" in await wire.read_head():
                    await wire.until(b"0\r\n\r\n")
                await trio.sleep(self.chance.random() * 0.002)
                await wire.send(OK + b"Content-Length: 20\r\n\r\n" + b"x" * 10)
                await trio.sleep(self.chance.random() * 0.002)
                await wire.send(b"x" * 10)
        finally:
            self.connections -= 1

    async def batch(self, upstream: Upstream, count: int) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(self._one, upstream, number)

    async def _one(self, upstream: Upstream, number: int) -> None:
        longest = self.chance.choice((0.002, 0.002, 0.03))
        with trio.move_on_after(self.chance.random() * longest) as scope:
            if number % 3 == 0:
                async with upstream.send_full_duplex(UpstreamRequest(b"POST", b"/", [], Trickle())) as response:
                    assert len(await response.read(99)) == 20
            else:
                assert len(await get(upstream, b"POST", b"x")) == 20
            self.done += 1
        self.aborted += scope.cancelled_caught


class Trickle:
    length = None
    left = 3

    async def receive(self) -> bytes:
        await trio.sleep(0.0005)
        self.left -= 1
        return b"x" * 1000 if self.left > 0 else b""


class TestNothingIsLeft:
    @pytest.mark.alone  # counts the requests that end within random times of a few milliseconds
    async def test_thousands_of_requests_aborted_at_random_instants(self) -> None:
        """Whatever they were doing: queueing, connecting, sending, waiting, reading, uploading.

        `python -m tools.leaks` aborts more of them.
        """
        descriptors = count_descriptors()
        flaky = Flaky(20)
        async with open_socket_upstream(flaky.script) as port:
            tasks = count_tasks()
            upstream = at(port, max_connections=10, response_timeout=30, idle_timeout=30)
            while flaky.aborted < 2_000:
                await flaky.batch(upstream, 50)
            assert flaky.done > 20, "some must get through, or nothing was tested"
            assert (upstream.in_use, upstream.waiting) == (0, 0)
            assert upstream.idle <= 10
            await until(lambda: flaky.connections == upstream.idle)
            await until(lambda: count_tasks() == tasks + upstream.idle)

            async def whole() -> None:
                for _ in range(100):
                    assert len(await get(upstream)) == 20

            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(whole)
            assert upstream.in_use == 0
            assert upstream.idle <= 10
            upstream.close()
            await until(lambda: count_tasks() == tasks)
        assert count_descriptors() == descriptors

    async def test_a_cancelled_request_closes_its_socket_at_once(self) -> None:
        closed = trio.Event()

        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.receive()
            closed.set()

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            async with trio.open_nursery() as nursery:
                scope = await nursery.start(in_scope, get, upstream)
                await trio.testing.wait_all_tasks_blocked()
                assert upstream.in_use == 1
                scope.cancel()
            assert upstream.in_use == 0
            await closed.wait()

    async def test_who_is_cancelled_already_sends_nothing(self) -> None:
        asked = 0

        async def script(wire: RawConnection) -> None:
            nonlocal asked
            while True:
                await wire.read_head()
                asked += 1
                await wire.send(HELLO)

        async with open_socket_upstream(script) as port:
            upstream = at(port)
            await get(upstream)
            with trio.CancelScope() as scope:
                scope.cancel()
                await get(upstream)
            await trio.testing.wait_all_tasks_blocked()
            assert asked == 1


class TestFairness:
    @pytest.mark.parametrize("way", ["receiving", "sending"])
    async def test_a_busy_connection_lets_others_run(self, way: str) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.sendall(b"x" * 50_000)
            connection = UpstreamConnection(ours, memoryview(bytearray(50)))
            turns = 0

            async def other() -> None:
                nonlocal turns
                while True:
                    await trio.lowlevel.checkpoint()
                    turns += 1

            async with trio.open_nursery() as nursery:
                nursery.start_soon(other)
                await until(lambda: turns > 0)
                longest = run = last = 0
                for _ in range(200):
                    if way == "receiving":
                        assert await connection.read() == b"x" * 50
                    else:
                        assert await connection.write(memoryview(b"x"), 1) == 1
                    run = run + 1 if turns == last else 1
                    last = turns
                    longest = max(longest, run)
                nursery.cancel_scope.cancel()
            # One turn may follow another directly, for trio shuffles the tasks of each round.
            assert 1 < longest <= 2 * OPERATIONS + 2


class TestAddresses:
    async def test_ipv6(self) -> None:
        if not has_ipv6():
            pytest.skip("this machine has no IPv6 loopback")
        async with open_socket_upstream(hello, host="::1") as port:
            upstream = at(port, "[::1]")
            assert upstream.host == b"[::1]:%d" % port
            assert await get(upstream) == b"hello"

    async def test_a_name_with_several_addresses_of_which_one_answers(self) -> None:
        class Resolver(trio.abc.HostnameResolver):
            async def getaddrinfo(self, _host: object, port: object, *_: object) -> list[object]:  # type: ignore[override]
                await trio.lowlevel.checkpoint()
                found = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
                return [(*found, (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

            async def getnameinfo(self, *_: object) -> tuple[str, str]:
                raise NotImplementedError

        trio.socket.set_custom_hostname_resolver(Resolver())
        async with open_socket_upstream(hello) as port:
            upstream = at(port, "storage.example")
            assert upstream.host == b"storage.example:%d" % port
            assert await get(upstream) == b"hello"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def count_tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def until(condition: object) -> None:
    """Let the other tasks run until it is true."""
    with trio.fail_after(20):
        while not condition():  # type: ignore[operator]
            await trio.sleep(0.001)
