"""Opens the connections of one upstream, within its connect timeout."""

from __future__ import annotations

import ssl

import trio

from lakehouse.core.context import RequestContext
from lakehouse.net.reactor import Reactor
from lakehouse.upstream.connections.connect import connect, default_context
from lakehouse.upstream.connections.connection import UpstreamConnection
from lakehouse.upstream.connections.socket_io import READ_WINDOW
from lakehouse.upstream.endpoint import UpstreamEndpoint


class Connector:
    """Opens connections to `endpoint`. What all of them share is made with the first: TLS context and read buffer."""

    def __init__(
        self,
        endpoint: UpstreamEndpoint,
        ssl_context: ssl.SSLContext | None,
        reactor: Reactor | None,
        *,
        bytes_per_turn: int,
    ) -> None:
        self._endpoint = endpoint
        self._ssl_context = ssl_context
        self._reactor = reactor
        self._read_size = min(bytes_per_turn, READ_WINDOW)
        self._operations = bytes_per_turn // self._read_size
        self._window: memoryview | None = None

    async def open(self, context: RequestContext | None) -> UpstreamConnection:
        """A new connection. Raises `ErrUpstream`, `ErrUnreached`, `ErrTimeout`; cancelled, it leaves nothing open."""
        endpoint = self._endpoint
        if context is not None:
            context.begin_upstream_phase(endpoint.name, "connecting")
        try:
            with trio.CancelScope(relative_deadline=endpoint.connect_timeout):
                sock = await connect(endpoint, await self._tls())
                if self._window is None:
                    self._window = memoryview(bytearray(self._read_size))
                return UpstreamConnection(sock, self._window, self._reactor, operations=self._operations)
        except (OSError, ValueError) as error:
            raise endpoint.unreachable_error(error) from error
        through = "" if endpoint.proxy is None else f" through the proxy {endpoint.proxy}"
        raise endpoint.timeout_error("connect", f"did not accept a connection{through}", endpoint.connect_timeout)

    async def _tls(self) -> ssl.SSLContext | None:
        if self._endpoint.address.scheme != "https":
            return None
        if self._ssl_context is None:
            self._ssl_context = await trio.to_thread.run_sync(default_context, abandon_on_cancel=True)
        return self._ssl_context
