"""What a client of OpenAI's form sends, as it reaches each upstream: over real HTTP, with every provider scripted.

Each table says what is asked for and what the upstream is sent; it is run whole and streamed, and in both forms where
the native form has the field.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.house import HELLO, House, house

Table = list[tuple[str, dict[str, Any], dict[str, Any]]]

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
OTHER_CALL = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "g", "parameters": {"type": "object"}}}

ALL = ["ollama/m", "ollama_cloud/m", "openrouter/v/m", "opencode/m", "opencode/gpt-5", "opencode/claude-5", "kimi/m"]
"""A model of every provider, and of every form that is spoken."""


async def sent(there: House, form: str, **fields: Any) -> list[dict[str, Any]]:
    """What upstreams are sent for this request, asked for whole and streamed."""
    there.forget()
    ask = there.chat if form == "native" else there.complete
    for stream in (False, True):
        answer = await ask(**fields, stream=stream)
        assert answer.status_code == 200, answer.text
    return [asked.json for requests in there.asked.values() for asked in requests]


async def refusal(there: House, form: str, **fields: Any) -> str:
    """What is said to a request that is refused with 400, in both modes, before anybody is asked."""
    there.forget()
    ask = there.chat if form == "native" else there.complete
    said = set()
    for stream in (False, True):
        answer = await ask(**fields, stream=stream)
        assert answer.status_code == 400, answer.text
        said.add(answer.json()["error"]["message"])
    assert there.asked == {}
    (only,) = said
    return str(only)


def picked(body: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """The fields of a body that an expectation speaks of; what is not there is None."""
    return {name: body.get(name) for name in wanted}


# Nothing at all, said in the ways that clients say it: it is not sent.
EMPTY: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"stop": []}, ("native", "openai")),
    ({"stop": ""}, ("native", "openai")),
    ({"stop": [""]}, ("native", "openai")),
    ({"tools": []}, ("native", "openai")),
    ({"tools": [], "tool_choice": "auto"}, ("native", "openai")),
    ({"tools": [], "tool_choice": "none"}, ("native", "openai")),
    ({"user": ""}, ("native", "openai")),
    ({"options": {}}, ("native",)),
    ({"metadata": {}}, ("openai",)),
    ({"logit_bias": {}}, ("openai",)),
    ({"reasoning_effort": ""}, ("openai",)),
    ({"stop": None, "tools": None, "tool_choice": None, "user": None}, ("native", "openai")),
    ({"metadata": None, "response_format": None, "store": None, "reasoning_effort": None}, ("openai",)),
    ({"parallel_tool_calls": None, "modalities": None, "audio": None, "prediction": None}, ("openai",)),
]


@pytest.mark.parametrize(("fields", "forms"), EMPTY, ids=[json.dumps(row[0]) for row in EMPTY])
async def test_an_empty_field_is_the_same_as_none(fields: dict[str, Any], forms: tuple[str, ...]) -> None:
    async with house() as there:
        for model in ALL:
            for form in forms:
                assert await sent(there, form, model=model, **fields) == await sent(there, form, model=model)


async def test_an_empty_stop_sequence_is_left_out_of_the_others() -> None:
    async with house() as there:
        for form in ("native", "openai"):
            for body in await sent(there, form, model="openrouter/v/m", stop=["", "a"]):
                assert body["stop"] == ["a"]


# Content of several text parts. An upstream that takes no list gets one string.
PARTS = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": PARTS},
    {"role": "developer", "content": PARTS},
    {"role": "user", "content": PARTS},
    {"role": "assistant", "content": PARTS, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": PARTS},
]


@pytest.mark.parametrize("form", ["native", "openai"])
async def test_text_in_parts_is_one_string_for_an_upstream_that_takes_no_list(form: str) -> None:
    async with house() as there:
        for model in ("opencode/deepseek-v4", "opencode/glm-5", "opencode/kimi-k3", "opencode/m", "ollama/m"):
            for body in await sent(there, form, model=model, messages=TALK):
                assert [message["content"] for message in body["messages"]] == ["ab"] * 5
        for body in await sent(there, form, model="openrouter/v/m", messages=TALK):
            assert [message["content"] for message in body["messages"]] == [PARTS] * 5
        mixed = [{"role": "user", "content": [*PARTS, IMAGE]}]
        for body in await sent(there, form, model="opencode/m", messages=mixed):
            assert body["messages"] == mixed
        for body in await sent(there, form, model="openrouter/v/m", messages=[{"role": "user", "content": []}]):
            assert body["messages"] == [{"role": "user", "content": ""}]


# Calls of tools whose reasoning is not known any more.
CALLED: list[dict[str, Any]] = [*HELLO, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c1", "content": "1"}]  # fmt: skip


@pytest.mark.parametrize("form", ["native", "openai"])
async def test_a_blank_reasoning_stands_beside_calls_where_one_is_demanded(form: str) -> None:
    async with house(chatd={"kimi": {"wire": "chat"}}) as there:
        for model in ("opencode/kimi-k2.6", "opencode/deepseek-v4-pro", "kimi/k3"):
            for body in await sent(there, form, model=model, messages=CALLED):
                assert body["messages"][1]["reasoning_content"] == " "
        for model in ("opencode/glm-5.2", "openrouter/v/m"):
            for body in await sent(there, form, model=model, messages=CALLED):
                assert "reasoning_content" not in body["messages"][1]
        known = [*HELLO, {**CALLED[1], "reasoning": "Hm."}, CALLED[2]]
        for body in await sent(there, form, model="opencode/kimi-k2.6", messages=known):
            assert body["messages"][1]["reasoning_content"] == "Hm."
        plain = [*HELLO, {"role": "assistant", "content": "a"}, *HELLO]
        for body in await sent(there, form, model="opencode/kimi-k2.6", messages=plain):
            assert body["messages"] == plain


# What a schema is called.
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
LABELS: list[dict[str, Any]] = [
    {"name": "city"},
    {"name": "city", "description": "A city.", "strict": True},
    {"name": "city", "description": "A city.", "strict": False},
    {"name": "city", "strict": None, "description": None},
]


@pytest.mark.parametrize("label", LABELS, ids=json.dumps)
async def test_the_label_of_a_schema_reaches_upstreams_that_have_a_place_for_it(label: dict[str, Any]) -> None:
    wanted = {name: value for name, value in label.items() if value is not None} | {"schema": SCHEMA}
    asked = {"type": "json_schema", "json_schema": {**label, "schema": SCHEMA}}
    fits = {"openrouter/v/m": "/chat/completions", "opencode/m": "/chat/completions", "opencode/gpt-5": "/responses"}
    async with house() as there:
        for model, path in fits.items():
            there.forget()
            for stream in (False, True):
                await there.complete(model, response_format=asked, stream=stream)
            for request in [request for requests in there.asked.values() for request in requests]:
                assert request.target.endswith(path)
            first = next(request.json for requests in there.asked.values() for request in requests)
            given: Any = first.get("response_format") or first.get("text")
            assert given == (
                {"format": {"type": "json_schema", **wanted}}
                if path == "/responses"
                else {"type": "json_schema", "json_schema": wanted}
            )


async def test_a_schema_that_is_told_in_the_prompt_is_told_with_its_description() -> None:
    asked = {
        "type": "json_schema",
        "json_schema": {"name": "city", "description": "A city of Italy.", "schema": SCHEMA},
    }
    async with house() as there:
        for model in ALL:
            there.forget()
            await there.complete(model, response_format=asked)
            ((request, *_),) = there.asked.values()
            assert "A city of Italy." in request.body.decode(), model


# Tools that are no functions.
SEARCH = {"type": "openrouter:web_search", "parameters": {"max_results": 3}}
SERVER_TOOLS: list[dict[str, Any]] = [
    {"tools": [SEARCH]},
    {"tools": [TOOL, SEARCH, {"type": "openrouter:datetime"}], "tool_choice": "auto"},
    {"tools": [TOOL, SEARCH], "tool_choice": {"type": "openrouter:web_search"}},
    {"tools": [TOOL, {"type": "web_search", "search_context_size": "low"}], "tool_choice": "required"},
    {"tools": [TOOL, SEARCH], "tool_choice": {"type": "function", "function": {"name": "f"}}},
]


@pytest.mark.parametrize("form", ["native", "openai"])
@pytest.mark.parametrize("fields", SERVER_TOOLS, ids=json.dumps)
async def test_a_tool_of_the_servers_reaches_openrouter_as_it_is(fields: dict[str, Any], form: str) -> None:
    async with house() as there:
        for body in await sent(there, form, model="openrouter/v/m", **fields):
            assert picked(body, {"tools": 0, "tool_choice": 0}) == {"tool_choice": None, **fields}
        place = next(place for place, tool in enumerate(fields["tools"]) if tool["type"] != "function")
        for model in ALL:
            if not model.startswith("openrouter/"):
                said = await refusal(there, form, model=model, **fields)
                assert said.startswith(f"`tools[{place}].type` "), said


# What is chosen among several tools.
BOTH = [TOOL, OTHER]
F = {"type": "function", "function": {"name": "f"}}
CHOICES: list[tuple[Any, list[str], Any, Any, Any]] = [  # the names of those offered; completions, messages, responses
    ({"mode": "auto", "tools": [F]}, ["f"], "auto", {"type": "auto"}, "auto"),
    ({"mode": "required", "tools": [F]}, ["f"], "required", {"type": "any"}, "required"),
    ({"mode": "auto", "tools": [F, {"type": "function", "name": "g"}]}, ["f", "g"], "auto", {"type": "auto"}, "auto"),
]


@pytest.mark.parametrize("form", ["native", "openai"])
@pytest.mark.parametrize("flat", [False, True], ids=["nested", "flat"])
@pytest.mark.parametrize("row", CHOICES, ids=json.dumps)
async def test_of_the_tools_that_are_allowed_no_other_can_be_called(row: Any, flat: bool, form: str) -> None:
    allowed, names, completions, messages, mode = row
    choice = {"type": "allowed_tools", **(allowed if flat else {"allowed_tools": allowed})}
    async with house() as there:
        for model in ALL:
            for body in await sent(there, form, model=model, tools=BOTH, tool_choice=choice):
                tools: Any = body["tools"]
                found = [tool.get("name") or tool["function"]["name"] for tool in tools]
                if model == "opencode/gpt-5":
                    listed = [{"type": "function", "name": name} for name in names]
                    assert found == ["f", "g"]
                    assert body["tool_choice"] == {"type": "allowed_tools", "mode": mode, "tools": listed}
                else:
                    assert found == names
                    wanted = messages if model in ("kimi/m", "opencode/claude-5") else completions
                    assert body.get("tool_choice") == (None if model.startswith("ollama") else wanted)


async def test_a_tool_of_the_servers_may_be_among_those_allowed() -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": SEARCH["type"]}]}}
    async with house() as there:
        for body in await sent(there, "openai", model="openrouter/v/m", tools=[TOOL, SEARCH], tool_choice=choice):
            assert (body["tools"], body["tool_choice"]) == ([SEARCH], "auto")


ALLOWED = "tool_choice.allowed_tools"
WRONG_CHOICES: list[tuple[dict[str, Any], str]] = [
    ({"tool_choice": {"type": "allowed_tools"}, "tools": BOTH}, "tool_choice.mode"),
    ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": [F]}}, "tools": BOTH}, f"{ALLOWED}.mode"),
    ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}, "tools": BOTH}, f"{ALLOWED}.tools"),
    ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}, "tools": BOTH}, f"{ALLOWED}.tools"),
    ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [F, 1]}}, "tools": BOTH}, f"{ALLOWED}.tools[1]"),
    ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [F]}}, "tools": [OTHER]}, f"{ALLOWED}.tools[0]"),
    ({"tool_choice": {"type": "custom", "custom": {"name": "f"}}, "tools": BOTH}, "tool_choice.type"),
    ({"tool_choice": {"type": "function", "function": {"name": "h"}}, "tools": BOTH}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": "required", "tools": []}, "tool_choice"),
    ({"tool_choice": F, "tools": []}, "tool_choice"),
    ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
    ({"tools": [TOOL, {"type": "mcp", "server_label": "x"}], "model": "kimi/m"}, "tools[1].type"),
    ({"tools": [{"type": 1}]}, "tools[0]"),
]  # fmt: skip


@pytest.mark.parametrize("form", ["native", "openai"])
@pytest.mark.parametrize(("fields", "name"), WRONG_CHOICES, ids=json.dumps)
async def test_a_choice_that_cannot_be_sent_is_refused_by_name(fields: dict[str, Any], name: str, form: str) -> None:
    async with house() as there:
        for model in ALL:
            assert (await refusal(there, form, **{"model": model, **fields})).startswith(f"`{name}` ")
