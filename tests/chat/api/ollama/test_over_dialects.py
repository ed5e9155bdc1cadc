"""Ollama's form over a provider of each dialect: what the client gets, and what the provider is sent."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from lakehouse.asgi.in_process import call_app
from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.router import Router
from lakehouse.asgi.types import App
from lakehouse.chat.api.ollama.routes import ollama_routes
from lakehouse.chat.model.parts import JsonObject
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.context import RequestContext
from tests.chat.api.open_responses.answers_kit import EVERYTHING
from tests.chat.api.open_responses.responses_kit import MODELS, body
from tools.kit.fake_providers import FakeProvider, Script, error_response, open_fake_dispatcher, settings
from tools.kit.service_with_providers import completion, message, ollama, response

LIMITS: Any = {"max_body": 65_536, "timeout": 60.0, "idle_timeout": 60.0, "keep_alive": 5.0, "context_length": 4096}
HI = [{"role": "user", "content": "Hi"}]
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("f", "g")]
PNG = b64encode(b"\x89PNG\r\n\x1a\n....").decode()

every_dialect = pytest.mark.parametrize("dialect", MODELS)
both_modes = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


async def embed_nothing(document: JsonObject, *, context: RequestContext) -> bytes:
    raise NotImplementedError


@dataclass
class Door:
    """A client of `/api/chat`, the provider behind it, and the contexts of the requests that have ended."""

    app: App
    provider: FakeProvider
    model: str
    contexts: list[RequestContext]

    async def ask(self, *, status: int = 200, **fields: Any) -> dict[str, Any]:
        """Return the only document of an answer, or the one that the lines of a stream make."""
        request = {"model": self.model, "messages": HI, **fields}
        async with call_app(self.app, "POST", "/api/chat", body=json.dumps(request).encode()) as answer:
            assert answer.status == status
            documents = [json.loads(line) for line in (await answer.read()).splitlines()]
        last: dict[str, Any] = documents[-1]
        if len(documents) > 1:
            messages = [document["message"] for document in documents]
            last["message"] = {
                "role": "assistant",
                "content": "".join(said["content"] for said in messages),
                **({"thinking": thought} if (thought := "".join(said.get("thinking", "") for said in messages)) else {}),
                **({"tool_calls": calls} if (calls := [c for said in messages for c in said.get("tool_calls", ())]) else {}),
            }  # fmt: skip
        return last

    @property
    def sent(self) -> dict[str, Any]:
        """The body of the last request that the provider was sent."""
        return self.provider.requests[-1].json

    @property
    def left_out(self) -> tuple[str, ...]:
        """The fields that the last request's provider was not sent."""
        return self.contexts[-1].left_out


@asynccontextmanager
async def open_door(dialect: str, *scripts: Script) -> AsyncIterator[Door]:
    name, model = MODELS[dialect]
    provider = FakeProvider(*scripts)
    providers: Any = {name: provider}
    contexts: list[RequestContext] = []
    async with open_fake_dispatcher(settings(policy={"retries": 0}), **providers) as dispatcher:
        router = Router(ollama_routes(dispatcher, embed_nothing, **LIMITS))
        app = RequestLifetimeMiddleware(router, active_requests=ActiveRequests(), on_end=contexts.append)
        yield Door(app, provider, model, contexts)


HELLO = {
    "chat_completions": body(completion()),
    "responses": body(response()),
    "messages": body(message()),
    "ollama": body(ollama()),
}


