"""Ollama's own Python client against the whole service, over an Ollama and over a provider of another form."""

from __future__ import annotations

import json
import re
import tomllib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import ollama as sdk
import pytest
import trio

from lakehouse.config import parse_config
from lakehouse.runtime.preflight import preflight
from lakehouse.testing.upstreams import ReceivedRequest, UpstreamScript, open_upstream, respond
from tools.kit.service_with_providers import (
    ServiceWithProviders,
    answer_hello,
    answer_in_turn,
    chunk,
    completion,
    events,
    line,
    lines,
    ollama,
    open_service_with_providers,
    streamed_response,
)

HI: Any = [{"role": "user", "content": "Hi"}]
PNG = b"\x89PNG\r\n\x1a\n...."
CALLS = [{"function": {"name": "get_weather", "arguments": {"city": city}}} for city in ("Ghent", "Lyon")]


@asynccontextmanager
async def client_of(scripts: dict[str, UpstreamScript] | None = None, **tables: Any) -> AsyncIterator[tuple[sdk.Client, ServiceWithProviders]]:  # fmt: skip
    async with open_service_with_providers(scripts=scripts or {}, **tables) as there:
        with closing(sdk.Client(there.service.urls[0], timeout=20, trust_env=False)) as client:
            yield client, there


async def in_thread(call: Callable[[], Any]) -> Any:
    return await trio.to_thread.run_sync(call)


