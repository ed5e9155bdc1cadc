"""OpenAI's Python client against the whole service, with the embedded model and with an Ollama on a real socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any, Literal

import openai as sdk
import pydantic
import pytest
import trio

from lakehouse.testing.upstreams import ReceivedRequest, ScriptedUpstream, UpstreamScript, never_answer, open_upstream
from tools.kit.in_process_service import make_config, open_service

HI: Any = [{"role": "user", "content": "Hi"}]
needs_llama = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("xllamacpp", "gguf", "numpy")),
    reason="the extra `local` is not installed: pip install '.[local]'",
)


@asynccontextmanager
async def client_of(**chatd: Any) -> AsyncIterator[sdk.OpenAI]:
    async with open_service(make_config(chatd=chatd)) as service:
        with sdk.OpenAI(base_url=f"{service.urls[0]}/v1", api_key="none", max_retries=0, timeout=30) as client:
            yield client


async def test_what_the_door_and_the_deadline_say_is_in_the_envelope_too() -> None:
    async with open_upstream(never_answer) as there:
        config = make_config(chatd={"ollama_url": there.url})
        async with open_service(config, env={"LAKEHOUSE_TOKEN": "ours"}) as service:

            def ask(api_key: str, **headers: str) -> Any:
                with sdk.OpenAI(base_url=f"{service.urls[0]}/v1", api_key=api_key, max_retries=0) as client:
                    client.chat.completions.create(model="m", messages=HI, extra_headers=headers)

            with pytest.raises(sdk.AuthenticationError) as refused:
                await trio.to_thread.run_sync(ask, "theirs")
            assert (refused.value.code, refused.value.type) == ("invalid_api_key", "invalid_request_error")
            with pytest.raises(sdk.InternalServerError) as late:
                await trio.to_thread.run_sync(lambda: ask("ours", **{"X-Request-Timeout-Ms": "50"}))
            assert (late.value.status_code, late.value.code, late.value.type) == (504, "timeout", "server_error")


@asynccontextmanager
async def client_with_ollama(script: UpstreamScript) -> AsyncIterator[tuple[sdk.OpenAI, ScriptedUpstream]]:
    async with open_upstream(script) as there, client_of(ollama_url=there.url) as client:
        yield client, there


class Dwelling(pydantic.BaseModel):
    kind: Literal["lake", "house"]
    wet: bool


@needs_llama
async def test_the_usual_calls_with_the_embedded_model() -> None:
    def talk(client: sdk.OpenAI) -> None:
        create = client.chat.completions.create
        whole = create(model="demo", messages=HI, max_tokens=8)
        assert whole.usage is not None
        assert 0 < whole.usage.completion_tokens <= 8
        chunks = list(
            create(model="demo", messages=HI, max_tokens=8, stream=True, stream_options={"include_usage": True})
        )
        assert chunks[-1].usage is not None
        assert 0 < chunks[-1].usage.completion_tokens <= 8
        assert chunks[-2].choices[0].finish_reason in ("stop", "length")
        parsed = client.chat.completions.parse(model="demo", messages=HI, response_format=Dwelling, max_tokens=100)
        assert isinstance(parsed.choices[0].message.parsed, Dwelling)
        names = [model.id for model in client.models.list()]
        assert [create(model=name, messages=HI, max_tokens=1).model for name in names] == ["demo"]

    async with client_of(default="local", local={"demo": True}) as client:
        await trio.to_thread.run_sync(talk, client)


TOOL: Any = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


async def test_tools_whole_and_streamed_with_their_results_sent_back() -> None:
    calls = [{"function": {"name": "get_weather", "arguments": {"city": city}}} for city in ("Ghent", "Lyon")]
    asks_for_tools = {"role": "assistant", "content": "", "tool_calls": calls}
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 9, "eval_count": 3}

    async def ollama(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
        messages: Any = asked.json["messages"]
        says = {"role": "assistant", "content": "Cold."} if messages[-1]["role"] == "tool" else asks_for_tools
        await stream.send_all(answered({"model": "m", "message": says, **end}))

    def talk(client: sdk.OpenAI) -> None:
        create: Any = client.chat.completions.create
        message = create(model="m", messages=HI, tools=[TOOL]).choices[0].message
        with client.chat.completions.stream(model="m", messages=HI, tools=[TOOL]) as events:
            for _ in events:
                pass
            streamed: Any = events.get_final_completion().choices[0].message
        for asked_for in (message, streamed):
            made = [(call.function.name, json.loads(call.function.arguments)) for call in asked_for.tool_calls]
            assert made == [("get_weather", {"city": "Ghent"}), ("get_weather", {"city": "Lyon"})]
        results = [{"role": "tool", "tool_call_id": call.id, "content": "3 C"} for call in message.tool_calls]
        assert create(model="m", messages=[*HI, message, *results]).choices[0].message.content == "Cold."

    async with client_with_ollama(ollama) as (client, there):
        await trio.to_thread.run_sync(talk, client)
        history: Any = there.requests[-1].json["messages"]
        assert [call["function"]["arguments"] for call in history[1]["tool_calls"]] == [
            {"city": "Ghent"},
            {"city": "Lyon"},
        ]
        assert [message["content"] for message in history[2:]] == ["3 C", "3 C"]


async def test_abandoning_a_stream_closes_its_upstream_at_once() -> None:
    async def ollama(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        line = json.dumps({"model": "m", "message": {"role": "assistant", "content": "Once"}, "done": False}) + "\n"
        head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
        await stream.send_all(f"{head}{len(line):x}\r\n{line}\r\n".encode())
        await stream.receive_some()  # and no more, until the connection is closed

    def abandon(client: sdk.OpenAI) -> None:
        with client.chat.completions.create(model="m", messages=HI, stream=True) as stream:
            assert next(stream).choices[0].delta.content == "Once"

    async with client_with_ollama(ollama) as (client, there):
        await trio.to_thread.run_sync(abandon, client)
        with trio.fail_after(20):
            while not there.closed:
                await trio.sleep(0.001)


def answered(document: object) -> bytes:
    """A document as a whole answer, which is also a stream of one line."""
    body = json.dumps(document) + "\n"
    return f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
