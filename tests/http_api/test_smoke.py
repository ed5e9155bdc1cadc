"""The six acceptance gates of the service that this one replaces, over real HTTP, and a chat with the embedded model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from lakehouse.testing.upstreams import ReceivedRequest, ScriptedUpstream, open_upstream, respond
from tools.kit.in_process_service import client_of, make_config, open_service

HELLO = [{"role": "user", "content": "hello"}]


async def ollama(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    """Knows the model qwen3:8b and no other."""
    model = asked.json["model"]
    if model != "qwen3:8b":
        await stream.send_all(respond({"error": f"model '{model}' not found"}, 404))
        return
    answer = {
        "model": model,
        "created_at": "2026-11-01T12:00:00.123456789Z",
        "message": {"role": "assistant", "content": "Hello there."},
        "done": True,
        "done_reason": "stop",
        "total_duration": 51_000_000,
        "prompt_eval_count": 11,
        "eval_count": 4,
    }
    await stream.send_all(respond(answer))


@asynccontextmanager
async def with_ollama() -> AsyncIterator[tuple[httpx.AsyncClient, ScriptedUpstream]]:
    async with open_upstream(ollama) as there:
        async with open_service(make_config(chatd={"ollama_url": there.url})) as service, client_of(service) as client:
            yield client, there


async def test_gate_1_the_providers_are_exactly_the_registered_ones() -> None:
    async with with_ollama() as (client, _):
        response = await client.get("/v1/chat/providers")
        assert response.status_code == 200
        assert response.json() == {
            "providers": [{"name": "ollama", "available": True, "default": True}],
            "default": "ollama",
        }


async def test_gate_2_a_bare_model_goes_to_ollama() -> None:
    async with with_ollama() as (client, there):
        response = await client.post("/v1/chat", json={"model": "qwen3:8b", "messages": HELLO})
        assert response.status_code == 200
        answer = response.json()
        assert answer["content"] == "Hello there."
        assert (answer["input_tokens"], answer["output_tokens"]) == (11, 4)
        assert answer["latency_ms"] > 0
        assert (answer["provider"], answer["model"], answer["finish_reason"]) == ("ollama", "qwen3:8b", "stop")
        assert [asked.target for asked in there.requests] == ["/api/chat"]
        assert there.requests[0].json["think"] is False
        assert there.requests[0].json["stream"] is False


async def test_gate_3_the_prefix_does_not_arrive_upstream() -> None:
    async with with_ollama() as (client, there):
        response = await client.post("/v1/chat", json={"model": "ollama/qwen3:8b", "messages": HELLO})
        assert response.status_code == 200
        assert there.requests[0].json["model"] == "qwen3:8b"


async def test_gate_4_a_cloud_model_without_a_key_is_404_and_nobody_is_called() -> None:
    async with with_ollama() as (client, there):
        response = await client.post("/v1/chat", json={"model": "kimi-k2.6:cloud", "messages": HELLO})
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "ErrProviderNotFound"
        assert there.requests == []


async def test_gate_5_a_foreign_prefix_reaches_ollama_unchanged_and_its_404_is_a_502() -> None:
    async with with_ollama() as (client, there):
        response = await client.post("/v1/chat", json={"model": "unknown/m", "messages": HELLO})
        assert there.requests[0].json["model"] == "unknown/m"
        assert response.status_code == 502
        error = response.json()["error"]
        assert (error["code"], error["class"], error["upstream_status"]) == ("ErrUpstream", "model_not_found", 404)


@pytest.mark.parametrize(
    "body", [{"messages": HELLO}, {"model": "", "messages": HELLO}, {"model": None, "messages": HELLO}]
)
async def test_gate_6_a_missing_model_is_400(body: dict[str, object]) -> None:
    async with with_ollama() as (client, there):
        response = await client.post("/v1/chat", json=body)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "ErrBadRequest"
        assert "model" in response.json()["error"]["message"]
        assert there.requests == []


async def test_a_chat_with_the_embedded_model() -> None:
    pytest.importorskip("xllamacpp", reason="the extra `local` is not installed")
    config = make_config(chatd={"default": "local", "local": {"demo": True}})
    async with open_service(config) as service, client_of(service) as client:
        response = await client.post("/v1/chat", json={"model": "demo", "messages": HELLO, "max_tokens": 8})
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["provider"] == "local"
        assert answer["input_tokens"] > 0
        assert 0 < answer["output_tokens"] <= 8