@both_modes
@every_dialect
async def test_an_answer_with_everything_and_its_way_back(dialect: str, stream: bool) -> None:
    async with open_door(dialect, EVERYTHING[dialect][stream], HELLO[dialect]) as door:
        answer = await door.ask(stream=stream, tools=TOOLS)
        assert answer["model"] == door.model
        provider, _, served = door.model.partition("/")
        assert (answer["remote_host"], answer["remote_model"]) == (provider, served)
        assert (answer["done"], answer["done_reason"]) == (True, "stop")
        said = answer["message"]
        assert (said["content"], said["thinking"]) == ("Hi", "Think." if dialect == "responses" else "Hm.")
        calls = [(call["function"]["name"], call["function"]["arguments"]) for call in said["tool_calls"]]
        assert calls == [("f", {"a": 1}), ("g", {})]
        counts = (answer["prompt_eval_count"], answer["eval_count"])
        expected = {"ollama": (7, 3), "responses": (10, 20)}.get(dialect, (10, 3))  # with what was cached
        assert counts == expected
        history = {**said, "tool_calls": [{"function": call["function"]} for call in said["tool_calls"]]}  # without ids
        results = [{"role": "tool", "tool_name": name, "content": name} for name in ("g", "f")]
        again = await door.ask(stream=False, tools=TOOLS, messages=[*HI, history, *results])
        assert again["message"]["content"] == "Hello."
        assert PAIRS[dialect](door.sent) == [("f", "f"), ("g", "g")]


def pair_openai(sent: dict[str, Any]) -> list[tuple[str, str]]:
    _, asked, *results = sent["messages"]
    said = {result["tool_call_id"]: result["content"] for result in results}
    return [(call["function"]["name"], said[call["id"]]) for call in asked["tool_calls"]]


def pair_names(sent: dict[str, Any]) -> list[tuple[str, str]]:
    """Of a relayed request, which has no ids."""
    _, asked, *results = sent["messages"]
    said = {result["tool_name"]: result["content"] for result in results}
    return [(call["function"]["name"], said[call["function"]["name"]]) for call in asked["tool_calls"]]


def pair_items(sent: dict[str, Any]) -> list[tuple[str, str]]:
    said = {item["call_id"]: item["output"] for item in sent["input"] if item.get("type") == "function_call_output"}
    calls = [item for item in sent["input"] if item.get("type") == "function_call"]
    return [(call["name"], said[call["call_id"]]) for call in calls]


def pair_blocks(sent: dict[str, Any]) -> list[tuple[str, str]]:
    blocks = [block for turn in sent["messages"] for block in turn["content"]]
    said = {block["tool_use_id"]: block["content"] for block in blocks if block["type"] == "tool_result"}
    return [(block["name"], said[block["id"]]) for block in blocks if block["type"] == "tool_use"]


PAIRS: dict[str, Callable[[dict[str, Any]], list[tuple[str, str]]]] = {
    "chat_completions": pair_openai,
    "responses": pair_items,
    "messages": pair_blocks,
    "ollama": pair_names,
}
"""How each dialect says which result belongs to which call."""


@every_dialect
async def test_system_and_images(dialect: str) -> None:
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What?", "images": [PNG]}]
    async with open_door(dialect, HELLO[dialect]) as door:
        await door.ask(stream=False, messages=asked)
        sent = json.dumps(door.sent)
    assert all(said in sent for said in ("Be brief.", "What?", PNG))
    assert ("image/png" in sent) == (dialect != "ollama")


SCHEMA = {"type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"]}
SAID = '{"kind": "lake"}'
STRUCTURED = {
    "chat_completions": body(completion(SAID)),
    "responses": body(response(SAID)),
    "messages": body(message(SAID)),
    "ollama": body(ollama(SAID)),
}


@pytest.mark.parametrize("form", ["json", SCHEMA], ids=["json", "schema"])
@every_dialect
async def test_structured_answers(dialect: str, form: object) -> None:
    async with open_door(dialect, STRUCTURED[dialect]) as door:
        answer = await door.ask(stream=False, format=form)
    assert json.loads(answer["message"]["content"]) == {"kind": "lake"}


