"""One HTTP/1.1 connection on a trio stream, in one task: read a head, call the application, finish, and again.

    bytes ──> RequestParser ──> Exchange ──> application
    bytes <────── Response <─────┘

There is no reader task and no queue: a body is read when the application asks for it, so back-pressure is the
kernel's. That the client has gone is told by `DisconnectPoller`, whatever still waits in the buffers, and cancels the scope in
which the application runs. Nothing that happens here reaches another connection.
"""

from __future__ import annotations

import logging

import trio

from lakehouse.server.connection_io import ConnectionIO
from lakehouse.server.request_cycle import RequestCycle, ScopeTemplate
from lakehouse.server.request_head import ProtocolError
from lakehouse.server.response_writer import error_response_bytes
from lakehouse.server.server_state import ServerState
from lakehouse.server.transport import transport_for
from lakehouse.server.websocket import WebSocket

logger = logging.getLogger("lakehouse.server")

FINAL_WRITE_TIMEOUT = 1.0
"""Seconds to get a short error answer out to a client whose connection ends anyway."""


async def serve_connection(server_state: ServerState, stream: trio.abc.Stream) -> None:
    """Serve one connection to its end; a handler for `trio.serve_listeners`. Nothing but cancellation comes out."""
    await Connection(server_state, stream).run()


class Connection:
    """One client's connection. The stream is closed when `run` returns, however it does."""

    def __init__(self, server_state: ServerState, stream: trio.abc.Stream) -> None:
        self._server_state = server_state
        self._connection_io = ConnectionIO(transport_for(stream), server_state)
        self._exchange: RequestCycle | None = None

    async def run(self) -> None:
        """Answer requests until client or service has enough. Cancelled, it closes the connection at once."""
        connection_io, server_state = self._connection_io, self._server_state
        server_state.handles.add(self)
        try:
            connection_io.transport.watch_disconnect(server_state.disconnects, connection_io.client_disconnected)
            with connection_io.scope:
                await self._serve()
            if connection_io.scope.cancelled_caught and not connection_io.disconnected:
                await (self._reply_header_timeout() if self._exchange is None else self._interrupted(self._exchange))
        except (OSError, trio.BrokenResourceError) as error:
            logger.debug("a connection ended: %r", error)
        except Exception:  # whatever it is, it ends this connection only
            logger.exception("a connection failed")
        finally:
            server_state.handles.discard(self)
            connection_io.transport.unwatch_disconnect(server_state.disconnects)
            await connection_io.transport.close()

    def drain(self) -> None:
        """End now unless a request is under way; half a head is none, and a whole one that has arrived is answered."""
        if self._connection_io.awaits_head:
            self._connection_io.transport.interrupt_read()

    async def _serve(self) -> None:
        scope_template = ScopeTemplate(self._connection_io)
        while True:
            try:
                head = await self._connection_io.read_head()
            except ProtocolError as error:
                await self._refuse(error)
                return
            if head is None:
                return
            if not head.target.startswith(b"/"):
                scope_template.localise(head)
            self._connection_io.idle_limit = None
            if head.websocket:
                await WebSocket(self._server_state, self._connection_io, head, scope_template).run()
                return
            self._exchange = exchange = RequestCycle(self._server_state, self._connection_io, head, scope_template)
            await exchange.run()
            if not await self._prepare_next_request(exchange):
                return
            self._exchange = None

    async def _interrupted(self, exchange: RequestCycle) -> None:
        await exchange.send_final_response()
        await self._prepare_next_request(exchange)

    async def _prepare_next_request(self, exchange: RequestCycle) -> bool:
        """Clear the way for the next request, or see to it that the client gets what was sent before the end."""
        connection_io, response = self._connection_io, exchange.response
        if connection_io.transport.broken or not response.complete:
            if response.until_close:
                connection_io.transport.abort()
            return False
        try:
            clear = exchange.read or connection_io.parser.take_body()[1]
            if response.close or self._server_state.draining:
                if not clear or not connection_io.parser.empty:
                    await connection_io.linger()
                return False
            if clear or await connection_io.discard_body():
                return True
        except ProtocolError:
            pass  # in a body that nobody wanted
        await connection_io.linger()
        return False

    async def _refuse(self, error: ProtocolError) -> None:
        logger.debug("refused what is no request: %s", error)
        await self._connection_io.write(self._refusal(error))
        await self._connection_io.linger()

    async def _reply_header_timeout(self) -> None:
        """A head that took too long gets an answer; a connection that was only idle does not."""
        if not self._connection_io.idle:
            limit = self._server_state.limits.head_timeout
            error = ProtocolError(f"the request's head took longer than {limit:g} seconds", 408)
            with trio.move_on_after(FINAL_WRITE_TIMEOUT):
                await self._connection_io.write(self._refusal(error))

    def _refusal(self, error: ProtocolError) -> list[bytes]:
        server_state = self._server_state
        marks = () if server_state.mark is None else server_state.mark(self._connection_io.parser.latest_headers)
        return error_response_bytes(error, server_state.date(), marks=marks)[1]
