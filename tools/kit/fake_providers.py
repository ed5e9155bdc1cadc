"""Providers that do what they are told, at the second they are told, without a socket.

A `FakeProvider` is an httpx transport. It answers the requests that it gets with its scripts in turn, the last one for
ever, and remembers what it was sent, when, and when each answer was closed. With trio's `autojump_clock` time is virtual.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from math import inf
from random import Random
from typing import Any

import httpx
import msgspec
import trio

from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.chat.model.answer import Answer
from lakehouse.chat.model.pieces import ContentPiece, Done, Piece
from lakehouse.chat.model.request import Request
from lakehouse.config import ChatTable, Config, PolicyTable
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError

KEYS = {
    "OLLAMA_API_KEY": "ok",
    "OPENROUTER_API_KEY": "or-key",
    "OPENCODE_API_KEY": "oc-key",
    "KIMI_API_KEY": "kimi-key",
}


@dataclass(frozen=True, kw_only=True)
class Script:
    """One answer: `wait` seconds, then a head, then each chunk after its seconds. A chunk may be an exception."""

    wait: float = 0.0
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Sequence[tuple[float, bytes | Exception]] = ()
    error: Exception | None = None

    def after(self, seconds: float) -> Script:
        """The same, later."""
        return replace(self, wait=seconds)


SILENCE = Script(wait=inf)


class Body(httpx.AsyncByteStream):
    """Chunks at their time. Two readers at once, or a read after the end of all, would be a defect of ours."""

    def __init__(self, chunks: Sequence[tuple[float, bytes | Exception]]) -> None:
        self._chunks = list(chunks)
        self.closed: float | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        assert self.closed is None, "read after close"
        if not self._chunks:
            raise StopAsyncIteration
        if seconds := self._chunks[0][0]:
            await trio.sleep(seconds)  # what is here already is read without a checkpoint, as from a real socket
        _, chunk = self._chunks.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()  # a foreign transport may well wait a moment here
        self.closed = self.closed if self.closed is not None else trio.current_time()


@dataclass
class ProviderRequest:
    """A request as it came in. `left` is when its sender was cancelled before there was a head."""

    at: float
    request: httpx.Request
    body: Body | None = None
    left: float | None = None

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = msgspec.json.decode(self.request.content)
        return document

    @property
    def open(self) -> bool:
        """Whether something of it is still there."""
        return self.left is None and (self.body is None or self.body.closed is None)


class FakeProvider(httpx.AsyncBaseTransport):
    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.requests: list[ProviderRequest] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = ProviderRequest(trio.current_time(), request)
        self.requests.append(asked)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        try:
            await self.wait(script.wait)
        except trio.Cancelled:
            asked.left = trio.current_time()
            raise
        if script.error is not None:
            asked.left = trio.current_time()
            raise script.error
        asked.body = Body(script.chunks)
        return httpx.Response(script.status, headers=script.headers, stream=asked.body)

    async def wait(self, seconds: float) -> None:
        """The time until the head."""
        await trio.sleep(seconds)

    @property
    def times(self) -> list[float]:
        """When it was asked, in seconds rounded to the millisecond."""
        return [round(asked.at, 3) for asked in self.requests]

    @property
    def open(self) -> int:
        """How many exchanges are not over."""
        return sum(asked.open for asked in self.requests)


def json_body(document: object) -> bytes:
    return msgspec.json.encode(document)


def whole(text: str = "Hello.", *, tokens: tuple[int, int] = (7, 3), after: float = 0.0) -> Script:
    """A whole answer of Ollama's."""
    document = {
        "model": "m",
        "message": {"role": "assistant", "content": text},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": tokens[0],
        "eval_count": tokens[1],
    }
    return Script(wait=after, chunks=[(0, json_body(document))])


def line(text: str, **fields: object) -> bytes:
    """A line of Ollama's stream."""
    return json_body({"model": "m", "message": {"role": "assistant", "content": text}, "done": False, **fields}) + b"\n"


LAST = (
    json_body(
        {
            "model": "m",
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": 7,
            "eval_count": 3,
        }
    )
    + b"\n"
)


def stream(*texts: str, gap: float = 0.0, after: float = 0.0, cut: Exception | None = None, end: bool = True) -> Script:
    """A stream of Ollama's, a piece every `gap` seconds; `cut` or not `end`: without its end."""
    chunks: list[tuple[float, bytes | Exception]] = [(gap, line(text)) for text in texts]
    if cut is not None:
        chunks.append((gap, cut))
    elif end:
        chunks.append((gap, LAST))
    return Script(wait=after, chunks=chunks)


