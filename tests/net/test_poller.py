"""Sockets that are looked after by one task, while those who own them sleep."""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from math import inf

import pytest
import trio
import trustme

from lakehouse.net.poller import Interest
from lakehouse.net.reactor import Reactor
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.http1.response import UpstreamResponse
from lakehouse.upstream.pool import Upstream
from tools.kit.socket_upstream import OK, RawConnection, open_socket_upstream

CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def reactor(nursery: trio.Nursery) -> Reactor:
    """One that runs."""
    reactor = Reactor()
    nursery.start_soon(reactor.run)
    await trio.testing.wait_all_tasks_blocked()
    return reactor


@pytest.fixture(autouse=True)
async def no_waiting_for_ever() -> AsyncIterator[None]:
    with trio.fail_after(20):
        yield


async def asked(
    port: int, reactor: Reactor | None, context: ssl.SSLContext | None = None
) -> tuple[Upstream, UpstreamResponse]:
    scheme = "https" if context else "http"
    upstream = Upstream(f"{scheme}://127.0.0.1:{port}", name="kimi", ssl_context=context, reactor=reactor)
    response = await upstream.send(UpstreamRequest(b"GET", b"/", []))
    assert response.try_read() is None
    return upstream, response


async def attended(wait: Awaitable[bool] | None) -> bool:
    assert wait is not None
    return await wait


def piece(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Looking:
    """Takes what comes, and ends the wait with `last`."""

    def __init__(self, response: UpstreamResponse, last: bytes = b"") -> None:
        self.seen: list[bytes] = []
        self.tasks: set[trio.lowlevel.Task] = set()
        self._response = response
        self._last = last

    def __call__(self) -> float | None:
        self.tasks.add(trio.lowlevel.current_task())
        data = self._response.try_read()
        if data is not None:
            self.seen.append(data)
        return None if data == self._last else inf


def sending(
    *pieces: bytes, then: Callable[[], Awaitable[None]] = trio.sleep_forever
) -> Callable[[RawConnection], Awaitable[None]]:
    async def script(wire: RawConnection) -> None:
        await wire.read_head()
        await wire.send(CHUNKED)
        for data in pieces:
            await trio.sleep(0.01)
            await wire.send(data)
        await then()

    return script


async def test_what_comes_is_looked_at_in_another_task_until_it_says_enough(reactor: Reactor) -> None:
    async with open_socket_upstream(sending(piece(b"a"), piece(b"b"), piece(b"c"))) as port:
        upstream, response = await asked(port, reactor)
        look = Looking(response, last=b"c")
        assert await attended(response.subscribe(look))
        assert look.seen == [b"a", b"b", b"c"]
        assert trio.lowlevel.current_task() not in look.tasks
        response.close()
        assert (upstream.in_use, upstream.idle) == (0, 0)


async def test_an_answer_that_ends_ends_the_wait_and_its_connection_is_free(reactor: Reactor) -> None:
    async with open_socket_upstream(sending(piece(b"a"), piece(b"b") + b"0\r\n\r\n")) as port:
        upstream, response = await asked(port, reactor)
        look = Looking(response)
        assert await attended(response.subscribe(look))
        assert look.seen == [b"a", b"b"]
        assert response.try_read() == b""
        assert (upstream.in_use, upstream.idle) == (0, 1)
        upstream.close()


async def test_a_connection_that_is_cut_is_looked_at(reactor: Reactor) -> None:
    async def nothing() -> None:
        pass

    async with open_socket_upstream(sending(piece(b"a"), then=nothing)) as port:
        _, response = await asked(port, reactor)
        raised: list[Exception] = []

        def look() -> float | None:
            try:
                response.try_read()
            except Exception as error:  # noqa: BLE001
                raised.append(error)
                return None
            return inf

        assert await attended(response.subscribe(look))
        assert [str(error) for error in raised] == ["kimi closed the connection in the middle of the body"]


async def test_its_deadline_is_the_one_that_was_said_last(reactor: Reactor) -> None:
    async with open_socket_upstream(sending(*[piece(b"a")] * 10)) as port:
        _, response = await asked(port, reactor)
        began = trio.current_time()

        def look() -> float:
            response.try_read()
            return trio.current_time() + 0.1

        assert not await attended(response.subscribe(look, began + 0.1))
        assert trio.current_time() - began > 0.19
        response.close()


async def test_cancelled_it_is_forgotten_and_nothing_is_lost(reactor: Reactor) -> None:
    more = trio.Event()

    async def script(wire: RawConnection) -> None:
        await wire.read_head()
        await wire.send(CHUNKED)
        await more.wait()
        await wire.send(piece(b"a"))
        await trio.sleep_forever()

    async with open_socket_upstream(script) as port:
        _, response = await asked(port, reactor)
        look = Looking(response)
        with trio.move_on_after(0.02) as scope:
            await attended(response.subscribe(look))
        assert scope.cancelled_caught
        more.set()
        await trio.sleep(0.02)
        assert look.seen == []
        assert await response.receive() == b"a"
        response.close()


async def test_a_socket_that_cannot_be_looked_after_harms_nobody_else(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(fd: int, interest: Interest, callback: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with open_socket_upstream(sending()) as port:
        _, response = await asked(port, reactor)
        monkeypatch.setattr(reactor.poller, "add", add)
        with pytest.raises(OSError, match="No space left"):
            await attended(response.subscribe(lambda: inf))
        response.close()
        await trio.sleep(0.01)  # from which nobody wakes us early


async def test_every_record_of_tls_is_looked_at(reactor: Reactor) -> None:
    authority, ours = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(ours)
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    large = b"x" * 40_000  # three records
    async with open_socket_upstream(sending(piece(b"a"), piece(large), piece(b"z")), tls=theirs) as port:
        _, response = await asked(port, reactor, ours)
        look = Looking(response, last=b"z")
        assert await attended(response.subscribe(look))
        assert b"".join(look.seen) == b"a" + large + b"z"
        response.close()


async def test_without_anybody_who_looks_there_is_nothing_to_await() -> None:
    async with open_socket_upstream(sending()) as port:
        for reactor in (None, Reactor()):
            _, response = await asked(port, reactor)
            assert response.subscribe(lambda: None) is None
            response.close()
