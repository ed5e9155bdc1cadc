"""A provider that replays the answers in `wire/`, as an httpx transport, and these answers by what they mean."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import trio

from tools.kit import wire_files

KEYS = dict.fromkeys(("OLLAMA_API_KEY", "OPENROUTER_API_KEY", "OPENCODE_API_KEY", "KIMI_API_KEY"), "sk-test")
PROVIDERS = ("ollama", "ollama_cloud", "openrouter", "opencode", "kimi")

WHOLE = [entry for entry in wire_files.chats(".json") if "error_class" not in entry["expect"]]
STREAMS = [entry for entry in wire_files.streams() if "error_class" not in entry["expect"]]
REFUSED = wire_files.errors() + [entry for entry in wire_files.chats(".json") if "error_class" in entry["expect"]]
BROKEN = [entry for entry in wire_files.streams() if "error_class" in entry["expect"]]


class Replay(httpx.AsyncBaseTransport):
    """Answers every request with the same bytes, `size` of them at a time."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes, *, size: int) -> None:
        self._answer = (status, headers)
        self._body = body
        self._size = size

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        status, headers = self._answer
        return httpx.Response(status, headers=headers, stream=InPieces(self._body, self._size))


class InPieces(httpx.AsyncByteStream):
    def __init__(self, body: bytes, size: int) -> None:
        self._pieces = iter([body[start : start + size] for start in range(0, len(body), size)])

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration

    async def aclose(self) -> None:
        pass


def replay(entry: dict[str, Any], *, size: int = 4096, end: int | None = None) -> Replay:
    """A provider that answers with this entry, up to its byte `end`."""
    if entry["file"].startswith("error_"):
        return Replay(*wire_files.error_of(entry), size=size)
    headers = [("content-type", entry["content_type"])]
    return Replay(entry["http_status"], headers, wire_files.body_of(entry)[:end], size=size)


def model_of(entry: dict[str, Any]) -> str:
    """A model of the entry's provider; OpenAI's own answers come through OpenRouter."""
    provider = wire_files.provider_of(entry)
    return f"{'openrouter' if provider == 'openai' else provider}/some-model"


def name(entry: dict[str, Any]) -> str:
    """The entry's file, for the names of tests."""
    return str(entry["file"])
