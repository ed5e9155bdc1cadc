"""Scripted model providers: httpx transports that answer as their scripts say, without a socket.

    ollama = FakeProvider(ollama_stream("Hel", "lo.", gap=1.0), error_response(503))
    async with lakehouse.open_dispatcher(config, env={}, transports={"ollama": ollama}) as chat:
        ...
    assert ollama.open == 0

A provider answers its requests with its scripts in order and repeats the last script. It records each request, its
time, and when the answer was closed. Waiting is `trio.sleep`: under `trio.testing.MockClock` (pytest-trio's
`autojump_clock`) it takes no real time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import httpx
import msgspec
import trio


@dataclass(frozen=True, kw_only=True)
class Script:
    """One answer of a provider: the head after `wait` seconds, then each chunk after the seconds that stand before it.

    `error` is raised in place of the head; an exception in place of a chunk is raised while the body is read.
    """

    wait: float = 0.0
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Sequence[tuple[float, bytes | Exception]] = ()
    error: Exception | None = None

    def after(self, seconds: float) -> Script:
        """Return the same answer with its head after `seconds`."""
        return replace(self, wait=seconds)


SILENCE = Script(wait=inf)
"""A provider that never answers."""


class ScriptedBody(httpx.AsyncByteStream):
    """The body of a scripted answer. `closed` is the time of `aclose`, None before it; reading later fails."""

    def __init__(self, chunks: Sequence[tuple[float, bytes | Exception]]) -> None:
        self._chunks = list(chunks)
        self.closed: float | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.closed is not None:
            raise RuntimeError("the body was read after it was closed")
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
    """A request that a provider received at the time `at`.

    `left` is the time at which the request was cancelled or failed before the head of its answer.
    """

    at: float
    request: httpx.Request
    body: ScriptedBody | None = None
    left: float | None = None

    @property
    def json(self) -> dict[str, Any]:
        """The body, decoded."""
        document: dict[str, Any] = msgspec.json.decode(self.request.content)
        return document

    @property
    def open(self) -> bool:
        """True until the answer is closed, or the request was cancelled."""
        return self.left is None and (self.body is None or self.body.closed is None)


class FakeProvider(httpx.AsyncBaseTransport):
    """A provider for `open_dispatcher(transports=...)`. Its requests are in `requests`, in order."""

    def __init__(self, *scripts: Script) -> None:
        if not scripts:
            raise ValueError("a provider needs at least one script")
        self.scripts = list(scripts)
        self.requests: list[ProviderRequest] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer with the next script."""
        received = ProviderRequest(trio.current_time(), request)
        self.requests.append(received)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        try:
            await self.wait(script.wait)
        except trio.Cancelled:
            received.left = trio.current_time()
            raise
        if script.error is not None:
            received.left = trio.current_time()
            raise script.error
        received.body = ScriptedBody(script.chunks)
        return httpx.Response(script.status, headers=script.headers, stream=received.body)

    async def wait(self, seconds: float) -> None:
        """Wait until the head of an answer is due. Subclasses may wait for something else."""
        await trio.sleep(seconds)

    @property
    def times(self) -> list[float]:
        """The times of the requests, in seconds, rounded to milliseconds."""
        return [round(received.at, 3) for received in self.requests]

    @property
    def open(self) -> int:
        """The number of requests whose answers have not been closed."""
        return sum(received.open for received in self.requests)


def encode_json(document: object) -> bytes:
    """JSON as bytes."""
    return msgspec.json.encode(document)


def ollama_answer(text: str = "Hello.", *, tokens: tuple[int, int] = (7, 3), after: float = 0.0) -> Script:
    """A complete answer in Ollama's format; `tokens` are those of the prompt and of the answer."""
    document = {
        "model": "m",
        "message": {"role": "assistant", "content": text},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": tokens[0],
        "eval_count": tokens[1],
    }
    return Script(wait=after, chunks=[(0, encode_json(document))])


def ollama_line(text: str, **fields: object) -> bytes:
    """A line of a stream in Ollama's format."""
    return (
        encode_json({"model": "m", "message": {"role": "assistant", "content": text}, "done": False, **fields}) + b"\n"
    )


OLLAMA_END = (
    encode_json(
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


def ollama_stream(
    *texts: str, gap: float = 0.0, after: float = 0.0, cut: Exception | None = None, end: bool = True
) -> Script:
    """A stream in Ollama's format with a piece every `gap` seconds.

    `cut` is raised in place of the end; without `end` the stream ends after its last piece.
    """
    chunks: list[tuple[float, bytes | Exception]] = [(gap, ollama_line(text)) for text in texts]
    if cut is not None:
        chunks.append((gap, cut))
    elif end:
        chunks.append((gap, OLLAMA_END))
    return Script(wait=after, chunks=chunks)


def completion_event(delta: Mapping[str, object], **choice: object) -> bytes:
    """An event of a stream in OpenAI's chat-completions format."""
    return b"data: " + encode_json({"model": "m", "choices": [{"index": 0, "delta": delta, **choice}]}) + b"\n\n"


def completion(text: str = "Hello.", **fields: object) -> Script:
    """A complete answer in OpenAI's chat-completions format."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    return Script(chunks=[(0, encode_json({"model": "m", "choices": [choice], "usage": usage, **fields}))])


def completion_stream(*texts: str, gap: float = 0.0, after: float = 0.0) -> Script:
    """A stream in OpenAI's chat-completions format with a piece every `gap` seconds."""
    chunks: list[tuple[float, bytes | Exception]] = [(gap, completion_event({"content": text})) for text in texts]
    chunks.append((gap, completion_event({}, finish_reason="stop")))
    chunks.append((0, b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":5}}\n\ndata: [DONE]\n\n'))
    return Script(wait=after, chunks=chunks)


def error_response(
    status: int, message: str = "no", *, headers: Mapping[str, str] | None = None, after: float = 0.0
) -> Script:
    """An error with this status in Ollama's format."""
    return Script(wait=after, status=status, headers=headers or {}, chunks=[(0, encode_json({"error": message}))])
