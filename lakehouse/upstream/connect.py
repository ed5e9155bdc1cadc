"""Making a connection: addresses, happy eyeballs, TLS, Unix sockets."""

from __future__ import annotations

import os
import socket
import ssl

import trio

from lakehouse.upstream.endpoint import Endpoint, reason_of
from lakehouse.upstream.proxy import Proxy, ProxyError, open_tunnel

FIRST_RETRY, LONGEST_RETRY = 0.001, 0.05
"""Seconds between two attempts to connect to a Unix socket whose queue is full."""


async def connect(endpoint: Endpoint, tls: ssl.SSLContext | None) -> socket.socket:
    """A connection to an endpoint, of whatever kind that is: see `dial` and `dial_unix`."""
    if endpoint.socket_path:
        return await dial_unix(endpoint.socket_path)
    return await dial(endpoint.hostname, endpoint.port, tls, proxy=endpoint.proxy)


async def dial(hostname: str, port: int, tls: ssl.SSLContext | None, *, proxy: Proxy | None = None) -> socket.socket:
    """A connected, non-blocking socket; with `tls` its handshake is done and the certificate is that of `hostname`.

    Addresses of both families are tried as RFC 8305 says, each a quarter of a second after the one before. Raises
    `OSError` (`ssl.SSLError` among them) or, for a name that cannot be one, `ValueError`. Cancelled, it leaves nothing
    open. With `proxy` that is connected to instead, and asked for a tunnel, whatever the scheme; what it does not do
    is a `ProxyError`.
    """
    stream = await trio.open_tcp_stream(hostname, port) if proxy is None else await _reach(proxy)
    family, kind, proto = stream.socket.family, stream.socket.type, stream.socket.proto
    sock = socket.socket(family, kind, proto, fileno=stream.socket.detach())
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # trio's default of 16 KiB would have us wake up for every 16 KiB of an upload.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 256 * 1024)
        if proxy is not None:
            await open_tunnel(sock, proxy, hostname, port)
        return sock if tls is None else await _secure(sock, hostname, tls)
    except BaseException:
        sock.close()
        raise


async def _reach(proxy: Proxy) -> trio.SocketStream:
    try:
        return await trio.open_tcp_stream(proxy.hostname, proxy.port)
    except (OSError, ValueError) as error:
        raise ProxyError(f"the proxy {proxy} could not be connected to: {reason_of(error)}") from error


async def dial_unix(path: str) -> socket.socket:
    """A non-blocking socket that is connected to a Unix socket's path.

    A listener whose queue is full does not make us wait, it refuses (EAGAIN): then it is tried again, less and less
    often, until the caller's limit. Raises `OSError`. Cancelled, it leaves nothing open.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        delay = FIRST_RETRY
        while True:
            try:
                sock.connect(path)
            except BlockingIOError:
                await trio.sleep(delay)
                delay = min(2 * delay, LONGEST_RETRY)
            else:
                await trio.lowlevel.checkpoint()
                return sock
    except BaseException:
        sock.close()
        raise


async def _secure(sock: socket.socket, hostname: str, tls: ssl.SSLContext) -> ssl.SSLSocket:
    # Ragged ends are kept apart from real ones: a body without a length ends with the connection, and anybody on the
    # way can end a TCP connection.
    secure = tls.wrap_socket(sock, server_hostname=hostname, do_handshake_on_connect=False, suppress_ragged_eofs=False)
    try:
        while True:
            try:
                secure.do_handshake()
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(secure)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(secure)
            else:
                return secure
    except BaseException:
        secure.close()
        raise


def default_context() -> ssl.SSLContext:
    """Certificates are verified as httpx does it: `SSL_CERT_FILE` or `SSL_CERT_DIR` if set, else certifi's bundle.

    Reads a file of 300 KB and takes some 20 ms; raises `OSError` if there is none.
    """
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not directory:
        import certifi  # here, for most services never speak TLS to an upstream

        file = certifi.where()
    context = ssl.create_default_context(cafile=file or None, capath=None if file else directory)
    context.set_alpn_protocols(["http/1.1"])
    return context