def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: its name
    """
    return f"rain in {city}"


@pytest.mark.parametrize("model", ["ollama/m", "kimi/m", "openrouter/v/m", "opencode/gpt-5", "fast:latest"])
async def test_a_chat_and_a_completion_whole_and_streamed(model: str) -> None:
    async with client_of(models={"fast": ["kimi/m"]}) as (client, _):

        def talk() -> None:
            whole = client.chat(model, HI, options={"num_ctx": 4096, "temperature": 0}, keep_alive="5m")
            assert (whole.model, whole.message.role, whole.message.content) == (model, "assistant", "Hello.")
            assert (whole.done, whole.done_reason, whole.prompt_eval_count, whole.eval_count) == (True, "stop", 7, 3)
            assert whole.total_duration is not None
            assert whole.total_duration >= (whole.eval_duration or 0) > 0
            parts = list(client.chat(model, HI, stream=True))
            assert "".join(part.message.content or "" for part in parts) == "Hello."
            assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
            assert (parts[-1].done_reason, parts[-1].eval_count) == ("stop", 3)
            generated = client.generate(model, "Hi", system="Be brief.")
            assert (generated.response, generated.done_reason) == ("Hello.", "stop")
            pieces = list(client.generate(model, "Hi", stream=True))
            assert "".join(piece.response or "" for piece in pieces) == "Hello."
            assert client.generate(model).done_reason == "load"

        await in_thread(talk)


@pytest.mark.parametrize("model", ["ollama/m", "openrouter/v/m"])
async def test_tools_go_there_and_back_without_ids(model: str) -> None:
    own = [{"id": f"x{n}", "type": "function", "function": {"name": "get_weather", "arguments": json.dumps(call["function"]["arguments"])}} for n, call in enumerate(CALLS)]  # fmt: skip
    script = {
        "ollama": answer_in_turn(
            ollama("", thinking="Two cities.", tool_calls=CALLS),
            streamed_response(lines(line(thinking="Two cities."), line(tool_calls=CALLS), line(done=True))),
            ollama("Rain."),
        ),
        "openrouter": answer_in_turn(
            completion(None, finish="tool_calls", reasoning="Two cities.", tool_calls=own),
            streamed_response(
                events(
                    chunk(reasoning="Two cities."),
                    *[chunk(tool_calls=[{"index": n, **call}]) for n, call in enumerate(own)],
                    chunk("tool_calls"),
                )
            ),
            completion("Rain."),
        ),
    }
    provider = model.partition("/")[0]
    async with client_of({provider: script[provider]}) as (client, there):

        def talk() -> None:
            first = client.chat(model, HI, tools=[get_weather], think=True)
            parts = list(client.chat(model, HI, tools=[get_weather], think=True, stream=True))
            streamed = [call for part in parts for call in part.message.tool_calls or ()]
            assert "".join(part.message.thinking or "" for part in parts) == first.message.thinking == "Two cities."
            assert streamed == first.message.tool_calls
            assert [call.function.arguments for call in streamed] == [{"city": "Ghent"}, {"city": "Lyon"}]
            assert first.done_reason == "stop"
            results = [{"role": "tool", "tool_name": call.function.name, "content": get_weather(**call.function.arguments)} for call in streamed]  # fmt: skip
            last = client.chat(model, [*HI, first.message, *results], tools=[get_weather])
            assert last.message.content == "Rain."

        await in_thread(talk)
        history = there.requests[provider][-1].json["messages"]
        if provider == "ollama":  # which is sent what the client wrote
            assert [call["function"]["arguments"]["city"] for call in history[1]["tool_calls"]] == ["Ghent", "Lyon"]
            assert [(result["tool_name"], result["content"]) for result in history[2:]] == [
                ("get_weather", "rain in Ghent"),
                ("get_weather", "rain in Lyon"),
            ]
            return
        ids = [call["id"] for call in history[1]["tool_calls"]]
        assert len(set(ids)) == 2
        assert [(result["tool_call_id"], result["content"]) for result in history[2:]] == [
            (ids[0], "rain in Ghent"),
            (ids[1], "rain in Lyon"),
        ]


async def test_images_and_structured_answers() -> None:
    schema = {"type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"]}
    said = '{"kind": "lake"}'
    scripts = {"ollama": answer_in_turn(ollama(said)), "openrouter": answer_in_turn(completion(said))}
    async with client_of(scripts) as (client, there):

        def talk() -> None:
            asked: Any = [{"role": "user", "content": "What is it?", "images": [PNG]}]
            for model in ("ollama/m", "openrouter/v/m"):
                assert client.chat(model, asked, format=schema).message.content == said
                assert client.generate(model, "What is it?", images=[PNG], format=schema).response == said

        await in_thread(talk)
        data = b64encode(PNG).decode()
        for request in there.requests["ollama"]:
            assert request.json["messages"][-1]["images"] == [data]
            assert request.json["format"] == schema
        for request in there.requests["openrouter"]:
            assert request.json["messages"][-1]["content"][1]["image_url"]["url"] == f"data:image/png;base64,{data}"
            assert request.json["response_format"]["json_schema"]["schema"] == schema


async def test_lines_that_the_client_would_split_are_whole() -> None:
    said = "one\u2028two\u2029three\u0085four\nfive"
    async with client_of({"ollama": answer_in_turn(streamed_response(lines(line(said), line(done=True))))}) as (client, _):  # fmt: skip
        parts = await in_thread(lambda: list(client.chat("ollama/m", HI, stream=True)))
        assert parts[0].message.content == said


async def show_and_list(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    """An Ollama that also describes its model and has it in memory."""
    info = {"general.architecture": "qwen3", "general.basename": "Qwen3", "qwen3.context_length": 40_960}
    answers: dict[str, dict[str, object]] = {
        "/api/show": {"capabilities": ["completion", "tools", "thinking"], "model_info": info, "template": "t"},
        "/api/tags": {"models": [{"name": "qwen3:8b", "modified_at": "2026-10-01T10:00:00Z"}]},
        "/api/ps": {"models": [{"name": "qwen3:8b", "size_vram": 7, "expires_at": "2026-10-01T10:00:00Z"}]},
    }
    if asked.target in answers:
        await stream.send_all(respond(answers[asked.target]))
    else:
        await answer_hello(asked, stream)


async def test_the_models_are_listed_and_described() -> None:
    async with client_of({"ollama": show_and_list}, models={"fast": ["kimi/m"]}) as (client, _):

        def talk() -> None:
            listed = client.list().models
            names = [model.model for model in listed]
            assert names[:3] == ["fast:latest", "ollama/qwen3:8b", "ollama_cloud/m:latest"]
            assert listed[1].modified_at is not None
            assert listed[1].modified_at.year == 2026
            own = client.show("ollama/qwen3:8b")
            assert own.capabilities == ["completion", "tools", "thinking"]
            assert own.modelinfo is not None
            assert own.modelinfo["qwen3.context_length"] == 40_960
            for name in ("fast:latest", "kimi/m"):
                assumed = client.show(name)
                assert assumed.capabilities == ["completion", "tools", "vision"]
                assert assumed.modelinfo is not None
                architecture = assumed.modelinfo["general.architecture"]
                assert assumed.modelinfo[f"{architecture}.context_length"] == 131_072
                assert assumed.modelinfo["general.basename"] == name.removesuffix(":latest")
            (loaded,) = client.ps().models
            assert (loaded.name, loaded.size_vram) == ("ollama/qwen3:8b", 7)
            assert all(client.chat(str(name), HI).message.content == "Hello." for name in names)

        await in_thread(talk)


async def test_texts_are_embedded() -> None:
    async def embedd(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
        vectors = [[len(text), 0.5] for text in asked.json["input"]]
        answer = {"model": "wordllama-256", "dimension": 2, "vectors": vectors, "usage": {"tokens": 4, "cached": 0}}
        await stream.send_all(respond(answer))

    async with open_upstream(embedd) as there, client_of(gateway={"embedd_url": there.url}) as (client, _):

        def talk() -> None:
            many = client.embed("wordllama-256", ["a lake", "a house"])
            assert (many.model, many.embeddings) == ("wordllama-256", [[6, 0.5], [7, 0.5]])
            assert many.prompt_eval_count == 4
            assert (many.total_duration or 0) > 0
            one = client.embed("wordllama-256:latest", "a lake", dimensions=64, truncate=False)
            assert (one.model, one.embeddings) == ("wordllama-256:latest", [[6, 0.5]])
            assert client.embed("wordllama-256", "").embeddings == []
            assert client.embeddings("wordllama-256", "a lake").embedding == [6, 0.5]

        await in_thread(talk)
        assert [(request.target, request.json) for request in there.requests[:2]] == [
            ("/embed", {"input": ["a lake", "a house"], "model": "wordllama-256", "truncate": True}),
            ("/embed", {"input": ["a lake"], "model": "wordllama-256", "truncate": False, "dimensions": 64}),
        ]


async def test_failures_are_the_clients_exceptions() -> None:
    broken = answer_in_turn(
        respond({"error": "model 'm' not found"}, 404),
        streamed_response(lines(line("Hel"))),
        streamed_response(lines(line("Hel"), {"error": "out of memory"})),
    )
    async with client_of({"ollama": broken}) as (client, _):

        def talk() -> None:
            with pytest.raises(sdk.ResponseError, match="not found") as missing:
                client.chat("ollama/m", HI)
            assert missing.value.status_code == 404
            for message in ("without its end|ended|closed", "out of memory"):
                stream = client.chat("ollama/m", HI, stream=True)
                assert next(stream).message.content == "Hel"
                with pytest.raises(sdk.ResponseError, match=message):
                    list(stream)
            with pytest.raises(sdk.ResponseError, match="`raw` is not supported") as refused:
                client.generate("ollama/m", "Hi", raw=True)
            assert refused.value.status_code == 400
            with pytest.raises(sdk.ResponseError, match="keeps none") as managed:
                client.pull("llama3.2")
            assert managed.value.status_code == 501
            with pytest.raises(sdk.ResponseError) as deleted:
                client.delete("llama3.2")
            assert deleted.value.status_code == 501

        await in_thread(talk)


PAGE = (
    (Path(__file__).parents[2] / "docs/clients.md").read_text().partition("## Ollama's form")[2].partition("\n## ")[0]
)


def blocks(language: str) -> list[str]:
    """What the page has for Ollama's clients to paste, in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_what_the_page_says_to_paste_is_valid() -> None:
    for text in blocks("toml"):
        config = parse_config({"chatd": {"ollama_url": ""}, **tomllib.loads(text)}).config
        assert config.ollama.bind is not None
        preflight(config, {"LAKEHOUSE_TOKEN": "t"})
    assert [list(json.loads(text)) for text in blocks("json")] == [
        ["github.copilot.chat.byok.ollamaEndpoint"],
        ["language_models"],
    ]


async def test_the_program_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = blocks("python")
    names: dict[str, Any] = {}
    async with open_service_with_providers() as there:
        url = there.service.urls[0]
        await in_thread(lambda: exec(program.replace("http://127.0.0.1:11434", url), names))
        names["client"].close()
    assert capsys.readouterr().out == "Hello."
