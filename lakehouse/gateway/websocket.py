"""WebSockets through the gateway: ASGI's events on the client's side, wsproto's frames on the upstream's.

Messages, subprotocols and close codes are relayed. Pings are answered on each side separately, because ASGI has none.
Extensions (compression) are negotiated with the client only, and never offered to the upstream.
"""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Awaitable, Callable, Sequence

import trio
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

from lakehouse.asgi import request_scope
from lakehouse.asgi.types import DENIAL, Receive, Scope, Send
from lakehouse.core.errors import LakehouseError
from lakehouse.gateway.body_streaming import send_response
from lakehouse.gateway.headers import Headers, make_response_head
from lakehouse.net.websocket import FrameSender, MessageAssembler, MessageTooLarge, accept_key, close_event
from lakehouse.upstream.endpoint import UpstreamEndpoint, reason_of
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.pool import Upstream

MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes (characters of a text) of one message from an upstream; a longer one closes both sides with code 1009. Our
server has the same limit for clients. A message is held completely in memory: ASGI has no parts of messages."""

WINDOW = 64 * 1024
"""Bytes of one read from the upstream."""

CLOSE_TIMEOUT = 1.0
"""Seconds that the upstream has to answer our close frame before its connection is closed."""


def make_handshake(subprotocols: Sequence[str]) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A new key, and the headers of a WebSocket handshake with it."""
    key = base64.b64encode(os.urandom(16))
    headers = [
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", key),
    ]
    if subprotocols:
        headers.append((b"sec-websocket-protocol", ", ".join(subprotocols).encode()))
    return key, headers


def check_handshake(headers: Headers, key: bytes, offered: Sequence[str], endpoint: UpstreamEndpoint) -> str | None:
    """The subprotocol that an upstream's 101 chooses, if any. Raises ErrUpstream if it does not fit our handshake."""
    fields = {name.lower(): value for name, value in headers}
    problem = None
    subprotocol = fields.get(b"sec-websocket-protocol")
    if fields.get(b"upgrade", b"").lower() != b"websocket":
        problem = "switched to another protocol"
    elif not hmac.compare_digest(fields.get(b"sec-websocket-accept", b""), accept_key(key)):
        problem = "answered a key that was not sent"
    elif b"sec-websocket-extensions" in fields:
        problem = "chose an extension that was not offered"
    elif subprotocol is not None and subprotocol.decode("latin-1") not in offered:
        problem = "chose a subprotocol that was not offered"
    if problem is not None:
        raise endpoint.upstream_error(f"{problem} in its answer to the WebSocket handshake")
    return None if subprotocol is None else subprotocol.decode("latin-1")


async def relay(
    upstream: Upstream, target: bytes, headers: Headers, scope: Scope, receive: Receive, send: Send
) -> None:
    """Open the same WebSocket at the upstream, and relay messages until one of the two ends.

    The client's handshake is answered after the upstream's. If the upstream refuses, the client gets its status and
    body where the server has `websocket.http.response`, and a plain refusal where it has not.
    """
    await receive()  # websocket.connect
    offered: Sequence[str] = scope["subprotocols"]
    key, fields = make_handshake(offered)
    context = request_scope.get(scope).context
    with await upstream.send(UpstreamRequest(b"GET", target, [*headers, *fields], None, context=context)) as response:
        answer = make_response_head(response.headers, status=response.status, has_body=True)
        if response.status != 101:
            if DENIAL in scope["extensions"]:
                await send_response(response, answer.headers, send, kind=DENIAL)
            else:
                await send({"type": "websocket.close", "code": int(CloseReason.POLICY_VIOLATION), "reason": ""})
            return
        subprotocol = check_handshake(response.headers, key, offered, upstream.endpoint)
        accept_headers = [pair for pair in answer.headers if not pair[0].startswith(b"sec-websocket-")]
        await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": accept_headers})
        context.begin_phase("streaming")
        async with response.upgrade() as stream:
            await WebSocketRelay(stream, receive, send, endpoint=upstream.endpoint).run()