@pytest.mark.parametrize(
    ("dialect", "document", "reason"),
    [
        ("chat_completions", completion("Hi", finish="length"), "length"),
        ("chat_completions", completion("Hi", finish="content_filter"), "content_filter"),
        ("messages", message("Hi", stop="max_tokens"), "length"),
        ("messages", message("Hi", stop="stop_sequence"), "stop"),
        ("responses", {**response("Hi"), "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ("ollama", {**ollama("Hi"), "done_reason": "length"}, "length"),
    ],
)  # fmt: skip
async def test_reasons_for_the_end(dialect: str, document: dict[str, object], reason: str) -> None:
    async with open_door(dialect, body(document)) as door:
        assert (await door.ask(stream=False))["done_reason"] == reason


OPTIONS = {
    "temperature": 0.5,
    "top_p": 0.9,
    "num_predict": 50,
    "stop": ["x"],
    "top_k": 3,
    "num_ctx": 4096,
    "mirostat": 1,
}


@every_dialect
async def test_options_reach_what_has_a_place_for_them(dialect: str) -> None:
    async with open_door(dialect, HELLO[dialect]) as door:
        options = dict(OPTIONS)
        if dialect == "responses":  # which has no place for it
            refused = await door.ask(status=400, options=options)
            assert refused["error"].startswith("`options.stop`")
            del options["stop"]
        await door.ask(stream=False, options=options, keep_alive="5m", truncate=False)
        sent, left_out = door.sent, door.left_out
    if dialect == "ollama":
        assert sent["options"] == options
        assert (sent["keep_alive"], sent["truncate"], left_out) == ("5m", False, ())
        return
    assert not {"options", "keep_alive", "truncate", "num_ctx", "mirostat"} & sent.keys()
    assert {"keep_alive", "truncate", "options.num_ctx", "options.mirostat", "options.top_k"} <= set(left_out)
    limit = {"chat_completions": "max_tokens", "messages": "max_tokens", "responses": "max_output_tokens"}[dialect]
    assert sent[limit] == 50


@both_modes
@every_dialect
async def test_an_unknown_field_travels_to_an_ollama_only(dialect: str, stream: bool) -> None:
    async with open_door(dialect, EVERYTHING[dialect][stream]) as door:
        if dialect == "ollama":
            await door.ask(stream=stream, brand_new=7)
            assert door.sent["brand_new"] == 7
        else:
            refused = await door.ask(status=400, stream=stream, brand_new=7)
            assert list(refused) == ["error"]
            assert refused["error"].startswith("`brand_new` cannot be sent")
            assert not door.provider.requests


@every_dialect
async def test_mistakes_have_the_names_of_the_clients_fields(dialect: str) -> None:
    async with open_door(dialect, HELLO[dialect]) as door:
        for fields, name in (
            ({"options": {"num_predict": "many"}}, "options.num_predict"),
            ({"tools": [{"type": "function"}]}, "tools[0]"),
            ({"format": {"type": "nonsense"}}, "format"),
        ):
            refused = await door.ask(status=400, **fields)
            assert f"`{name}" in refused["error"]
        assert not door.provider.requests


async def test_an_image_that_is_refused_has_the_clients_name() -> None:
    for text, at in (("Look.", 0), ("", 0)):
        asked = [*HI, {"role": "system", "content": text, "images": [PNG]}]
        async with open_door("messages", HELLO["messages"]) as door:
            refused = await door.ask(status=400, messages=asked)
            assert refused["error"].startswith(f"`messages[1].images[{at}]` cannot be sent")


@both_modes
@pytest.mark.parametrize(("given", "status"), [(401, 502), (404, 404), (429, 429), (500, 502), (503, 502)])
async def test_failures_of_providers_keep_their_words(given: int, status: int, stream: bool) -> None:
    for dialect in MODELS:
        async with open_door(dialect, error_response(given, "these are its words")) as door:
            refused = await door.ask(status=status, stream=stream)
            assert list(refused) == ["error"]
            assert "these are its words" in refused["error"]


@pytest.mark.parametrize(("think", "sent"), [(None, False), (True, True), ("high", "high"), (False, False)])
async def test_thinking_that_is_not_said_is_the_services_default(think: object, sent: object) -> None:
    async with open_door("ollama", HELLO["ollama"]) as door:
        await door.ask(stream=False, think=think)
        assert door.sent["think"] == sent
