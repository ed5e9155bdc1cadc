"""One WebSocket on a connection, as ASGI's `websocket` scope has it. The framing is wsproto's, the handshake ours.

Unlike an exchange this has a reader task: pings want their pongs also while the application only sends. Compression is
not offered: a few bytes of it become any amount of memory, and a relay gains nothing from it.
"""

from __future__ import annotations

import io
import logging
from collections import deque

import trio
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

from lakehouse.asgi.types import DENIAL, Message, ResponseError
from lakehouse.core.errors import ErrForbidden, LakehouseError
from lakehouse.server.connection_io import ConnectionIO
from lakehouse.server.handshake import Handshake
from lakehouse.server.request_cycle import ScopeTemplate
from lakehouse.server.request_head import ProtocolError, RequestHead
from lakehouse.server.response_writer import ResponseWriter, error_response_bytes
from lakehouse.server.server_state import ServerState

logger = logging.getLogger("lakehouse.server")

# Close codes of RFC 6455, section 7.4.1.
NORMAL, NO_CODE, ABNORMAL, TOO_BIG, INTERNAL_ERROR = 1000, 1005, 1006, 1009, 1011


MESSAGE_COST = 256
"""Bytes that a message counts for in the window beside its own: what Python needs to hold one, empty or not."""


class WebSocket:
    """One WebSocket from its handshake to its close; `receive` and `send` are what the application gets.

    A client that closes is told by `websocket.disconnect`, after which the application has as long as a close may
    take; one that vanishes cancels it at once.
    """

    def __init__(
        self, server_state: ServerState, connection_io: ConnectionIO, head: RequestHead, scope_template: ScopeTemplate
    ) -> None:
        self._server_state = server_state
        self._connection_io = connection_io
        self._head = head
        self._scope_template = scope_template
        self._protocol = Connection(ConnectionType.SERVER)
        self._handshake: Handshake | None = None  # until it is answered
        self._denial: ResponseWriter | None = None
        self._connected = False  # whether the application has seen `websocket.connect`
        self._queue: deque[Message] = deque()
        self._queued = 0  # bytes or characters in it, and what holding them costs
        self._partial: io.StringIO | io.BytesIO | None = None
        self._disconnect: Message | None = None  # what `receive` gives once the client has closed, or we have
        self._mistaken = False  # whether the client broke the protocol: then it may still be sending
        self._arrived = trio.lowlevel.ParkingLot()  # where `receive` waits
        self._taken = trio.lowlevel.ParkingLot()  # where the reader waits for room
        self._writing = trio.Lock()  # the application's frames and our pongs
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Shake hands, run the application, close. The connection ends with it."""
        connection_io = self._connection_io
        try:
            self._handshake = handshake = Handshake(self._head)
        except ProtocolError as error:
            await self._refuse(error)
            await connection_io.linger()
            return
        scope = self._scope_template.websocket_scope(self._head, handshake.subprotocols)
        scope["extensions"] = {**scope["extensions"], DENIAL: {}}
        connection_io.busy = True
        try:
            async with trio.open_nursery() as self._nursery:
                code = NORMAL
                try:
                    await self._server_state.app(scope, self.receive, self.send)
                except Exception:
                    logger.exception("the application failed in the WebSocket %s", scope["path"])
                    code = INTERNAL_ERROR
                connection_io.busy = False
                await self._finish(code)
                self._nursery.cancel_scope.cancel()
        except* trio.BrokenResourceError:
            pass  # the client went while we said goodbye

    async def receive(self) -> Message:
        """The next message, or `websocket.disconnect` once the client or the application has closed."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        while not self._queue:
            if self._disconnect is not None:
                return self._disconnect
            await self._arrived.park()
        message = self._queue.popleft()
        self._queued -= _size(message)
        self._taken.unpark_all()
        return message

    async def send(self, message: Message) -> None:
        """Take one message; what crosses the client's close is dropped. Raises `ResponseError` for the impossible."""
        kind = message["type"]
        if self._handshake is not None:
            await self._answer(self._handshake, kind, message)
        elif self._denial is not None:
            if kind != f"{DENIAL}.body":
                raise ResponseError(f"{kind!r} after the handshake was refused")
            pieces = self._denial.body(message.get("body", b""), message.get("more_body", False))
            await self._connection_io.write(pieces)
        elif kind == "websocket.send":
            text = message.get("text")
            await self._transmit(BytesMessage(data=message["bytes"]) if text is None else TextMessage(data=text))
        elif kind == "websocket.close":
            await self._close(message.get("code", NORMAL), message.get("reason"))
        else:
            raise ResponseError(f"{kind!r} on an open WebSocket")

    # The handshake's answer.

    async def _answer(self, handshake: Handshake, kind: str, message: Message) -> None:
        headers, date = message.get("headers", ()), self._server_state.date()
        if kind == "websocket.accept":
            head = handshake.accept(message.get("subprotocol"), headers, date)
            self._handshake = None
            await self._connection_io.write([head])
            if self._nursery is not None:
                self._nursery.start_soon(self._read)
        elif kind == f"{DENIAL}.start":
            response = ResponseWriter(self._head)
            response.close = True
            response.start(message["status"], headers, date)
            self._handshake, self._denial = None, response
        elif kind == "websocket.close":
            await self._refuse(ErrForbidden("the WebSocket was refused"))
        else:
            raise ResponseError(f"{kind!r} before the handshake was answered")

    async def _refuse(self, error: LakehouseError) -> None:
        self._handshake = None
        self._denial, pieces = error_response_bytes(error, self._server_state.date(), self._head)
        await self._connection_io.write(pieces)

    # Frames out.

    async def _transmit(self, event: Event) -> None:
        async with self._writing:
            state = self._protocol.state
            answers = state is ConnectionState.REMOTE_CLOSING and isinstance(event, CloseConnection)
            if state is ConnectionState.OPEN or answers:
                await self._connection_io.write([self._protocol.send(event)])

    async def _close(self, code: int, reason: str | None) -> None:
        """Send our close; the client has a while to answer it."""
        if self._protocol.state is ConnectionState.OPEN and self._nursery is not None:
            self._nursery.start_soon(self._await_close)
        await self._transmit(_close(code, reason))

    async def _await_close(self) -> None:
        await trio.sleep(self._server_state.limits.websocket_close)
        if self._disconnect is None:
            self._disconnect = {"type": "websocket.disconnect", "code": ABNORMAL, "reason": ""}
        self._arrived.unpark_all()

    async def _finish(self, code: int) -> None:
        """After the application: the answer that it did not give, or our close and the client's answer to it."""
        if self._handshake is not None:
            await self._refuse(LakehouseError("internal error"))
        if self._denial is not None:
            if self._denial.complete:
                await self._connection_io.linger()
            return
        await self._close(code, None)
        while self._disconnect is None and not self._connection_io.gone:
            await self._arrived.park()
        if self._mistaken:
            await self._connection_io.linger()

    # Frames in.

    async def _read(self) -> None:
        """Feed the protocol until the close; what the application does not take in time stays with the kernel."""
        data = self._connection_io.parser.trailing_data()
        while True:
            self._protocol.receive_data(data)
            for event in self._protocol.events():
                if isinstance(event, CloseConnection):
                    await self._on_close(event)
                    return
                if isinstance(event, Ping):
                    await self._transmit(event.response())
                elif isinstance(event, TextMessage | BytesMessage) and not self._take(event):
                    await self._on_close(CloseConnection(code=TOO_BIG, reason="message too big"))
                    return
            while self._queued >= self._server_state.limits.websocket_window:
                await self._taken.park()
            data = await self._connection_io.read_unparsed()
            if not data:
                self._connection_io.client_disconnected()
                self._arrived.unpark_all()
                return

    def _take(self, event: TextMessage | BytesMessage) -> bool:
        """Add a piece to its message, and a whole message to the queue; False when it has grown too big."""
        if self._protocol.state is not ConnectionState.OPEN:
            return True  # we have closed, and nobody will read it
        partial = self._partial
        if partial is None:
            self._partial = partial = io.StringIO() if isinstance(event, TextMessage) else io.BytesIO()
        partial.write(event.data)  # type: ignore[arg-type]  # wsproto keeps a message to one kind
        if partial.tell() > self._server_state.limits.websocket_message:
            return False
        if event.message_finished:
            self._partial = None
            key = "text" if isinstance(partial, io.StringIO) else "bytes"
            message = {"type": "websocket.receive", key: partial.getvalue()}
            self._queue.append(message)
            self._queued += _size(message)
            self._arrived.unpark_all()
        return True

    async def _on_close(self, event: CloseConnection) -> None:
        """The client's close, its answer to ours, or the close that its mistake calls for."""
        self._connection_io.busy = False  # that the connection goes now is no surprise
        code = NO_CODE if event.code is None else int(event.code)
        if self._disconnect is None:
            self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": event.reason or ""}
        self._arrived.unpark_all()
        self._mistaken = self._protocol.state is ConnectionState.OPEN
        await self._transmit(CloseConnection(code=event.code, reason=event.reason))
        await trio.sleep(self._server_state.limits.websocket_close)
        # The application did not take the hint.
        self._connection_io.gone = True
        self._connection_io.scope.cancel()


def _size(message: Message) -> int:
    return len(message.get("text") or message.get("bytes") or b"") + MESSAGE_COST


def _close(code: int, reason: str | None) -> CloseConnection:
    if not 1000 <= code <= 4999:
        raise ResponseError(f"{code} is no close code")
    if code == NO_CODE:  # said by saying nothing; wsproto knows it by identity
        return CloseConnection(code=CloseReason.NO_STATUS_RCVD)
    return CloseConnection(code=code, reason=reason)
