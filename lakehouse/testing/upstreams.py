"""A scripted HTTP/1.1 server on a real socket.

    async with open_upstream(answer_with(respond({"ok": True}), respond(b"busy", 503))) as upstream:
        ...                                                   # requests to upstream.url
    assert upstream.requests[0].target == "/v1/x"

A script is called with each request and the socket to answer on: it decides every byte of the answer.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio

Head = dict[str, str]


@dataclass
class ReceivedRequest:
    """A request. Header names are in lower case."""

    method: str
    target: str
    headers: Head
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body, decoded."""
        document: dict[str, Any] = json.loads(self.body)
        return document


UpstreamScript = Callable[[ReceivedRequest, trio.SocketStream], Awaitable[None]]
"""Answers one request on its connection."""


@dataclass
class ScriptedUpstream:
    """A running server at `url`, and its requests. `opened` and `closed` count connections."""

    url: str
    requests: list[ReceivedRequest] = field(default_factory=list)
    opened: int = 0
    closed: int = 0


def respond(
    body: bytes | dict[str, object], status: int = 200, *, content_type: str = "application/json", more: str = ""
) -> bytes:
    """Return the bytes of a response with a Content-Length. `more` is further header lines, each with its CRLF."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {len(content)}\r\n{more}\r\n"
    return head.encode() + content


def answer_with(*answers: bytes) -> UpstreamScript:
    """A script that sends the answers in order and repeats the last one."""
    remaining = list(answers)

    async def script(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.send_all(remaining.pop(0) if len(remaining) > 1 else remaining[0])

    return script


async def never_answer(_: ReceivedRequest, stream: trio.SocketStream) -> None:
    """A script that never answers. It ends when the client leaves."""
    await stream.receive_some()


@asynccontextmanager
async def open_upstream(script: UpstreamScript) -> AsyncIterator[ScriptedUpstream]:
    """Run the server for the duration of the block. Its connections are closed at the end."""
    state = ScriptedUpstream("")
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(trio.serve_tcp, partial(_connection, state, script), 0, host="127.0.0.1")
        )
        state.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        yield state
        nursery.cancel_scope.cancel()


async def _connection(state: ScriptedUpstream, script: UpstreamScript, stream: trio.SocketStream) -> None:
    state.opened += 1
    buffer = bytearray()
    try:
        async with stream:
            while (request := await _receive_request(stream, buffer)) is not None:
                state.requests.append(request)
                await script(request, stream)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the client has left, or the script has closed the connection
    finally:
        state.closed += 1


async def _receive_request(stream: trio.SocketStream, buffer: bytearray) -> ReceivedRequest | None:
    """The next request, taken from the start of `buffer`. None when the client has ended the connection."""
    while (end := buffer.find(b"\r\n\r\n")) < 0:
        if not (data := await stream.receive_some()):
            return None
        buffer += data
    lines = buffer[:end].decode("latin-1").split("\r\n")
    del buffer[: end + 4]
    method, target, _version = lines[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    length = int(headers.get("content-length", 0))
    while len(buffer) < length:
        if not (data := await stream.receive_some()):
            return None
        buffer += data
    body = bytes(buffer[:length])
    del buffer[:length]
    return ReceivedRequest(method, target, headers, body)
