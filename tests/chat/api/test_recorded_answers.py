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
from tools.kit.fake_dispatcher import chat_app, serve
from tools.kit.replayed_provider import BROKEN, KEYS, PROVIDERS, REFUSED, STREAMS, WHOLE, model_of, name, replay
from tools.kit.sse import sse_events

HI = [{"role": "user", "content": "Hi"}]


@asynccontextmanager
async def service(entry: dict[str, Any], *, size: int = 4096) -> AsyncIterator[httpx.AsyncClient]:
    """The chat group with all providers, each of which answers with this entry; nothing is retried."""
    transports = dict.fromkeys(PROVIDERS, replay(entry, size=size))
    kimi = KimiTable(wire="messages" if "messages" in entry["file"] else "chat")
    config = Config(chatd=ChatTable(kimi=kimi, policy=PolicyTable(retries=0)))
    async with (
        open_service_dispatcher(config, env=KEYS, transports=transports) as dispatcher,
        trio.open_nursery() as nursery,
    ):
        url = await serve(nursery, chat_app(dispatcher, max_body=4096))
        async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
            yield client
        nursery.cancel_scope.cancel()


def asked(entry: dict[str, Any], **more: object) -> dict[str, object]:
    """A request that goes to the entry's provider; OpenAI's own answers come through OpenRouter."""
    return {"model": model_of(entry), "messages": HI, **more}


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


def assemble_calls(deltas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The calls of a stream, whole or in fragments, as OpenAI's clients put them together."""
    calls: dict[int, dict[str, Any]] = {}
    for fragment in [call for delta in deltas for call in delta.get("tool_calls", [])]:
        function = calls.setdefault(fragment["index"], {"function": {"name": "", "arguments": ""}})["function"]
        function["name"] += fragment["function"].get("name") or ""
        function["arguments"] += fragment["function"].get("arguments") or ""
    return list(calls.values())


def in_openai_form_streamed(text: str) -> dict[str, Any]:
    *chunks, counts, end = sse_events(text)
    assert (counts["choices"], end) == ([], "[DONE]")
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    return {
        **counted(counts["usage"]),
        "content": "".join(delta.get("content") or "" for delta in deltas),
        "reasoning": "".join(delta.get("reasoning_content") or "" for delta in deltas),
        "tool_calls": calls_of(assemble_calls(deltas)),
        "finish_reason": chunks[-1]["choices"][0]["finish_reason"],
    }


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
