"""Listening sockets: bind, listen, accept; TLS contexts as Hypercorn's configuration makes them."""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat

import trio

Accept = Callable[[trio.SocketStream], None]

logger = logging.getLogger("lakehouse.server")

# Connections that the kernel completes while every worker is busy or still starting; the kernel caps it (somaxconn).
BACKLOG = 4096
# A peer that vanished without a FIN is noticed after 30 + 3 x 10 seconds; accepted sockets inherit all of this.
KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
# Out of file descriptors or memory: accept is tried again after a delay, because other connections may close.
ACCEPT_CAPACITY_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_ACCEPT_RETRY_DELAY = 0.1
_BIND_HINTS = {
    errno.EADDRINUSE: "stop what listens there, or take another port with --bind HOST:PORT (port 0: a free one)",
    errno.EACCES: "ports below 1024 need privileges; take a higher one with --bind HOST:PORT",
    errno.EADDRNOTAVAIL: "no interface of this machine has this address; give one that exists with --bind HOST:PORT",
}
# Errors of the connection that was to be accepted, not of the listening socket: Linux reports errors of the network
# here as well (accept(2), "Error handling"), and EPERM when a firewall forbids the connection.
_CONNECTION_ERRNOS = frozenset(
    {
        errno.EPERM,
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.ETIMEDOUT,
    }
)


def tls_context(certfile: str, keyfile: str) -> ssl.SSLContext:
    """The server's context, as Hypercorn makes it, offering HTTP/1.1 alone; both files are in PEM.

    Raises OSError or ssl.SSLError.
    """
    from hypercorn.config import Config  # imported here: it takes 1 MB, and few services serve TLS themselves

    config = Config()
    config.certfile, config.keyfile, config.alpn_protocols = certfile, keyfile, ["http/1.1"]
    context = config.create_ssl_context()
    if context is None:
        raise ValueError("TLS needs a certificate and its key")
    return context


class AddressError(OSError):
    """An address cannot be listened on. The message has the address, the reason, and what to do."""

    def __init__(self, host: str, port: int, cause: OSError) -> None:
        super().__init__(cause.errno, f"cannot listen on {f'[{host}]' if ':' in host else host}:{port}")
        self.reason = cause.strerror if isinstance(cause, socket.gaierror) else os.strerror(cause.errno or 0)

    def __str__(self) -> str:
        advice = _BIND_HINTS.get(self.errno or 0, "give another address with --bind HOST:PORT")
        return f"{self.strerror}: {self.reason}: {advice}"


@contextmanager
def bind_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to this address, refusing connections until `listen`; closed at the end. Raises AddressError."""
    # Not Hypercorn's create_sockets, which leaves the socket open when binding fails.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # an earlier process left TIME_WAIT
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            raise AddressError(host, port, error) from None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if option := getattr(socket, name, None):  # most systems have them; the server works without
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
        yield sock


def listen(sock: socket.socket) -> None:
    """Have the kernel queue connections from now on. Raises AddressError if another process listens here by now."""
    try:
        sock.listen(BACKLOG)
    except OSError as error:
        host, port = sock.getsockname()[:2]
        raise AddressError(host, port, error) from None


@contextmanager
def listen_on_unix_socket(path: str) -> Iterator[socket.socket]:
    """A listening Unix socket at `path`, closed with the block. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        sock.bind(path)
        sock.listen(BACKLOG)
        yield sock


def url_of(sock: socket.socket, *, secure: bool) -> str:
    """The URL at which a client on this machine reaches this socket; `unix:/path` for a Unix socket."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


ACCEPTS_PER_TURN = 16
"""Connections that are accepted in one turn of the scheduler beside the one that it waited for."""


async def accept_forever(sock: socket.socket, start: Accept) -> None:
    """Call `start` with every new connection. Cancelled, it loses none.

    Out of descriptors, it tries again every `_ACCEPT_RETRY_DELAY` seconds. Errors of a single connection are ignored.
    Raises OSError for any other.
    """
    listener = trio.socket.from_stdlib_socket(sock)
    while True:
        try:
            connection, _ = await listener.accept()
        except OSError as error:
            if error.errno in _CONNECTION_ERRNOS:
                continue
            if error.errno not in ACCEPT_CAPACITY_ERRNOS:
                raise
            logger.error("cannot accept a connection: %s; trying again in %s s", error, _ACCEPT_RETRY_DELAY)
            await trio.sleep(_ACCEPT_RETRY_DELAY)
        else:
            start(trio.SocketStream(connection))
            accept_queued(sock, start, limit=ACCEPTS_PER_TURN)


def accept_queued(sock: socket.socket, start: Accept, *, limit: int | None = None) -> None:
    """Call `start` with the connections in the kernel's queue, at most `limit`. It never waits.

    Closing the listener would reset them. While connections are busy, a turn of the scheduler is long: a crowd that
    connects would wait for many of them if each took one connection.
    """
    for _ in repeat(None) if limit is None else range(limit):
        try:
            connection, _ = sock.accept()
        except OSError as error:
            if error.errno in _CONNECTION_ERRNOS:
                continue
            return  # the queue is empty (BlockingIOError), or no descriptor is left
        start(trio.SocketStream(trio.socket.from_stdlib_socket(connection)))
