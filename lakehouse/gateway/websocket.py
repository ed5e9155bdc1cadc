"""A WebSocket on its way through: ASGI's events on the client's side, wsproto's frames on the upstream's.

Messages, subprotocols and close codes go both ways. Pings are answered on each side by whoever stands there, for ASGI
has none; extensions (compression) are agreed with the client alone and never offered to the upstream.
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
from lakehouse.gateway.headers import Headers, response_headers
from lakehouse.net.websocket import FrameSender, MessageAssembler, MessageTooLarge, accept_key, close_event
from lakehouse.upstream.endpoint import Endpoint, reason_of
from lakehouse.upstream.pool import Upstream
from lakehouse.upstream.request import UpstreamRequest

MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes (of text: characters) of one message from an upstream, beyond it 1009 for both sides; what the client's side
takes as well. A message is held whole, for ASGI has no parts of one."""

WINDOW = 64 * 1024
"""Bytes asked of the upstream at once."""

CLOSING = 1.0
"""Seconds for the upstream to answer our close frame, after which its socket is closed on it."""


def handshake(subprotocols: Sequence[str]) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A fresh key, and the headers that ask an upstream for a WebSocket with it."""
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


def accepted(headers: Headers, key: bytes, offered: Sequence[str], peer: Endpoint) -> str | None:
    """The subprotocol that an upstream's 101 agrees to, if any. Raises ErrUpstream if it is no answer to ours."""
    fields = {name.lower(): value for name, value in headers}
    problem = None
    subprotocol = fields.get(b"sec-websocket-protocol")
    if fields.get(b"upgrade", b"").lower() != b"websocket":
        problem = "switched to another protocol"
    elif not hmac.compare_digest(fields.get(b"sec-websocket-accept", b""), accept_key(key)):
        problem = "answered another key than ours"
    elif b"sec-websocket-extensions" in fields:
        problem = "chose an extension that was not offered"
    elif subprotocol is not None and subprotocol.decode("latin-1") not in offered:
        problem = "chose a subprotocol that was not offered"
    if problem is not None:
        raise peer.upstream_error(f"{problem} in its answer to the WebSocket handshake")
    return None if subprotocol is None else subprotocol.decode("latin-1")


async def relay(
    upstream: Upstream, target: bytes, headers: Headers, scope: Scope, receive: Receive, send: Send
) -> None:
    """Open the same WebSocket at the upstream, and be both until one of them ends.

    The client's handshake is answered after the upstream's: an upstream that refuses is heard, status and body, where
    the server can say so (`websocket.http.response`), and is a plain refusal where it cannot.
    """
    await receive()  # websocket.connect
    offered: Sequence[str] = scope["subprotocols"]
    key, fields = handshake(offered)
    context = request_scope.get(scope).context
    with await upstream.send(UpstreamRequest(b"GET", target, [*headers, *fields], None, context=context)) as response:
        answer = response_headers(response.headers, status=response.status, has_body=True)
        if response.status != 101:
            if DENIAL in scope["extensions"]:
                await send_response(response, answer.headers, send, kind=DENIAL)
            else:
                await send({"type": "websocket.close", "code": int(CloseReason.POLICY_VIOLATION), "reason": ""})
            return
        subprotocol = accepted(response.headers, key, offered, upstream.endpoint)
        told = [(name, value) for name, value in answer.headers if not name.startswith(b"sec-websocket-")]
        await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": told})
        context.begin_phase("streaming")
        async with response.upgrade() as stream:
            await WebSocketRelay(stream, receive, send, peer=upstream.endpoint).run()


