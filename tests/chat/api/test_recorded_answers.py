"""From a provider's bytes to a client's: every answer in `wire/` through the dispatcher and both forms, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio

from lakehouse.chat.api.openai.errors import BY_CLASS, find_status
from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.config import ChatTable, Config, KimiTable, PolicyTable
from lakehouse.core.provider_failures import FAILURE_MEANINGS, make_failure
from tools.kit import wire_files
from tools.kit.fake_dispatcher import chat_app, serve
from tools.kit.sse import sse_events

KEYS = dict.fromkeys(("OLLAMA_API_KEY", "OPENROUTER_API_KEY", "OPENCODE_API_KEY", "KIMI_API_KEY"), "sk-test")
PROVIDERS = ("ollama", "ollama_cloud", "openrouter", "opencode", "kimi")
HI = [{"role": "user", "content": "Hi"}]


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


@asynccontextmanager
async def service(entry: dict[str, Any], *, size: int = 4096) -> AsyncIterator[httpx.AsyncClient]:
    """The chat group with all providers, each of which answers with this entry; nothing is retried."""
    if entry["file"].startswith("error_"):
        replay = Replay(*wire_files.error_of(entry), size=size)
    else:
        headers = [("content-type", entry["content_type"])]
        replay = Replay(entry["http_status"], headers, wire_files.body_of(entry), size=size)
    kimi = KimiTable(wire="messages" if "messages" in entry["file"] else "chat")
    config = Config(chatd=ChatTable(kimi=kimi, policy=PolicyTable(retries=0)))
    async with (
        open_service_dispatcher(config, env=KEYS, transports=dict.fromkeys(PROVIDERS, replay)) as dispatcher,
        trio.open_nursery() as nursery,
    ):
        url = await serve(nursery, chat_app(dispatcher, max_body=4096))
        async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
            yield client
        nursery.cancel_scope.cancel()


def asked(entry: dict[str, Any], **more: object) -> dict[str, object]:
    """A request that goes to the entry's provider; OpenAI's own answers come through OpenRouter."""
    provider = wire_files.provider_of(entry)
    return {"model": f"{'openrouter' if provider == 'openai' else provider}/some-model", "messages": HI, **more}


def name(entry: dict[str, Any]) -> str:
    return str(entry["file"])


def calls_of(calls: list[Any]) -> list[Any]:
    return [[call["function"]["name"], json.loads(call["function"]["arguments"])] for call in calls]


def check(expect: dict[str, Any], said: dict[str, Any], counts: dict[str, str]) -> None:
    """`said` is an answer whose counts have the names in `counts`."""
    assert said["content"] == expect.get("content", said["content"])
    assert said["reasoning"] == expect.get("reasoning", said["reasoning"])
    assert said["tool_calls"] == expect.get("tool_calls", [])
    assert said["finish_reason"] == ("tool_calls" if said["tool_calls"] else expect["finish"])
    for key, field in counts.items():
        if key in expect:
            assert said[field] == pytest.approx(expect[key]), key


NATIVE_COUNTS = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "cached_tokens": "cached_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "cost": "cost_usd",
}
OPENAI_COUNTS = {key: key for key in NATIVE_COUNTS}


def natively(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "tool_calls": calls_of(document["tool_calls"])}


def natively_streamed(text: str) -> dict[str, Any]:
    *pieces, last = sse_events(text)
    assert last["type"] == "done"
    return {
        **last,
        "content": "".join(piece["text"] for piece in pieces if piece["type"] == "content"),
        "reasoning": "".join(piece["text"] for piece in pieces if piece["type"] == "reasoning"),
        "tool_calls": calls_of([piece["tool_call"] for piece in pieces if piece["type"] == "tool_call"]),
    }


def counted(usage: dict[str, Any]) -> dict[str, Any]:
    details = {**usage.get("prompt_tokens_details", {}), **usage.get("completion_tokens_details", {})}
    return {**usage, **details}


def in_openai_form(document: dict[str, Any]) -> dict[str, Any]:
    (choice,) = document["choices"]
    message = choice["message"]
    return {
        **counted(document["usage"]),
        "content": message["content"] or "",
        "reasoning": message.get("reasoning_content", ""),
        "tool_calls": calls_of(message.get("tool_calls", [])),
        "finish_reason": choice["finish_reason"],
    }


def in_openai_form_streamed(text: str) -> dict[str, Any]:
    *chunks, counts, end = sse_events(text)
    assert (counts["choices"], end) == ([], "[DONE]")
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    return {
        **counted(counts["usage"]),
        "content": "".join(delta.get("content") or "" for delta in deltas),
        "reasoning": "".join(delta.get("reasoning_content", "") for delta in deltas),
        "tool_calls": calls_of([call for delta in deltas for call in delta.get("tool_calls", [])]),
        "finish_reason": chunks[-1]["choices"][0]["finish_reason"],
    }


WHOLE = [entry for entry in wire_files.chats(".json") if "error_class" not in entry["expect"]]
STREAMS = [entry for entry in wire_files.streams() if "error_class" not in entry["expect"]]
REFUSED = wire_files.errors() + [entry for entry in wire_files.chats(".json") if "error_class" in entry["expect"]]
BROKEN = [entry for entry in wire_files.streams() if "error_class" in entry["expect"]]
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize("entry", WHOLE, ids=name)
async def test_a_whole_answer(entry: dict[str, Any]) -> None:
    async with service(entry) as client:
        own = await client.post("/v1/chat", json=asked(entry))
        check(entry["expect"], natively(own.json()), NATIVE_COUNTS)
        openais = await client.post("/v1/chat/completions", json=asked(entry))
        check(entry["expect"], in_openai_form(openais.json()), OPENAI_COUNTS)


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("entry", STREAMS, ids=name)
async def test_a_stream(entry: dict[str, Any], size: int) -> None:
    async with service(entry, size=size) as client:
        own = await client.post("/v1/chat", json=asked(entry, stream=True))
        check(entry["expect"], natively_streamed(own.text), NATIVE_COUNTS)
    async with service(entry, size=size) as client:
        openais = await client.post("/v1/chat/completions", json=asked(entry, **WITH_USAGE))
        check(entry["expect"], in_openai_form_streamed(openais.text), OPENAI_COUNTS)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("entry", REFUSED, ids=name)
async def test_a_refusal(entry: dict[str, Any], stream: bool) -> None:
    error_class = entry["expect"]["error_class"]
    async with service(entry) as client:
        own = await client.post("/v1/chat", json=asked(entry, stream=stream))
        assert own.status_code == FAILURE_MEANINGS[error_class].error.status
        error = own.json()["error"]
        assert (error["class"], error["status"], error["provider"]) == (
            error_class,
            own.status_code,
            own.json()["error"]["attempts"][0]["provider"],
        )
        assert (len(error["attempts"]), own.headers["x-lakehouse-attempts"]) == (1, "1")
        assert "sk-test" not in own.text
        openais = await client.post("/v1/chat/completions", json=asked(entry, stream=stream))
        assert openais.status_code == find_status(make_failure(error_class, ""))
        error = openais.json()["error"]
        assert error["code"] == (BY_CLASS[error_class].code if error_class in BY_CLASS else error_class)
        assert error["message"]


@pytest.mark.parametrize("size", [1, 4096])
@pytest.mark.parametrize("entry", BROKEN, ids=name)
async def test_a_stream_that_breaks(entry: dict[str, Any], size: int) -> None:
    expect = entry["expect"]
    async with service(entry, size=size) as client:
        own = await client.post("/v1/chat", json=asked(entry, stream=True))
        *pieces, last = sse_events(own.text)
        assert "".join(piece["text"] for piece in pieces) == expect["partial_content"]
        assert (last["type"], last["error"]["class"]) == ("error", expect["error_class"])
    async with service(entry, size=size) as client:
        openais = await client.post("/v1/chat/completions", json=asked(entry, stream=True))
        *chunks, last = sse_events(openais.text)
        assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == expect["partial_content"]
        assert last["error"]["code"] == expect["error_class"]