def event(delta: Mapping[str, object], **choice: object) -> bytes:
    """An event of a stream of chat completions."""
    return b"data: " + json_body({"model": "m", "choices": [{"index": 0, "delta": delta, **choice}]}) + b"\n\n"


def completion(text: str = "Hello.", **fields: object) -> Script:
    """A whole chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    return Script(chunks=[(0, json_body({"model": "m", "choices": [choice], "usage": usage, **fields}))])


def sse(*texts: str, gap: float = 0.0, after: float = 0.0) -> Script:
    """A stream of chat completions."""
    chunks: list[tuple[float, bytes | Exception]] = [(gap, event({"content": text})) for text in texts]
    chunks.append((gap, event({}, finish_reason="stop")))
    chunks.append((0, b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":5}}\n\ndata: [DONE]\n\n'))
    return Script(wait=after, chunks=chunks)


def ollama_answer(text: str, mode: str) -> Script:
    """Ollama's answer, in either mode."""
    return whole(text) if mode == "whole" else stream(text)


def openai_answer(text: str, mode: str) -> Script:
    """The same in OpenAI's form."""
    return completion(text) if mode == "whole" else sse(text)


def refusal(
    status: int, message: str = "no", *, headers: Mapping[str, str] | None = None, after: float = 0.0
) -> Script:
    """An error as Ollama says it."""
    return Script(wait=after, status=status, headers=headers or {}, chunks=[(0, json_body({"error": message}))])


OVERLOADED = refusal(503, "server busy, please try again.  maximum pending requests exceeded")


class NoJitter(Random):
    """Draws the longest pause that is allowed, so that times can be told."""

    def uniform(self, a: float, b: float) -> float:
        del a
        return b


def settings(
    *, policy: Mapping[str, Any] | None = None, models: Mapping[str, tuple[str, ...]] | None = None, **chatd: Any
) -> Config:
    """A configuration; `policy` and the other keywords are keys of `[chatd.policy]` and `[chatd]`."""
    return Config(chatd=ChatTable(policy=PolicyTable(**(policy or {})), **chatd), models=models or {})


@asynccontextmanager
async def open_fake_dispatcher(
    config: Config | None = None,
    *,
    env: Mapping[str, str] = KEYS,
    random: Random | None = None,
    **providers: FakeProvider,
) -> AsyncIterator[ServiceDispatcher]:
    """A dispatcher over these providers. At the end nothing of what was asked of them may still be open."""
    before = trio.lowlevel.current_statistics().tasks_living
    async with open_service_dispatcher(
        config or settings(), env=env, transports=providers, random=random or NoJitter()
    ) as dispatcher:
        yield dispatcher
    assert {name: provider.open for name, provider in providers.items() if provider.open} == {}
    assert trio.lowlevel.current_statistics().tasks_living == before


def ask(model: str = "m", *fallbacks: str, **fields: Any) -> Request:
    """A request that says hello."""
    messages = fields.pop("messages", ({"role": "user", "content": "Hello?"},))
    return Request(model=model, fallbacks=fallbacks, messages=messages, **fields)


def context(**fields: Any) -> RequestContext:
    """A request in flight."""
    return RequestContext(id="1", method="POST", path="/v1/chat", started=trio.current_time(), **fields)


async def answer_of(dispatcher: ServiceDispatcher, request: Request, mode: str) -> tuple[str, Answer | Done]:
    """The text of an answer, "whole" or as a "stream", and what is said about it: both modes must agree on them."""
    if mode == "whole":
        answer = await dispatcher(request)
        return answer.content, answer
    async with dispatcher.stream(request) as pieces:
        everything = [piece async for piece in pieces]
    done = everything.pop()
    assert isinstance(done, Done)
    return text_of(everything), done


async def read(dispatcher: ServiceDispatcher, *names: str, **fields: Any) -> tuple[list[Piece], LakehouseError | None]:
    """All pieces of a stream, and what broke it if something did."""
    pieces: list[Piece] = []
    try:
        async with dispatcher.stream(ask(*names, **fields)) as arriving:
            async for batch in arriving.batches():
                pieces += batch
    except LakehouseError as error:
        return pieces, error
    return pieces, None


def text_of(pieces: Sequence[Piece]) -> str:
    """The text of these pieces."""
    return "".join(piece.text for piece in pieces if isinstance(piece, ContentPiece))
