"""One HTTP/1.1 connection on a trio stream, in one task: read a head, call the application, finish, repeat.

    bytes ──> RequestParser ──> RequestCycle ──> application
    bytes <── ResponseWriter <──────┘

There is no reader task and no queue: a body is read when the application awaits it, so back-pressure is the kernel's.
Clients that leave are detected by `lakehouse.server.disconnects`, which cancels the scope in which the application
runs. The drain is in `lakehouse.server.drain`. A failure ends its own connection only.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable

import trio

from lakehouse.server.connection_io import HEAD, IDLE, ConnectionIO
from lakehouse.server.disconnects import unwatch_disconnect, watch_disconnect
from lakehouse.server.http1.request_head import ProtocolError
from lakehouse.server.http1.response_writer import COMPLETE, error_response_bytes
from lakehouse.server.request_cycle import RequestCycle
from lakehouse.server.scope_template import ScopeTemplate
from lakehouse.server.server_state import ServerState
from lakehouse.server.transports.socket_transport import SocketTransport
from lakehouse.server.transports.stream_transport import StreamTransport
from lakehouse.server.transports.transport import ConnectionTransport
from lakehouse.server.websocket.websocket import WebSocket

logger = logging.getLogger("lakehouse.server")

FINAL_WRITE_TIMEOUT = 1.0
"""Seconds to write a short error response to a client whose connection ends afterwards."""


def serve_connection(server_state: ServerState, stream: trio.abc.Stream) -> Awaitable[None]:
    """Serve one connection to its end; a handler for `trio.serve_listeners`. Raises nothing but `Cancelled`."""
    return Connection(server_state, stream).run()


class Connection:
    """One client's connection. The stream is closed when `run` returns or raises."""

    def __init__(self, server_state: ServerState, stream: trio.abc.Stream) -> None:
        self._server_state = server_state
        self._connection_io = ConnectionIO(open_transport(stream), server_state)
        self._request: RequestCycle | None = None

    async def run(self) -> None:
        """Serve requests until client or server ends the connection. Cancelled, it closes the connection at once."""
        connection_io, server_state = self._connection_io, self._server_state
        server_state.connections.add(self)
        try:
            watch_disconnect(connection_io.transport, server_state.disconnects, connection_io.client_disconnected)
            with connection_io.scope:
                await self._serve()
            if connection_io.scope.cancelled_caught and not connection_io.disconnected:
                await (self._reply_header_timeout() if self._request is None else self._finish_interrupted())
        except (OSError, trio.BrokenResourceError) as error:
            logger.debug("a connection ended: %r", error)
        except Exception:
            logger.exception("a connection failed through an internal error")
        finally:
            server_state.connections.discard(self)
            unwatch_disconnect(connection_io.transport, server_state.disconnects)
            await connection_io.transport.close()

    def drain(self) -> None:
        """End now unless a request is under way. Half a head is none; a whole one that has arrived is served."""
        if self._connection_io.phase in (IDLE, HEAD):
            self._connection_io.transport.interrupt_read()

    async def _serve(self) -> None:
        connection_io = self._connection_io
        scope_template = ScopeTemplate(connection_io.transport)
        while True:
            try:
                head = await connection_io.read_head()
            except ProtocolError as error:
                await self._refuse(error)
                return
            if head is None:
                return
            if not head.target.startswith(b"/"):
                scope_template.normalize_target(head)
            connection_io.idle_limit = None
            if head.websocket:
                await WebSocket(self._server_state, connection_io, head, scope_template).run()
                return
            self._request = request = RequestCycle(self._server_state, connection_io, head, scope_template)
            await request.run()
            if not await self._prepare_next_request(request):
                return
            self._request = None

    async def _finish_interrupted(self) -> None:
        request = self._request
        if request is not None:
            await request.send_final_response()
            await self._prepare_next_request(request)

    async def _prepare_next_request(self, request: RequestCycle) -> bool:
        """Read what is left of the request; false if the connection ends, with the response delivered if possible."""
        connection_io, response = self._connection_io, request.response
        if connection_io.transport.broken or response.state is not COMPLETE:
            if response.ends_with_connection:
                connection_io.transport.abort()
            return False
        try:
            body_ended = request.body_ended or connection_io.parser.take_body()[1]
            if response.close or self._server_state.draining:
                if not body_ended or not connection_io.parser.empty:
                    await connection_io.linger()
                return False
            if body_ended or await connection_io.discard_body():
                return True
        except ProtocolError:
            pass  # in a body that the application has not read
        await connection_io.linger()
        return False

    async def _refuse(self, error: ProtocolError) -> None:
        logger.debug("refused a malformed request: %s", error)
        await self._connection_io.write(self._encode_error(error))
        await self._connection_io.linger()

    async def _reply_header_timeout(self) -> None:
        """Respond to a head that took too long. A connection that was idle gets no response."""
        if self._connection_io.head_begun:
            limit = self._server_state.limits.header_timeout
            error = ProtocolError(f"the request's head took longer than {limit:g} seconds", 408)
            with trio.move_on_after(FINAL_WRITE_TIMEOUT):
                await self._connection_io.write(self._encode_error(error))

    def _encode_error(self, error: ProtocolError) -> list[bytes]:
        server_state = self._server_state
        make_headers = server_state.make_error_headers
        extra_headers = () if make_headers is None else make_headers(self._connection_io.parser.latest_headers)
        return error_response_bytes(error, server_state.date(), extra_headers=extra_headers)[1]


def open_transport(stream: trio.abc.Stream) -> ConnectionTransport:
    """The fastest transport for a stream."""
    return SocketTransport(stream) if isinstance(stream, trio.SocketStream) else StreamTransport(stream)