class WebSocketRelay:
    """Two open WebSockets that are one. Ends when either side closes or is gone; holds one message each way at most.

    The upstream may say nothing, or take nothing, for the peer's `idle_timeout`. Half-way through a silence it is sent
    a ping, so that only one that is dead, or does not speak the protocol, is given up.
    """

    def __init__(self, stream: trio.abc.Stream, receive: Receive, send: Send, *, peer: Endpoint) -> None:
        self._stream = stream
        self._receive = receive
        self._send = send
        self._peer = peer
        self._frames = Connection(ConnectionType.CLIENT)
        self._sender = FrameSender(self._frames, stream.send_all)
        self._assembler = MessageAssembler(MAX_MESSAGE)
        self._client_closed = False
        self._broke: LakehouseError | None = None

    async def run(self) -> None:
        """Pass messages on until one side ends. Raises ErrUpstream or ErrTimeout when the upstream broke.

        Whatever ends it, the upstream's socket is left to its owner, who closes it at once.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_both, self._to_upstream, nursery.cancel_scope)
            nursery.start_soon(self._end_both, self._from_upstream, nursery.cancel_scope)
        if self._broke is not None:
            raise self._broke

    async def _end_both(self, direction: Callable[[], Awaitable[None]], both: trio.CancelScope) -> None:
        try:
            await direction()
        except LakehouseError as error:  # raised outside the nursery, which would wrap it in a group
            self._broke = self._broke or error
        except trio.BrokenResourceError as error:
            if not self._client_closed:
                self._broke = self._broke or self._peer.upstream_error(f"broke the WebSocket: {reason_of(error)}")
        both.cancel()

    async def _to_upstream(self) -> None:
        while (message := await self._receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            await self._write(TextMessage(data=text) if text is not None else BytesMessage(data=message["bytes"]))
        self._client_closed = True
        await self._write(close_event(message.get("code", CloseReason.NO_STATUS_RCVD), message.get("reason")))
        await trio.sleep(CLOSING)  # the upstream's answer ends it earlier

    async def _from_upstream(self) -> None:
        while True:
            for event in self._frames.events():
                if isinstance(event, CloseConnection):
                    return await self._closed(event)
                if isinstance(event, Ping):
                    await self._write(event.response())
                elif isinstance(event, TextMessage | BytesMessage) and not await self._collect(event):
                    return None
            data = await self._next()
            if data:
                self._frames.receive_data(data)
            elif self._client_closed:
                return None
            else:
                raise self._peer.upstream_error("broke the WebSocket off without closing it")

    async def _next(self) -> bytes:
        timeout = self._peer.idle_timeout
        for attempt in (1, 2):
            with trio.move_on_after(timeout / 2):
                return bytes(await self._stream.receive_some(WINDOW))
            if attempt == 1:
                await self._write(Ping())
        raise self._peer.timeout_error("idle", "said nothing over the WebSocket, nor answered a ping,", timeout)

    async def _write(self, event: Event) -> None:
        timeout = self._peer.idle_timeout
        with trio.move_on_after(timeout):
            await self._sender.send(event)
            return
        raise self._peer.timeout_error("idle", "took nothing more over the WebSocket", timeout)

    async def _collect(self, event: TextMessage | BytesMessage) -> bool:
        """Add a piece to its message, and pass that on when it is whole. False: it became too large, all is over."""
        try:
            content = self._assembler.feed(event)
        except MessageTooLarge:
            await self._write(close_event(CloseReason.MESSAGE_TOO_BIG))
            await self._close_client(CloseReason.MESSAGE_TOO_BIG, None)
            return False
        if content is not None and not self._client_closed:
            await self._send({"type": "websocket.send", "text" if isinstance(content, str) else "bytes": content})
        return True

    async def _closed(self, event: CloseConnection) -> None:
        if self._frames.state is ConnectionState.CLOSED:
            return  # that was the answer to our own
        was_a_frame = self._frames.state is ConnectionState.REMOTE_CLOSING
        await self._write(event.response() if was_a_frame else close_event(event.code, event.reason))
        if not was_a_frame:  # wsproto's way to say that it cannot read on
            raise self._peer.upstream_error(f"sent what is no WebSocket frame: {event.reason}")
        await self._close_client(event.code, event.reason)

    async def _close_client(self, code: int, reason: str | None) -> None:
        if not self._client_closed:
            await self._send({"type": "websocket.close", "code": int(code), "reason": reason or ""})