class WebSocketRelay:
    """Relays messages between two open WebSockets until either side closes or is gone.

    At most one message is held for each direction.

    The upstream may send nothing, or read nothing, for the endpoint's `idle_timeout`. After half of that time it is
    sent a ping, so only an upstream that is dead or does not speak the protocol is given up.
    """

    def __init__(self, stream: trio.abc.Stream, receive: Receive, send: Send, *, endpoint: UpstreamEndpoint) -> None:
        self._stream = stream
        self._receive = receive
        self._send = send
        self._endpoint = endpoint
        self._frames = Connection(ConnectionType.CLIENT)
        self._sender = FrameSender(self._frames, stream.send_all)
        self._assembler = MessageAssembler(MAX_MESSAGE)
        self._client_has_closed = False
        self._failure: LakehouseError | None = None

    async def run(self) -> None:
        """Relay messages until one side ends. Raises ErrUpstream or ErrTimeout when the upstream broke.

        The upstream's stream is not closed here: its owner closes it at once.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_direction, self._to_upstream, nursery.cancel_scope)
            nursery.start_soon(self._run_direction, self._from_upstream, nursery.cancel_scope)
        if self._failure is not None:
            raise self._failure

    async def _run_direction(self, direction: Callable[[], Awaitable[None]], both: trio.CancelScope) -> None:
        try:
            await direction()
        except LakehouseError as error:  # raised outside the nursery, which would wrap it in a group
            self._failure = self._failure or error
        except trio.BrokenResourceError as error:
            if not self._client_has_closed:
                self._failure = self._failure or self._endpoint.upstream_error(
                    f"broke the WebSocket: {reason_of(error)}"
                )
        both.cancel()

    async def _to_upstream(self) -> None:
        while (message := await self._receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            await self._write(TextMessage(data=text) if text is not None else BytesMessage(data=message["bytes"]))
        self._client_has_closed = True
        await self._write(close_event(message.get("code", CloseReason.NO_STATUS_RCVD), message.get("reason")))
        await trio.sleep(CLOSE_TIMEOUT)  # the upstream's close frame ends the relay earlier

    async def _from_upstream(self) -> None:
        while True:
            for event in self._frames.events():
                if isinstance(event, CloseConnection):
                    return await self._close(event)
                if isinstance(event, Ping):
                    await self._write(event.response())
                elif isinstance(event, TextMessage | BytesMessage) and not await self._collect(event):
                    return None
            data = await self._receive_bytes()
            if data:
                self._frames.receive_data(data)
            elif self._client_has_closed:
                return None
            else:
                raise self._endpoint.upstream_error("closed the connection of the WebSocket without a close frame")

    async def _receive_bytes(self) -> bytes:
        timeout = self._endpoint.idle_timeout
        for attempt in (1, 2):
            with trio.move_on_after(timeout / 2):
                return bytes(await self._stream.receive_some(WINDOW))
            if attempt == 1:
                await self._write(Ping())
        raise self._endpoint.timeout_error("idle", "sent nothing over the WebSocket and did not answer a ping", timeout)

    async def _write(self, event: Event) -> None:
        timeout = self._endpoint.idle_timeout
        with trio.move_on_after(timeout):
            await self._sender.send(event)
            return
        raise self._endpoint.timeout_error("idle", "accepted no more bytes of the WebSocket", timeout)

    async def _collect(self, event: TextMessage | BytesMessage) -> bool:
        """Add a piece to its message, and send the message when it is complete. False if the message is too large."""
        try:
            content = self._assembler.feed(event)
        except MessageTooLarge:
            await self._write(close_event(CloseReason.MESSAGE_TOO_BIG))
            await self._close_client(CloseReason.MESSAGE_TOO_BIG, None)
            return False
        if content is not None and not self._client_has_closed:
            await self._send({"type": "websocket.send", "text" if isinstance(content, str) else "bytes": content})
        return True

    async def _close(self, event: CloseConnection) -> None:
        if self._frames.state is ConnectionState.CLOSED:
            return  # the response to our own close frame
        was_a_frame = self._frames.state is ConnectionState.REMOTE_CLOSING
        await self._write(event.response() if was_a_frame else close_event(event.code, event.reason))
        if not was_a_frame:  # wsproto makes this event when it cannot parse on
            raise self._endpoint.upstream_error(f"sent an invalid WebSocket frame: {event.reason}")
        await self._close_client(event.code, event.reason)

    async def _close_client(self, code: int, reason: str | None) -> None:
        if not self._client_has_closed:
            await self._send({"type": "websocket.close", "code": int(code), "reason": reason or ""})
