"""Answers in Ollama's form: every recorded answer of every dialect, whole, in any split, and cut anywhere."""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

import httpx
import pytest

from lakehouse.asgi.in_process import call_app
from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.router import Router
from lakehouse.chat.api.ollama.routes import ollama_routes
from lakehouse.chat.api.openai.errors import find_status
from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.chat.model.parts import JsonObject
from lakehouse.config import ChatTable, Config, KimiTable, PolicyTable
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.context import RequestContext
from lakehouse.core.provider_failures import make_failure
from tools.kit import wire_files
from tools.kit.replayed_provider import BROKEN, KEYS, PROVIDERS, REFUSED, STREAMS, WHOLE, model_of, name, replay

HI = [{"role": "user", "content": "Hi"}]
NOW = 1_795_860_000_123_456_789
CREATED = "2026-11-28T10:00:00.123456789Z"
LIMITS: Any = {"max_body": 4096, "timeout": 60.0, "idle_timeout": 60.0, "keep_alive": 5.0, "context_length": 4096}


@pytest.fixture(autouse=True)
def _fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOW)
    monkeypatch.setattr(time, "monotonic_ns", lambda: 0)


class Answered(NamedTuple):
    status: int
    content_type: str
    body: bytes

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.body.decode().splitlines()]


async def embed_nothing(document: JsonObject, *, context: RequestContext) -> bytes:
    raise NotImplementedError


async def ask(transport: httpx.AsyncBaseTransport, entry: dict[str, Any], path: str, **fields: object) -> Answered:
    """What a client is sent, when every provider answers over this transport and nothing is retried."""
    kimi = KimiTable(wire="messages" if "messages" in entry["file"] else "chat")
    config = Config(chatd=ChatTable(kimi=kimi, policy=PolicyTable(retries=0)))
    body = json.dumps({"model": model_of(entry), "messages": HI, "prompt": "Hi", **fields}).encode()
    async with open_service_dispatcher(config, env=KEYS, transports=dict.fromkeys(PROVIDERS, transport)) as dispatcher:
        router = Router(ollama_routes(dispatcher, embed_nothing, **LIMITS))
        app = RequestLifetimeMiddleware(router, active_requests=ActiveRequests())
        async with call_app(app, "POST", path, body=body) as response:
            kind = dict(response.headers)[b"content-type"].decode()
            return Answered(response.status, kind, await response.read())


def check(expect: dict[str, Any], message: dict[str, Any], end: dict[str, Any]) -> None:
    assert "content" not in expect or message["content"] == expect["content"]
    assert "reasoning" not in expect or message.get("thinking", "") == expect["reasoning"]
    calls = message.get("tool_calls", [])
    assert [[call["function"]["name"], call["function"]["arguments"]] for call in calls] == expect.get("tool_calls", [])
    assert [call["function"]["index"] for call in calls] == list(range(len(calls)))
    reason = "stop" if calls or expect["finish"] == "tool_calls" else expect["finish"]
    assert (end["done"], end["done_reason"]) == (True, reason)
    for count, named in (("prompt_eval_count", "prompt_tokens"), ("eval_count", "completion_tokens")):
        assert named not in expect or end[count] == expect[named]
    if "remote_model" in end:  # not relayed
        assert {type(end[name]) for name in ("total_duration", "eval_duration")} == {int}


@pytest.mark.parametrize("entry", WHOLE, ids=name)
async def test_a_whole_answer(entry: dict[str, Any]) -> None:
    answered = await ask(replay(entry), entry, "/api/chat", stream=False)
    assert (answered.status, answered.content_type) == (200, "application/json")
    document = json.loads(answered.body)
    check(entry["expect"], document["message"], document)
    if "remote_model" in document:
        assert document["created_at"] == CREATED
    else:
        assert answered.body == rename(entry)
    completion = json.loads((await ask(replay(entry), entry, "/api/generate", stream=False)).body)
    assert completion["response"] == document["message"]["content"]
    assert completion.get("thinking") == document["message"].get("thinking")


def collect(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that the lines of a stream make."""
    messages = [line["message"] for line in lines]
    return {
        "content": "".join(message["content"] for message in messages),
        "thinking": "".join(message.get("thinking", "") for message in messages),
        "tool_calls": [call for message in messages for call in message.get("tool_calls", [])],
    }


@pytest.mark.parametrize("entry", STREAMS, ids=name)
async def test_a_stream_in_any_split(entry: dict[str, Any]) -> None:
    splits = [await ask(replay(entry, size=size), entry, "/api/chat") for size in (1, 7, 4096)]
    assert {(answered.status, answered.content_type) for answered in splits} == {(200, "application/x-ndjson")}
    streams = [[without_durations(line) for line in answered.lines] for answered in splits]
    assert streams[0] == streams[1] == streams[2]
    *parts, end = splits[0].lines
    assert {line["done"] for line in parts} <= {False}
    if "remote_model" in end:
        assert {line["created_at"] for line in (*parts, end)} == {CREATED}
    else:
        assert splits[0].body == rename(entry)
    check(entry["expect"], collect(parts), end)


def rename(entry: dict[str, Any]) -> bytes:
    """The answer of an Ollama as it is passed on: its bytes, with the client's name of the model."""
    data = wire_files.body_of(entry).replace("\u2028".encode(), b"\\u2028")
    first = data.splitlines()[0] if entry["file"].endswith(".ndjson") else data
    return data.replace(json.dumps(json.loads(first)["model"]).encode(), json.dumps(model_of(entry)).encode())


def without_durations(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if not key.endswith("_duration")}


@pytest.mark.parametrize("entry", STREAMS, ids=name)
async def test_a_stream_that_is_cut_ends_in_an_error(entry: dict[str, Any]) -> None:
    size, expect = len(wire_files.body_of(entry)), entry["expect"]
    for end in range(1, size, max(1, size // 12)):
        answered = await ask(replay(entry, end=end), entry, "/api/chat")
        *parts, last = answered.lines
        if answered.status == 200 and "error" not in last:  # only the end mark and what follows it was cut off
            counts = ("prompt_tokens", "completion_tokens")
            check({key: value for key, value in expect.items() if key not in counts}, collect(parts), last)
        else:
            assert (list(last), type(last["error"])) == (["error"], str)
            assert answered.status == 200 or not parts


@pytest.mark.parametrize("entry", BROKEN, ids=name)
async def test_a_stream_that_breaks(entry: dict[str, Any]) -> None:
    *parts, last = (await ask(replay(entry), entry, "/api/chat")).lines
    assert "".join(line["message"]["content"] for line in parts) == entry["expect"]["partial_content"]
    assert list(last) == ["error"]


@pytest.mark.parametrize("entry", REFUSED, ids=name)
async def test_a_refusal(entry: dict[str, Any]) -> None:
    for stream in (False, True):
        answered = await ask(replay(entry), entry, "/api/chat", stream=stream)
        assert answered.status == find_status(make_failure(entry["expect"]["error_class"], ""))
        assert list(json.loads(answered.body)) == ["error"]
        assert b"sk-test" not in answered.body
