"""What a client of OpenAI's form sends, as it reaches each upstream: over real HTTP, with every provider scripted.

Each table says what is asked for and what the upstream is sent; it is run whole and streamed, and in both forms where
the native form has the field.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tools.kit.service_with_providers import (
    HELLO,
    ServiceWithProviders,
    answer_in_turn,
    completion,
    open_service_with_providers,
)
from tools.kit.telemetry_fixtures import CapturedLog

Table = list[tuple[str, dict[str, Any], dict[str, Any]]]

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
OTHER_CALL = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "g", "parameters": {"type": "object"}}}

ROUTER, ZEN, GPT, CLAUDE = "openrouter/v/m", "opencode/m", "opencode/gpt-5", "opencode/claude-5"

ALL = ["ollama/m", "ollama_cloud/m", "openrouter/v/m", "opencode/m", "opencode/gpt-5", "opencode/claude-5", "kimi/m"]
"""A model of every provider, and of every form that is spoken."""


async def sent(there: ServiceWithProviders, form: str, **fields: Any) -> list[dict[str, Any]]:
    """What upstreams are sent for this request, asked for whole and streamed."""
    there.clear_requests()
    ask = there.chat if form == "native" else there.complete
    for stream in (False, True):
        answer = await ask(**fields, stream=stream)
        assert answer.status_code == 200, answer.text
    return [asked.json for requests in there.requests.values() for asked in requests]


async def refusal(there: ServiceWithProviders, form: str, **fields: Any) -> str:
    """What is said to a request that is refused with 400, in both modes, before anybody is asked."""
    there.clear_requests()
    ask = there.chat if form == "native" else there.complete
    said = set()
    for stream in (False, True):
        answer = await ask(**fields, stream=stream)
        assert answer.status_code == 400, answer.text
        said.add(answer.json()["error"]["message"])
    assert there.requests == {}
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
    async with open_service_with_providers() as there:
        for model in ALL:
            for form in forms:
                assert await sent(there, form, model=model, **fields) == await sent(there, form, model=model)


async def test_an_empty_stop_sequence_is_left_out_of_the_others() -> None:
    async with open_service_with_providers() as there:
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
    async with open_service_with_providers() as there:
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


@pytest.mark.parametrize("form", ["native", "openai"])
async def test_a_developer_is_the_system_where_there_is_no_such_role(form: str) -> None:
    talk = [{"role": "developer", "content": "D"}, *HELLO]
    roles = {
        "ollama/m": "system",
        "opencode/m": "system",
        "opencode/deepseek-v4": "system",
        "opencode/glm-5": "system",
        "opencode/kimi-k3": "system",
        "kimi/k3": "system",
        "openrouter/v/m": "developer",
        "opencode/gpt-5": "developer",
    }
    async with open_service_with_providers(chatd={"kimi": {"wire": "chat"}}) as there:
        for model, role in roles.items():
            for body in await sent(there, form, model=model, messages=talk):
                assert (body.get("messages") or body["input"])[0] == {"role": role, "content": "D"}


@pytest.mark.parametrize("content", ["", " ", "\n\t ", [], [{"type": "text", "text": " "}]], ids=repr)
@pytest.mark.parametrize("form", ["native", "openai"])
async def test_white_space_beside_calls_is_no_content(form: str, content: object) -> None:
    """Kimi and Bedrock reject it as they reject an empty text."""
    talk = [*HELLO, {"role": "assistant", "content": content, "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c1", "content": "1"}]  # fmt: skip
    async with open_service_with_providers() as there:
        for body in await sent(there, form, model="openrouter/v/m", messages=talk):
            assert body["messages"][1]["content"] is None
        for body in await sent(there, form, model="opencode/kimi-k3", messages=talk):
            assert "content" not in body["messages"][1]


@pytest.mark.parametrize("form", ["native", "openai"])
async def test_no_parts_are_an_empty_text_of_the_responses_form(form: str) -> None:
    talk = [
        {"role": "user", "content": []},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": []},
    ]
    async with open_service_with_providers() as there:
        for body in await sent(there, form, model=GPT, messages=talk):
            assert body["input"][0] == {"role": "user", "content": ""}
            assert body["input"][2] == {"type": "function_call_output", "call_id": "c1", "output": ""}


async def test_how_long_a_model_stays_loaded_is_left_out_where_nobody_loads_one() -> None:
    for value in (300, "5m", -1, "-1s", 0):
        async with open_service_with_providers() as there:
            for model in (GPT, CLAUDE, "kimi/m"):
                for body in await sent(there, "openai", model=model, keep_alive=value):
                    assert "keep_alive" not in body
            for body in await sent(there, "openai", model="ollama/m", keep_alive=value):
                assert body["keep_alive"] == value


# The field that OpenAI's clients show, and a request whose fault is in it.
AT_FAULT: list[tuple[str, str, dict[str, Any]]] = [
    ("messages[0].content[0].image_url.url", "ollama/m", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}]}),
    ("messages[0].content[0].image_url.url", ROUTER, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://example.org/a.png"}}]}]}),
    ("messages[0].content[0].image_url.url", CLAUDE, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]}]}),
    ("messages[0].content[0].image_url.url", CLAUDE, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,%"}}]}]}),
    ("messages[0].content[0].image_url.url", GPT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:text/plain,x"}}]}]}),
    ("tools[0]", ROUTER, {"tools": [{"type": "function"}]}),
    ("tools[1].type", "ollama/m", {"tools": [TOOL, {"type": "web_search"}]}),
    ("tools[0].function.name", ROUTER, {"tools": [{"type": "function", "function": {"name": "structured_answer"}}]}),
    ("max_completion_tokens", ROUTER, {"max_completion_tokens": 0}),
    ("max_completion_tokens", ROUTER, {"max_completion_tokens": -1, "max_tokens": 5}),
    ("max_tokens", ROUTER, {"max_tokens": 0}),
    ("think", ROUTER, {"think": 3}),
    ("tool_choice", ROUTER, {"tools": [TOOL], "tool_choice": "any"}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "model", "fields"), AT_FAULT)
async def test_a_refusal_names_its_field_where_openais_clients_look(
    field: str, model: str, fields: dict[str, Any]
) -> None:
    async with open_service_with_providers() as there:
        for stream in (False, True):
            answer = await there.complete(model, **fields, stream=stream)
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["param"] == field
        assert there.requests == {}


# The ids of calls and results, in order, as a client has them, and as they are sent: each call's own, and its result's.
REPEATED: list[tuple[list[str], list[str]]] = [
    (["+c", "-c"], ["+c", "-c"]),
    (["+c", "-c", "+c", "-c"], ["+c", "-c", "+c_2", "-c_2"]),
    (["+c", "-c", "+c", "-c", "+c", "-c"], ["+c", "-c", "+c_2", "-c_2", "+c_3", "-c_3"]),
    (["+c", "+c", "-c", "-c"], ["+c", "+c_2", "-c", "-c_2"]),
    (["+c", "+d", "-d", "-c", "+c", "-c"], ["+c", "+d", "-d", "-c", "+c_2", "-c_2"]),
    (["+c", "-c", "-c", "+c", "-c"], ["+c", "-c", "-c", "+c_2", "-c_2"]),
    (["+f:0", "-f:0", "+f:0", "-f:0"], ["+f_0", "-f_0", "+f_0_2", "-f_0_2"]),
    (["+f:0", "-f:0", "+f_0", "-f_0"], ["+f_0", "-f_0", "+f_0_2", "-f_0_2"]),
    (["+", "-", "+", "-"], ["+call", "-call", "+call_2", "-call_2"]),
    (["+c", "-c", "+c"], ["+c", "-c", "+c_2"]),
    (["-c"], ["-c"]),
]


def ids_in(value: Any) -> list[str]:
    """The ids of calls (+) and results (-) in a body, in whichever form."""
    if isinstance(value, list):
        return [name for item in value for name in ids_in(item)]
    if not isinstance(value, dict):
        return []
    kind = value.get("type")
    if value.get("role") == "tool":
        return [f"-{value['tool_call_id']}"]
    if kind == "tool_result":
        return [f"-{value['tool_use_id']}"]
    if kind in ("function_call", "function_call_output"):
        return [("+" if kind == "function_call" else "-") + value["call_id"]]
    if kind == "tool_use" or "function" in value:
        return [f"+{value['id']}"]
    return [name for key in ("messages", "input", "tool_calls", "content") for name in ids_in(value.get(key))]


@pytest.mark.parametrize(("written", "told"), REPEATED)
@pytest.mark.parametrize("form", ["native", "openai"])
async def test_a_result_belongs_to_its_call_though_ids_repeat(form: str, written: list[str], told: list[str]) -> None:
    """Upstreams of OpenCode begin to count anew with each turn."""
    talk: list[dict[str, Any]] = [*HELLO]
    for name in written:
        call = {"role": "assistant", "tool_calls": [{**CALL, "id": name[1:]}]}
        talk.append(call if name[0] == "+" else {"role": "tool", "tool_call_id": name[1:], "content": "1"})
    async with open_service_with_providers() as there:
        for model in (ROUTER, ZEN, GPT, CLAUDE, "kimi/m", "ollama/m"):
            for body in await sent(there, form, model=model, messages=talk):
                assert ids_in(body) == told


# `options` of the native form, beside which no default of ours may stand.
OPTIONS: Table = [
    (CLAUDE, {"max_tokens": 5}, {"max_tokens": 5}),
    ("kimi/m", {"max_tokens": 5}, {"max_tokens": 5}),
    ("kimi/m", {"max_tokens": None}, {"max_tokens": 32768}),
    (CLAUDE, {"thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}, "max_tokens": 32768}),
    (CLAUDE, {"service_tier": "auto"}, {"service_tier": "auto"}),
    (GPT, {"store": True}, {"store": True}),
    (GPT, {"truncation": "auto"}, {"truncation": "auto", "store": False}),
    (GPT, {"include": ["a"]}, {"include": ["reasoning.encrypted_content", "a"]}),
    (GPT, {"text": {"verbosity": "low"}}, {"text": {"verbosity": "low"}}),
    (GPT, {"max_output_tokens": 99}, {"max_output_tokens": 99}),
    (ROUTER, {"provider": {"order": ["a"]}}, {"provider": {"order": ["a"]}}),
    (ROUTER, {"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "low"}}),
    (ZEN, {"max_tokens": 5}, {"max_tokens": 5}),
    ("ollama/m", {"num_predict": 5, "num_ctx": 8192}, {"options": {"num_predict": 5, "num_ctx": 8192}}),
]


@pytest.mark.parametrize(("model", "options", "body"), OPTIONS)
async def test_options_reach_the_upstream_as_they_are(
    model: str, options: dict[str, Any], body: dict[str, Any]
) -> None:
    async with open_service_with_providers() as there:
        for told in await sent(there, "native", model=model, options=options):
            assert picked(told, body) == body


async def test_options_stand_beside_a_schema_and_the_usage_of_a_stream() -> None:
    async with open_service_with_providers() as there:
        await there.chat(GPT, options={"text": {"verbosity": "low"}}, format=SCHEMA)
        first, *_ = there.requests["opencode"]
        assert first.json["text"]["verbosity"] == "low"
        assert first.json["text"]["format"]["schema"] == SCHEMA
        there.clear_requests()
        await there.chat(ROUTER, options={"stream_options": {"include_obfuscation": False}}, stream=True)
        told = there.only_request("openrouter").json["stream_options"]
        assert told == {"include_obfuscation": False, "include_usage": True}


# Calls of tools whose reasoning is not known any more.
CALLED: list[dict[str, Any]] = [*HELLO, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c1", "content": "1"}]  # fmt: skip


@pytest.mark.parametrize("form", ["native", "openai"])
async def test_a_blank_reasoning_stands_beside_calls_where_one_is_demanded(form: str) -> None:
    async with open_service_with_providers(chatd={"kimi": {"wire": "chat"}}) as there:
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
    async with open_service_with_providers() as there:
        for model, path in fits.items():
            there.clear_requests()
            for stream in (False, True):
                await there.complete(model, response_format=asked, stream=stream)
            for request in [request for requests in there.requests.values() for request in requests]:
                assert request.target.endswith(path)
            first = next(request.json for requests in there.requests.values() for request in requests)
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
    async with open_service_with_providers() as there:
        for model in ALL:
            there.clear_requests()
            await there.complete(model, response_format=asked)
            ((request, *_),) = there.requests.values()
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
    async with open_service_with_providers() as there:
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
    async with open_service_with_providers() as there:
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
    async with open_service_with_providers() as there:
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
    ({"tool_choice": {"type": "custom", "custom": {"name": "f"}}, "tools": BOTH}, "tool_choice"),
    ({"tool_choice": {"type": "function", "function": {"name": "h"}}, "tools": BOTH}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": "required", "tools": []}, "tool_choice"),
    ({"tool_choice": F, "tools": []}, "tool_choice"),
    ({"tools": [{"type": "custom", "custom": {"name": "f"}}], "model": "kimi/m"}, "tools[0].type"),
    ({"tools": [{"type": "custom", "custom": {}}], "model": ROUTER}, "tools[0]"),
    ({"tools": [{"type": "custom", "name": "f"}], "model": ROUTER}, "tools[0]"),
    ({"tools": [TOOL, {"type": "mcp", "server_label": "x"}], "model": "kimi/m"}, "tools[1].type"),
    ({"tools": [{"type": 1}]}, "tools[0]"),
]  # fmt: skip


@pytest.mark.parametrize("form", ["native", "openai"])
@pytest.mark.parametrize(("fields", "name"), WRONG_CHOICES, ids=json.dumps)
async def test_a_choice_that_cannot_be_sent_is_refused_by_name(fields: dict[str, Any], name: str, form: str) -> None:
    async with open_service_with_providers() as there:
        for model in ALL:
            assert (await refusal(there, form, **{"model": model, **fields})).startswith(f"`{name}` ")


# Parts that are neither text nor image, by the models that take them: what they become there. Everywhere else they are
# refused by name.
PDF = "data:application/pdf;base64,JVBERi0="
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}
REMOTE = {"type": "file", "file": {"file_data": "https://example.org/a.pdf"}}
NOTES = {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aGVsbG8="}}
SCAN = {"type": "file", "file": {"filename": "a.png", "file_data": "data:image/png;base64,AA=="}}
BY_ID = {"type": "file", "file": {"file_id": "file-1"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
VIDEO = {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}}


def as_it_is(part: dict[str, Any], *models: str) -> dict[str, dict[str, Any]]:
    return dict.fromkeys(models, part)


def source(kind: str, **fields: str) -> dict[str, Any]:
    return {"source": {"type": kind, **fields}}


KINDS: list[tuple[dict[str, Any], dict[str, dict[str, Any]]]] = [
    (
        FILE,
        {
            **as_it_is(FILE, ROUTER, ZEN),
            GPT: {"type": "input_file", "filename": "a.pdf", "file_data": PDF},
            CLAUDE: {
                "type": "document",
                "title": "a.pdf",
                **source("base64", media_type="application/pdf", data="JVBERi0="),
            },
        },
    ),
    (
        REMOTE,
        {
            **as_it_is(REMOTE, ROUTER, ZEN),
            GPT: {"type": "input_file", "file_url": "https://example.org/a.pdf"},
            CLAUDE: {"type": "document", **source("url", url="https://example.org/a.pdf")},
        },
    ),
    (
        NOTES,
        {
            **as_it_is(NOTES, ROUTER, ZEN),
            GPT: {"type": "input_file", **NOTES["file"]},  # type: ignore[dict-item]
            CLAUDE: {"type": "document", "title": "a.txt", **source("text", media_type="text/plain", data="hello")},
        },
    ),
    (
        SCAN,
        {
            **as_it_is(SCAN, ROUTER, ZEN),
            GPT: {"type": "input_file", **SCAN["file"]},  # type: ignore[dict-item]
            CLAUDE: {"type": "image", **source("base64", media_type="image/png", data="AA==")},
        },
    ),
    (BY_ID, {**as_it_is(BY_ID, ROUTER, ZEN), GPT: {"type": "input_file", "file_id": "file-1"}}),
    (SOUND, as_it_is(SOUND, ROUTER, ZEN, GPT)),
    (VIDEO, as_it_is(VIDEO, ROUTER, ZEN)),
]


def part_of(body: dict[str, Any]) -> object:
    """The second part of the first message."""
    return (body.get("messages") or body["input"])[0]["content"][1]


@pytest.mark.parametrize("form", ["native", "openai"])
@pytest.mark.parametrize(("part", "wanted"), KINDS, ids=[json.dumps(row[0])[:60] for row in KINDS])
async def test_a_part_arrives_in_the_upstreams_words_or_is_refused(
    part: dict[str, Any], wanted: dict[str, dict[str, Any]], form: str
) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]
    async with open_service_with_providers() as there:
        for model in [*ALL, "opencode/qwen3.7-max"]:
            if model in wanted:
                for body in await sent(there, form, model=model, messages=messages):
                    assert part_of(body) == wanted[model], model
            else:
                said = await refusal(there, form, model=model, messages=messages)
                assert said.startswith("`messages[0].content[1]` cannot be sent: "), said
        result = [
            *HELLO,
            {"role": "assistant", "tool_calls": [CALL]},
            {**messages[0], "role": "tool", "tool_call_id": "c1"},
        ]
        said = await refusal(there, form, model="ollama/m", messages=result)
        assert said.startswith("`messages[2].content[1]` cannot be sent: "), said


async def test_kimi_takes_videos_on_chat_completions_and_no_documents() -> None:
    async with open_service_with_providers(chatd={"kimi": {"wire": "chat"}}) as there:
        messages = [{"role": "user", "content": [{"type": "text", "text": "a"}, VIDEO]}]
        for body in await sent(there, "openai", model="kimi/k3", messages=messages):
            assert body["messages"] == messages
        messages = [{"role": "user", "content": [FILE]}]
        assert (await refusal(there, "openai", model="kimi/k3", messages=messages)).startswith(
            "`messages[0].content[0]` "
        )


WRONG_FILES = [
    {"file_data": "JVBERi0="},
    {"file_data": "data:application/pdf;base64,%%"},
    {"file_data": "data:application/pdf;base64,"},
    {"file_data": "data:application/zip;base64,AA=="},
    {"filename": "a.pdf"},
]


@pytest.mark.parametrize("file", WRONG_FILES, ids=json.dumps)
async def test_a_document_that_the_messages_form_cannot_have_is_refused_by_name(file: dict[str, str]) -> None:
    messages = [{"role": "user", "content": [{"type": "file", "file": file}]}]
    async with open_service_with_providers() as there:
        for form in ("native", "openai"):
            said = await refusal(there, form, model=CLAUDE, messages=messages)
            assert said.startswith("`messages[0].content[0]` "), said


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
async def test_an_image_is_refused_where_only_text_can_be_said(role: str) -> None:
    messages = [*HELLO, {"role": role, "content": [{"type": "text", "text": "a"}, IMAGE]}, *HELLO]
    async with open_service_with_providers() as there:
        refusing = [CLAUDE, "kimi/m", *([GPT] if role == "assistant" else [])]
        for model in ALL:
            for form in ("native", "openai"):
                if model in refusing:
                    said = await refusal(there, form, model=model, messages=messages)
                    assert said.startswith("`messages[1].content[1]` "), said
                else:
                    await sent(there, form, model=model, messages=messages)


# A hint to cache, wherever clients write one.
HINT = {"cache_control": {"type": "ephemeral"}}
HINTED: list[dict[str, Any]] = [
    {"role": "system", "content": [{"type": "text", "text": "S", **HINT}, {"type": "text", "text": "T"}]},
    {"role": "user", "content": [{"type": "text", "text": "U", **HINT}, {**IMAGE, **HINT}]},
    {"role": "assistant", "content": [{"type": "text", "text": "A", **HINT}], "tool_calls": [{**CALL, **HINT}]},
    {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "R", **HINT}]},
    {"role": "user", "content": "V", **HINT},
]
HINTED_TOOLS: list[dict[str, Any]] = [TOOL, {**OTHER, **HINT}]
WHERE = {
    "messages.content.cache_control",
    "messages.cache_control",
    "messages.tool_calls.cache_control",
    "tools.cache_control",
}


def without(value: object) -> object:
    """A document without hints."""
    if isinstance(value, list):
        return [without(inner) for inner in value]
    if isinstance(value, dict):
        return {name: without(inner) for name, inner in value.items() if name != "cache_control"}
    return value


@pytest.mark.parametrize("form", ["native", "openai"])
async def test_a_hint_to_cache_arrives_where_it_has_a_place(form: str) -> None:
    async with open_service_with_providers() as there:
        for body in await sent(there, form, model=ROUTER, messages=HINTED, tools=HINTED_TOOLS):
            system, user, assistant, result, last = body["messages"]
            assert (system, user, result, last) == (HINTED[0], HINTED[1], HINTED[3], HINTED[4])
            assert (assistant["content"], assistant["tool_calls"]) == (HINTED[2]["content"], HINTED[2]["tool_calls"])
            assert body["tools"] == HINTED_TOOLS
        for model in (CLAUDE, "kimi/m", "opencode/qwen3.7-max"):
            for body in await sent(there, form, model=model, messages=HINTED, tools=HINTED_TOOLS):
                assert body["system"] == [{"type": "text", "text": "S", **HINT}, {"type": "text", "text": "T"}]
                image = {"type": "image", **source("base64", media_type="image/png", data="AA=="), **HINT}
                use = {"type": "tool_use", "id": "c1", "name": "f", "input": {}, **HINT}
                answered = {"type": "tool_result", "tool_use_id": "c1", "content": "R", **HINT}
                assert [turn["content"] for turn in body["messages"]] == [
                    [{"type": "text", "text": "U", **HINT}, image],
                    [{"type": "text", "text": "A", **HINT}, use],
                    [answered, {"type": "text", "text": "V", **HINT}],
                ]
                assert [tool.get("cache_control") for tool in body["tools"]] == [None, HINT["cache_control"]]


async def test_a_hint_to_cache_is_left_out_elsewhere_and_the_log_says_so() -> None:
    models = ["ollama/m", "ollama_cloud/m", ZEN, "opencode/deepseek-v4", GPT]
    for form in ("native", "openai"):
        caught = CapturedLog()
        async with open_service_with_providers(log=caught.log, observe={"log": "json"}) as there:
            for model in models:
                hinted = await sent(there, form, model=model, messages=HINTED, tools=HINTED_TOOLS)
                bare: Any = {"messages": without(HINTED), "tools": without(HINTED_TOOLS)}
                assert hinted == await sent(there, form, model=model, **bare)
                assert all(b"cache_control" not in asked.body for asked in there.requests.get("ollama", ()))
        told = [line.get("left_out") for line in caught.lines if "request_id" in line]
        assert len(told) == 4 * len(models)
        for number, names in enumerate(told):
            wanted = number % 4 < 2
            assert WHERE & set(names or ()) == (WHERE if wanted else set()), (form, number)


async def test_a_hint_within_a_function_is_the_tools() -> None:
    tools = [{**TOOL, "function": {**TOOL["function"], **HINT}}]  # type: ignore[dict-item]
    async with open_service_with_providers() as there:
        for body in await sent(there, "openai", model=CLAUDE, tools=tools):
            assert body["tools"] == [{"name": "f", "input_schema": {"type": "object"}, **HINT}]
        for body in await sent(there, "openai", model="ollama/m", tools=tools):
            assert body["tools"] == [TOOL]


async def test_a_conversation_keeps_its_session_though_its_hints_move_on() -> None:
    async with open_service_with_providers() as there:
        ids = set()
        for hint in (HINT, {}):
            there.clear_requests()
            part = {"type": "text", "text": "U", **hint}
            await there.complete(CLAUDE, messages=[{"role": "user", "content": [part]}])
            ids.add(there.only_request("opencode").headers["x-opencode-session"])
        assert len(ids) == 1


# What else a message may have, as a client's library sends it back. For each form of an upstream: what is sent of it,
# or None where it is left out, which the log tells.
NOTE = {"type": "url_citation", "url_citation": {"url": "https://example.org", "title": "E"}}
HEARD = {"id": "audio_1"}
FORMS = {"completions": ROUTER, "messages": CLAUDE, "responses": GPT, "ollama": "ollama/m"}
MEMBERS: list[tuple[str, dict[str, Any], str]] = [
    ("native openai", {"role": "user", "content": "U", "name": "ann"}, "name"),
    ("native openai", {"role": "assistant", "content": "A", "annotations": [NOTE]}, "annotations"),
    ("openai", {"role": "assistant", "content": "{", "prefix": True}, "prefix"),
]


@pytest.mark.parametrize(("forms", "message", "name"), MEMBERS, ids=[row[2] for row in MEMBERS])
async def test_a_member_of_a_message_arrives_or_is_told_of(forms: str, message: dict[str, Any], name: str) -> None:
    for form in forms.split():
        caught = CapturedLog()
        async with open_service_with_providers(log=caught.log, observe={"log": "json"}) as there:
            for kind, model in FORMS.items():
                bare = {key: value for key, value in message.items() if key != name}
                bodies = await sent(there, form, model=model, messages=[*HELLO, message])
                if kind == "completions":
                    assert [body["messages"][1] for body in bodies] == [message] * 2
                else:
                    assert bodies == await sent(there, form, model=model, messages=[*HELLO, bare])
        told = [line.get("left_out") for line in caught.lines if "request_id" in line]
        where = [f"messages.{name}"]
        assert [names and names[:1] for names in told] == [None, None, *([where, where, None, None] * 3)]


@pytest.mark.parametrize("form", ["native", "openai"])
async def test_a_refusal_is_told_as_one_or_as_text(form: str) -> None:
    refused = {"role": "assistant", "content": None, "refusal": "No."}
    both = {"role": "assistant", "content": "Well.", "refusal": "No."}
    async with open_service_with_providers() as there:
        for message in (refused, both):
            for body in await sent(there, form, model=ROUTER, messages=[*HELLO, message, *HELLO]):
                assert body["messages"][1] == message
            for model in ALL:
                for body in await sent(there, form, model=model, messages=[*HELLO, message, *HELLO]):
                    assert "No." in json.dumps(body), model
        for model in (ZEN, "ollama/m"):
            for body in await sent(there, form, model=model, messages=[*HELLO, refused, *HELLO]):
                assert body["messages"][1] == {"role": "assistant", "content": "No."}


@pytest.mark.parametrize("form", ["native", "openai"])
async def test_audio_of_an_earlier_answer_is_sent_or_refused_by_name(form: str) -> None:
    message = {"role": "assistant", "audio": HEARD}
    async with open_service_with_providers() as there:
        for body in await sent(there, form, model=ROUTER, messages=[*HELLO, message, *HELLO]):
            assert body["messages"][1] == {**message, "content": None}
        for model in ALL:
            if model not in (ROUTER, ZEN):
                said = await refusal(there, form, model=model, messages=[*HELLO, message, *HELLO])
                assert said.startswith("`messages[1].audio` "), said


async def test_members_of_parts_and_calls_that_nobody_here_knows_reach_completions() -> None:
    text = {"type": "text", "text": "U", "weight": 2}
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "format": "image/png"}}
    call = {**CALL, "extra_content": {"google": {"thought_signature": "s"}}}
    messages = [
        {"role": "user", "content": [text, image]},
        {"role": "assistant", "content": None, "tool_calls": [{**call, "index": 0}]},
        {"role": "tool", "tool_call_id": "c1", "content": "R"},
    ]
    caught = CapturedLog()
    async with open_service_with_providers(log=caught.log, observe={"log": "json"}) as there:
        for body in await sent(there, "openai", model=ROUTER, messages=messages):
            assert body["messages"][0] == messages[0]
            assert body["messages"][1]["tool_calls"] == [call]
        await sent(there, "openai", model=GPT, messages=messages)
    told = [line["left_out"] for line in caught.lines if line.get("left_out")]
    unknown = [
        "messages.content.image_url",
        "messages.content.weight",
        "messages.tool_calls.extra_content",
    ]
    assert [sorted(names) for names in told] == [unknown] * 2


async def test_an_old_function_call_is_refused_by_name() -> None:
    message = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    async with open_service_with_providers() as there:
        said = await refusal(there, "openai", model=ROUTER, messages=[*HELLO, message])
        assert said.startswith("`messages[1].function_call` "), said
        known = {"role": "assistant", "content": "A", "function_call": None, "audio": None, "tool_calls": None}
        for body in await sent(there, "openai", model=ROUTER, messages=[*HELLO, known]):
            assert body["messages"][1] == {"role": "assistant", "content": "A"}


async def test_names_that_a_client_makes_up_do_not_fill_the_log() -> None:
    message = {"role": "user", "content": "U", **{f"{number}{'x' * 1000}": 1 for number in range(2000)}}
    caught = CapturedLog()
    async with open_service_with_providers(log=caught.log, observe={"log": "json"}) as there:
        await sent(there, "openai", model="ollama/m", messages=[message])
    for line in caught.lines:
        if "request_id" in line:
            assert len(line["left_out"]) == 100
            assert all(len(name) <= len("messages.") + 64 for name in line["left_out"])


# Tools that are called with free text.
GRAMMAR = {"definition": "start: NUMBER", "syntax": "lark"}
CUSTOM = {
    "type": "custom",
    "custom": {"name": "c", "description": "d", "format": {"type": "grammar", "grammar": GRAMMAR}},
}
FREE = {"type": "custom", "custom": {"name": "free", "format": {"type": "text"}}}
CUSTOM_CALL = {"id": "c1", "type": "custom", "custom": {"name": "c", "input": "4 * 2"}}
CUSTOM_TALK: list[dict[str, Any]] = [
    *HELLO,
    {"role": "assistant", "content": None, "tool_calls": [CUSTOM_CALL, OTHER_CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "8"},
    {"role": "tool", "tool_call_id": "c2", "content": "9"},
]


@pytest.mark.parametrize("form", ["native", "openai"])
async def test_a_custom_tool_arrives_where_it_has_a_place(form: str) -> None:
    named = {"type": "custom", "custom": {"name": "c"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named]}}
    tools = [TOOL, CUSTOM, FREE]
    async with open_service_with_providers() as there:
        for body in await sent(there, form, model=ROUTER, tools=tools, tool_choice=named):
            assert picked(body, {"tools": 0, "tool_choice": 0}) == {"tools": tools, "tool_choice": named}
        for body in await sent(there, form, model=ROUTER, tools=tools, tool_choice=allowed):
            assert picked(body, {"tools": 0, "tool_choice": 0}) == {"tools": [CUSTOM], "tool_choice": "required"}
        for body in await sent(there, form, model=GPT, tools=tools, tool_choice=named):
            assert body["tools"][1:] == [
                {"type": "custom", "name": "c", "description": "d", "format": {"type": "grammar", **GRAMMAR}},
                {"type": "custom", "name": "free", "format": {"type": "text"}},
            ]
            assert body["tool_choice"] == {"type": "custom", "name": "c"}
        for body in await sent(there, form, model=GPT, tools=tools, tool_choice=allowed):
            listed = [{"type": "custom", "name": "c"}]
            assert body["tool_choice"] == {"type": "allowed_tools", "mode": "required", "tools": listed}
        for model in ALL:
            if model not in (ROUTER, GPT):
                said = await refusal(there, form, model=model, tools=tools)
                assert said.startswith("`tools[1].type` "), said


@pytest.mark.parametrize("form", ["native", "openai"])
async def test_a_call_of_a_custom_tool_comes_back_as_what_it_was(form: str) -> None:
    async with open_service_with_providers() as there:
        for body in await sent(there, form, model=ROUTER, messages=CUSTOM_TALK):
            assert body["messages"][1]["tool_calls"] == [CUSTOM_CALL, OTHER_CALL]
        for body in await sent(there, form, model=GPT, messages=CUSTOM_TALK):
            assert body["input"][1:] == [
                {"type": "custom_tool_call", "call_id": "c1", "name": "c", "input": "4 * 2"},
                {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
                {"type": "custom_tool_call_output", "call_id": "c1", "output": "8"},
                {"type": "function_call_output", "call_id": "c2", "output": "9"},
            ]
        for body in await sent(there, form, model=ZEN, messages=CUSTOM_TALK):
            assert body["messages"][1]["tool_calls"][0]["function"] == {"name": "c", "arguments": '{"input":"4 * 2"}'}
        for body in await sent(there, form, model=CLAUDE, messages=CUSTOM_TALK):
            assert body["messages"][1]["content"][0]["input"] == {"input": "4 * 2"}


async def test_an_answer_that_calls_a_custom_tool_can_be_sent_back() -> None:
    answer = completion(None, finish="tool_calls", tool_calls=[CUSTOM_CALL])
    async with open_service_with_providers(scripts={"openrouter": answer_in_turn(answer)}) as there:
        for form in ("native", "openai"):
            ask = there.chat if form == "native" else there.complete
            said = (await ask(ROUTER, tools=[CUSTOM])).json()
            calls = said["tool_calls"] if form == "native" else said["choices"][0]["message"]["tool_calls"]
            assert calls == [CUSTOM_CALL]
            there.clear_requests()
            message = {"role": "assistant", "content": None, "tool_calls": calls}
            await ask(ROUTER, messages=[*HELLO, message, {"role": "tool", "tool_call_id": "c1", "content": "8"}])
            sent_back: Any = there.only_request("openrouter").json["messages"]
            assert sent_back[1]["tool_calls"] == calls


@pytest.mark.parametrize("form", ["native", "openai"])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        ({"id": "1", "type": "custom"}, "custom"),
        ({"id": "1", "type": "function"}, "function"),
        ({"id": "1"}, "function"),
        ({"id": "1", "type": "custom", "custom": {"name": "c"}}, "custom.input"),
    ],
)
async def test_a_call_without_what_is_called_is_refused_by_name(call: dict[str, Any], name: str, form: str) -> None:
    async with open_service_with_providers() as there:
        said = await refusal(there, form, model=ROUTER, messages=[{"role": "assistant", "tool_calls": [call]}])
        assert said == f"`messages[0].tool_calls[0].{name}` is required"


async def test_members_of_a_tool_that_are_null_are_left_out() -> None:
    nulls = dict.fromkeys(["description", "strict"])
    tools = [{**TOOL, "function": {**TOOL["function"], **nulls}, "cache_control": None}]  # type: ignore[dict-item]
    bare = [{"type": "function", "function": {"name": "f", "parameters": None}}]
    async with open_service_with_providers() as there:
        for model in ALL:
            for form in ("native", "openai"):
                assert await sent(there, form, model=model, tools=tools) == await sent(
                    there, form, model=model, tools=[TOOL]
                )
                assert all("null" not in json.dumps(body) for body in await sent(there, form, model=model, tools=bare))
