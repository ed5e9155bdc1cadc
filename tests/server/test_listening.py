"""Accepting: what may befall one connection befalls no other, and a shortage is waited out."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from lakehouse.net.poller import Interest, Poller
from lakehouse.server.connection import serve_connection
from lakehouse.server.listening import accept_forever, accept_queued, bind_socket, listen
from lakehouse.server.server_state import open_server_state
from tools.kit.raw_http import GET, hello, serve_app

LOST = [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT]


class Flaky(socket.socket):
    """A listener whose first connections are lost, each in its way, before anybody has accepted them."""

    lost: list[int]

    def accept(self) -> tuple[socket.socket, object]:
        if self.lost:
            code = self.lost.pop()
            raise OSError(code, os.strerror(code))
        return super().accept()


class FlakyTrio:
    """The same, as trio's; it has no sockets but its own and the standard library's."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def accept(self) -> tuple[trio.socket.SocketType, object]:
        await trio.lowlevel.wait_readable(self._sock)
        connection, address = self._sock.accept()
        return from_stdlib_socket(connection), address


from_stdlib_socket = trio.socket.from_stdlib_socket


def flaky(stack: ExitStack) -> Flaky:
    listener = stack.enter_context(Flaky(socket.AF_INET))
    listener.lost = LOST[:]
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    return listener


async def test_a_connection_that_is_lost_before_it_is_accepted_ends_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accepted: list[trio.SocketStream] = []
    came = trio.Event()

    def start(stream: trio.SocketStream) -> None:
        accepted.append(stream)
        came.set()

    with ExitStack() as stack:
        listener = flaky(stack)
        async with trio.open_nursery() as nursery:
            async with await trio.open_tcp_stream(*listener.getsockname()):
                with monkeypatch.context() as patched:
                    patched.setattr(trio.socket, "from_stdlib_socket", FlakyTrio)
                    nursery.start_soon(accept_forever, listener, start)
                    with trio.fail_after(20):
                        await came.wait()
            nursery.cancel_scope.cancel()
        assert listener.lost == []
        await accepted[0].aclose()


async def test_so_it_is_for_those_that_wait_when_the_drain_begins() -> None:
    accepted: list[trio.SocketStream] = []
    with ExitStack() as stack:
        listener = flaky(stack)
        async with await trio.open_tcp_stream(*listener.getsockname()):
            accept_queued(listener, accepted.append)
        assert len(accepted) == 1
        await accepted[0].aclose()


async def test_a_listener_that_is_broken_is_an_error() -> None:
    with bind_socket("127.0.0.1", 0) as sock:
        with pytest.raises(OSError, match="Invalid argument"):  # nobody said `listen`
            await accept_forever(sock, print)


async def test_who_comes_while_there_are_no_descriptors_is_served_later(caplog: pytest.LogCaptureFixture) -> None:
    """And who is here already, at once."""
    with bind_socket("127.0.0.1", 0) as sock:
        listen(sock)
        async with open_server_state(hello) as server_state, trio.open_nursery() as nursery:
            nursery.start_soon(
                accept_forever, sock, lambda stream: nursery.start_soon(serve_connection, server_state, stream)
            )
            early, late = trio.socket.socket(), trio.socket.socket()
            with early, late, trio.fail_after(20):
                await early.connect(sock.getsockname())
                assert await asked(early) == b"hello"
                with no_descriptors():
                    await late.connect(sock.getsockname())  # the kernel does that without us
                    while "cannot accept" not in caplog.text:
                        assert await asked(early) == b"hello"
                assert await asked(late) == b"hello"
            nursery.cancel_scope.cancel()


async def asked(client: trio.socket.SocketType) -> bytes:
    await client.send(GET)
    return (await client.recv(65536)).partition(b"\r\n\r\n")[2]


@contextmanager
def no_descriptors() -> Iterator[None]:
    """There are none left in this process, for the block."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    with Path("/dev/null").open() as null:
        resource.setrlimit(resource.RLIMIT_NOFILE, (null.fileno() + 1, before[1]))
        try:
            with suppress(OSError):
                while True:
                    taken.append(os.dup(null.fileno()))
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            for descriptor in taken:
                os.close(descriptor)


async def test_a_connection_that_cannot_be_watched_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may have no more room for watches (`fs.epoll.max_user_watches`)."""
    add = Poller.add
    failures = [OSError(errno.ENOSPC, "No space left on device")]

    def cramped(disconnects: Poller, fd: int, interest: Interest, callback: Callable[[], None]) -> None:
        monkeypatch.setattr(disconnects, "_epoll", Cramped(disconnects._epoll, failures))
        add(disconnects, fd, interest, callback)

    monkeypatch.setattr(Poller, "add", cramped)
    async with serve_app(hello) as served:
        assert await served.exchange(GET) in (b"<EOF>", b"<RST>")
        assert (await served.exchange(GET)).endswith(b"hello")


class Cramped:
    """An epoll object that cannot take what it is given, a few times."""

    def __init__(self, epoll: Any, failures: list[OSError]) -> None:
        self._epoll, self._failures = epoll, failures

    def register(self, fd: int, mask: int) -> None:
        if self._failures:
            raise self._failures.pop()
        self._epoll.register(fd, mask)

    def __getattr__(self, name: str) -> object:
        return getattr(self._epoll, name)
