"""What both ends of a WebSocket share (RFC 6455): the handshake's key, messages out of frames, frames out in turn.

wsproto does the framing. Compression is not offered on either side: a few compressed bytes become any amount of memory,
and a relay gains nothing from it.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Awaitable, Callable

import trio
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, TextMessage
from wsproto.frame_protocol import CloseReason

NOT_ON_THE_WIRE = frozenset(
    (CloseReason.NO_STATUS_RCVD, CloseReason.ABNORMAL_CLOSURE, CloseReason.TLS_HANDSHAKE_FAILED)
)
"""Close codes that exist only inside an implementation (7.4.1)."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


def accept_key(key: bytes) -> bytes:
    """The value of `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key`."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def close_event(code: int, reason: str | None = None) -> CloseConnection:
    """A close frame. A code of `NOT_ON_THE_WIRE` becomes a frame without a code."""
    if code in NOT_ON_THE_WIRE:
        return CloseConnection(code=CloseReason.NO_STATUS_RCVD)  # wsproto compares this code by identity
    return CloseConnection(code=code, reason=reason)


class MessageTooLarge(Exception):
    """A message has more bytes (text: characters) than the assembler takes."""


class MessageAssembler:
    """Joins the fragments of a message, up to `limit` bytes; of text, characters."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._partial: io.StringIO | io.BytesIO | None = None

    def feed(self, event: TextMessage | BytesMessage) -> str | bytes | None:
        """Take a fragment: the whole message if this is its last, else None. Raises `MessageTooLarge`."""
        partial = self._partial
        if partial is None:
            self._partial = partial = io.StringIO() if isinstance(event, TextMessage) else io.BytesIO()
        partial.write(event.data)  # type: ignore[arg-type]  # wsproto keeps a message to one kind
        if partial.tell() > self._limit:
            raise MessageTooLarge
        if not event.message_finished:
            return None
        self._partial = None
        return partial.getvalue()


class FrameSender:
    """Encodes events and writes them one after the other, whichever task sends them.

    wsproto raises for what is sent after a close; here it is dropped, because the application or the peer may not have
    seen the close yet. The answer to the peer's close is the one frame that follows it.
    """

    def __init__(self, protocol: Connection, write: Callable[[bytes], Awaitable[None]]) -> None:
        self._protocol = protocol
        self._write = write
        self._lock = trio.Lock()

    async def send(self, event: Event) -> None:
        """Send the event as a frame. Raises what `write` raises."""
        async with self._lock:
            state = self._protocol.state
            answers_close = state is ConnectionState.REMOTE_CLOSING and isinstance(event, CloseConnection)
            if state is ConnectionState.OPEN or answers_close:
                await self._write(self._protocol.send(event))
