"""Making a connection: addresses, happy eyeballs, TLS, Unix sockets."""

from __future__ import annotations

import os
import socket
import ssl

import trio

from lakehouse.upstream.connections.forward_proxy import ForwardProxy, ProxyError, open_tunnel
from lakehouse.upstream.endpoint import UpstreamEndpoint, reason_of

FIRST_RETRY, LONGEST_RETRY = 0.001, 0.05
"""Seconds between two attempts to connect to a Unix socket whose queue is full."""

NOT_SENT_LOW_WATER = 256 * 1024
"""Bytes in the kernel below which a socket is writable. trio's default of 16 KiB would wake the task for every 16 KiB
of an upload."""


UNIX_SEND_BUFFER = 512 * 1024
"""Bytes of a Unix socket's send buffer, of which the kernel makes twice as many, to count its own overhead. The default
holds a third of one read of an upload, and both processes would be woken for each third."""


async def connect(endpoint: UpstreamEndpoint, tls: ssl.SSLContext | None) -> socket.socket:
    """Connect to an endpoint of either kind, see `connect_tcp` and `connect_unix`."""
    address = endpoint.address
    if address.socket_path:
        return await connect_unix(address.socket_path)
    return await connect_tcp(address.hostname, address.port, tls, proxy=endpoint.proxy)


async def connect_tcp(
    hostname: str, port: int, tls: ssl.SSLContext | None, *, proxy: ForwardProxy | None = None
) -> socket.socket:
    """A connected, non-blocking socket; with `tls` its handshake is done and the certificate is that of `hostname`.

    Addresses of both families are tried as RFC 8305 describes, each a quarter of a second after the one before. With
    `proxy`, the connection is a tunnel through it, whatever the scheme. Raises `OSError` (`ssl.SSLError` and
    `ProxyError` among them) or, for a name that cannot be one, `ValueError`. Cancelled, it leaves nothing open.
    """
    stream = await trio.open_tcp_stream(hostname, port) if proxy is None else await _connect_to_proxy(proxy)
    family, kind, proto = stream.socket.family, stream.socket.type, stream.socket.proto
    sock = socket.socket(family, kind, proto, fileno=stream.socket.detach())
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT_LOW_WATER)
        if proxy is not None:
            await open_tunnel(sock, proxy, hostname, port)
        return sock if tls is None else await _start_tls(sock, hostname, tls)
    except BaseException:
        sock.close()
        raise


async def _connect_to_proxy(proxy: ForwardProxy) -> trio.SocketStream:
    try:
        return await trio.open_tcp_stream(proxy.hostname, proxy.port)
    except (OSError, ValueError) as error:
        raise ProxyError(f"the proxy {proxy} could not be connected to: {reason_of(error)}") from error


async def connect_unix(path: str) -> socket.socket:
    """A non-blocking socket that is connected to a Unix socket's path.

    A listener whose queue is full refuses the connection (EAGAIN) in place of letting it wait: it is tried again, less
    and less often, without end; the caller has a deadline. Raises `OSError`. Cancelled, it leaves nothing open.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNIX_SEND_BUFFER)
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


async def _start_tls(sock: socket.socket, hostname: str, tls: ssl.SSLContext) -> ssl.SSLSocket:
    # Ragged ends are not suppressed: a body without a length ends with the connection, and without TLS's close
    # notification any host on the path can end that.
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
    """A TLS context that verifies as httpx does: by `SSL_CERT_FILE` or `SSL_CERT_DIR` if set, else by certifi's bundle.

    Reads a file of 300 KB and takes some 20 ms; raises `OSError` if there is none.
    """
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not directory:
        import certifi  # here, because most services use no TLS towards upstreams

        file = certifi.where()
    context = ssl.create_default_context(cafile=file or None, capath=None if file else directory)
    context.set_alpn_protocols(["http/1.1"])
    return context
