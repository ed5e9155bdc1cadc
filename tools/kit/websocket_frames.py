"""WebSockets on real sockets, frame by frame: the client's side of a handshake, the service's, and what follows."""

from __future__ import annotations

import base64
import hashlib
from collections import deque

from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event

from tools.kit.gateway_services import Answer, Client, HttpStream, ServiceRequest

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def accept_key(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


class Frames:
    """Frames on a wire, from either side."""

    def __init__(self, wire: HttpStream, side: ConnectionType) -> None:
        self.wire = wire
        self.protocol = Connection(side)
        self._events: deque[Event] = deque()

    async def send(self, event: Event) -> None:
        await self.wire.send(bytes(self.protocol.send(event)))

    async def next(self) -> Event:
        """The next event. Raises EOFError at the end of the stream."""
        while not self._events:
            data = await self.wire.some()
            if not data:
                raise EOFError
            self.protocol.receive_data(data)
            self._events.extend(self.protocol.events())
        return self._events.popleft()


async def agree(visit: ServiceRequest, more: bytes = b"") -> Frames:
    """The service's side of the handshake."""
    key = dict(visit.headers)[b"sec-websocket-key"]
    await visit.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (accept_key(key), more)
    )
    return Frames(visit, ConnectionType.SERVER)


async def knock(client: Client, target: str = "/v1/observer/live", headers: str = "") -> Answer:
    """The client's side of it, up to the answer's head."""
    lines = "".join(f"{line}\r\n" for line in headers.splitlines())
    await client.send(
        f"GET {target} HTTP/1.1\r\nhost: door\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        f"sec-websocket-version: 13\r\nsec-websocket-key: {KEY.decode()}\r\n{lines}\r\n".encode()
    )
    return await client.answer_head()


async def enter(client: Client, headers: str = "") -> Frames:
    assert (await knock(client, headers=headers)).status == 101
    return Frames(client, ConnectionType.CLIENT)


async def echo(visit: ServiceRequest, more: bytes = b"") -> None:
    frames = await agree(visit, more)
    while not isinstance(event := await frames.next(), CloseConnection):
        await frames.send(event)
    await frames.send(event.response())
    raise EOFError
