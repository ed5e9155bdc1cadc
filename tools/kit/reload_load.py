"""A load of chats over many connections, during which the configuration of the service is reloaded again and again.

Two providers take turns in the configuration, each with a key of its own. A chat is answered by one of them: with its
name in all pieces, and with its key in the request. Some streams stay open from the first reload to the last.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import trio

from lakehouse.testing.upstreams import ReceivedRequest, respond

NAMES = ("left", "right")
PIECES = 4
PAUSE = 0.002
"""Seconds between the pieces of a stream."""

MODEL = "openrouter/m"
KEY_NAME = "OPENROUTER_API_KEY"


def key_of(name: str) -> str:
    """The key of a provider."""
    return f"sk-or-{name}"


@dataclass
class LoadProvider:
    """One of the two providers. `wrong_keys` counts requests with another key than its own, `staying` the streams that
    stay open now, until `last` is set."""

    name: str
    wrong_keys: int = 0
    staying: int = 0
    last: trio.Event = field(default_factory=trio.Event)

    async def answer(self, asked: ReceivedRequest, stream: trio.SocketStream) -> None:
        """The script of its upstream."""
        if asked.method == "GET":  # of the report on the start
            await stream.send_all(respond({"data": [{"id": "m"}]}))
            return
        self.wrong_keys += asked.headers.get("authorization") != f"Bearer {key_of(self.name)}"
        document = asked.json
        if not document.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": self.name}, "finish_reason": "stop"}
            await stream.send_all(respond({"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]}))
            return
        await stream.send_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        stays_open = document["messages"][0]["content"] == "stay"
        for piece in range(PIECES):
            await stream.send_all(_chunk({"index": 0, "delta": {"content": f"{self.name} "}, "finish_reason": None}))
            if stays_open and piece == 0:
                self.staying += 1
                await self.last.wait()
                self.staying -= 1
            await trio.sleep(PAUSE)
        await stream.send_all(_chunk({"index": 0, "delta": {}, "finish_reason": "stop"}))
        await stream.send_all(_encode_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")


def _chunk(choice: Mapping[str, object]) -> bytes:
    return _encode_chunk(f"data: {json.dumps({'id': 'x', 'model': 'm', 'choices': [choice]})}\n\n".encode())


def _encode_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class ClientConnection:
    """A connection to the service, over which one chat follows the other."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._received = bytearray()

    async def chat(self, *, streamed: bool = False, stays_open: bool = False, model: str = MODEL) -> str:
        """One chat: the words of its answer. Raises ValueError for anything but a complete answer with status 200."""
        content = "stay" if stays_open else "hello"
        message = {"role": "user", "content": content}
        body = json.dumps({"model": model, "messages": [message], "stream": streamed}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        await self._stream.send_all(head.encode() + body)
        status, answer = await self._read_response()
        if status != 200:
            raise ValueError(f"{status}: {answer[:300]!r}")
        if not streamed:
            return str(json.loads(answer)["choices"][0]["message"]["content"])
        return _join_events(answer)

    async def post(self, path: str) -> tuple[int, bytes]:
        """A request without a body: the status and the response's body."""
        await self._stream.send_all(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
        return await self._read_response()

    async def _read_response(self) -> tuple[int, bytes]:
        head = (await self._read_until(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        if b"transfer-encoding: chunked" not in head:
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            return status, await self._read_exactly(length)
        body = b""
        while size := int(await self._read_until(b"\r\n"), 16):
            body += await self._read_exactly(size)
            await self._read_exactly(2)
        await self._read_until(b"\r\n")
        return status, body

    async def _read_until(self, mark: bytes) -> bytes:
        while (at := self._received.find(mark)) < 0:
            await self._receive()
        return await self._read_exactly(at + len(mark))

    async def _read_exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            await self._receive()
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    async def _receive(self) -> None:
        if not (data := await self._stream.receive_some(65536)):
            raise ValueError(f"the connection was closed within a response: {bytes(self._received[-300:])!r}")
        self._received += data


def _join_events(body: bytes) -> str:
    events = [line.removeprefix("data: ") for line in body.decode().split("\n") if line.startswith("data: ")]
    if events[-1:] != ["[DONE]"]:
        raise ValueError(f"the stream has no end: {events[-1:]}")
    choices = [choice for event in events[:-1] for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@dataclass
class LoadResult:
    """What came of it: the chats by the provider that answered, and a line for each failure."""

    answered: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    ended: bool = False


@asynccontextmanager
async def open_connection(port: int) -> AsyncIterator[ClientConnection]:
    """A connection to a service on this machine, for the block."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        yield ClientConnection(stream)


async def run_reloads(
    port: int,
    providers: Sequence[LoadProvider],
    switch: Callable[[str], None],
    *,
    reloads: int,
    connections: int,
    staying: int,
) -> LoadResult:
    """Reload so many times; `switch` has the configuration name the provider of this name.

    Each reload is followed by a chat, which the new provider must answer. `connections` chat all the time, `staying`
    further ones have one stream each that lasts from before the first reload until after the last.
    """
    result = LoadResult()
    for provider in providers:
        provider.last = trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(staying):
            nursery.start_soon(_stay, port, result)
        while sum(provider.staying for provider in providers) < staying:
            await trio.sleep(0.01)
        for number in range(connections):
            nursery.start_soon(_chat_until_ended, port, number, result)
        await _reload_in_turns(port, switch, reloads, result)
        result.ended = True
        if (stayed := sum(provider.staying for provider in providers)) != staying:
            result.failures.append(f"{stayed} of {staying} streams have stayed open")
        for provider in providers:
            provider.last.set()
    return result


async def _reload_in_turns(port: int, switch: Callable[[str], None], reloads: int, result: LoadResult) -> None:
    async with open_connection(port) as connection:
        for number in range(1, reloads + 1):
            name = NAMES[number % 2]
            switch(name)
            status, body = await connection.post("/v1/reload")
            if status != 200:
                result.failures.append(f"reload {number}: {status}: {body[:300]!r}")
            elif (answer := await connection.chat()) != name:
                result.failures.append(f"reload {number}: answered by {answer} and not by {name}")


async def _chat_until_ended(port: int, number: int, result: LoadResult) -> None:
    """Chat after chat, half of them streamed; over a new connection after a failure."""
    turns = count(number)
    while not result.ended:
        async with open_connection(port) as connection:
            try:
                while not result.ended:
                    _note(await connection.chat(streamed=next(turns) % 2 == 0), result)
            except (ValueError, OSError) as error:
                result.failures.append(str(error))


async def _stay(port: int, result: LoadResult) -> None:
    async with open_connection(port) as connection:
        _note(await connection.chat(streamed=True, stays_open=True), result)


def _note(text: str, result: LoadResult) -> None:
    words = text.split()
    if len(words) in (1, PIECES) and len(set(words)) == 1:
        result.answered[words[0]] += 1
    else:
        result.failures.append(f"an answer of several providers, or of a part: {text}")
