"""What a request asks for, in the words of the form that the upstream has: thinking, sampling, limits, tools, and
messages that a form refuses. Through the running service, whole and streamed, in the native and in OpenAI's form."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from lakehouse.testing.upstreams import respond
from tools.kit.service_with_providers import (
    HELLO,
    ServiceWithProviders,
    events,
    message,
    open_service_with_providers,
    streamed_response,
)
from tools.kit.service_with_providers import answer_in_turn as answers
from tools.kit.sse import sse_documents
from tools.kit.telemetry_fixtures import CapturedLog

TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}

BOTH_MODES = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
BOTH_FORMS = pytest.mark.parametrize("form", ["native", "openai"])


async def post(
    there: ServiceWithProviders, form: str, model: str, *, stream: bool = False, **fields: Any
) -> httpx.Response:
    """One request in either form. `think` is `reasoning_effort` in OpenAI's, which has no word for a plain yes."""
    there.clear_requests()
    asked = {**fields, "stream": stream}
    if form == "native":
        return await there.chat(model, **asked)
    if "think" in asked:
        think = asked.pop("think")
        asked["reasoning_effort"] = {False: "none", True: "medium"}.get(think, think)
    return await there.complete(model, **asked)


def sent(there: ServiceWithProviders) -> dict[str, Any]:
    """The body of the only request that an upstream got."""
    ((asked,),) = there.requests.values()
    return asked.json


def some(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """Those of these fields that it has."""
    return {name: document[name] for name in names if name in document}


def adaptive(effort: str) -> dict[str, Any]:
    """Thinking as Claude's newer models are told to do it."""
    return {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}


def budget(tokens: int) -> dict[str, Any]:
    """Thinking as older ones are told, and those of other vendors in the same form."""
    return {"thinking": {"type": "enabled", "budget_tokens": tokens}}


OFF = {"thinking": {"type": "disabled"}}

# The model, what is asked of it, and what it is told.
THINKING: list[tuple[str, bool | str, dict[str, Any]]] = [
    *[
        (model, level, adaptive(effort))
        for model in ("claude-opus-4-8", "claude-sonnet-5", "claude-fable-5", "claude-opus-5", "claude-fable-5-1")
        for level, effort in {
            "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max",
        }.items()
    ],
    ("claude-opus-4-7", "high", adaptive("high")),
    ("claude-opus-4-8-20260528", "high", adaptive("high")),
    ("claude-opus-4-8", False, OFF),
    ("claude-sonnet-5", False, OFF),
    ("claude-fable-5", False, adaptive("low")),  # it always thinks
    ("claude-opus-5-5", False, adaptive("low")),
    ("claude-opus-5-5", "high", adaptive("high")),
    ("claude-mythos-preview", "high", adaptive("high")),
    ("claude-opus-4-5", "high", budget(26214)),
    ("claude-sonnet-4-6", "low", budget(6553)),
    ("claude-haiku-4-5-20251001", "minimal", budget(3276)),
    ("claude-opus-4-20250514", "medium", budget(16000)),
    ("claude-3-7-sonnet-20250219", "xhigh", budget(31129)),
    ("claude-opus-4-5", False, OFF),
    ("qwen3.7-max", "high", budget(26214)),
    ("qwen3.7-max", "ultra", budget(31129)),
    ("claude-opus-5", "ultra", adaptive("max")),
]  # fmt: skip


@BOTH_MODES
@BOTH_FORMS
async def test_claude_is_told_to_think_in_the_way_of_its_version(form: str, stream: bool) -> None:
    async with open_service_with_providers() as there:
        for model, think, told in THINKING:
            answer = await post(there, form, f"opencode/{model}", stream=stream, think=think)
            assert answer.status_code == 200, answer.text
            body = sent(there)
            assert some(body, "thinking", "output_config") == told, (model, think)
            assert body["max_tokens"] == (32000 if model == "claude-opus-4-20250514" else 32768)


async def test_the_limit_that_the_form_demands_is_one_that_the_model_takes() -> None:
    limits = {
        "claude-3-haiku-20240307": 4096,
        "claude-3-5-haiku-20241022": 8192,
        "claude-3-7-sonnet-20250219": 32768,
        "claude-opus-4-1-20250805": 32000,
        "claude-sonnet-4-20250514": 32768,
        "claude-opus-4-5": 32768,
        "claude-opus-5": 32768,
    }
    async with open_service_with_providers() as there:
        for model, limit in limits.items():
            await post(there, "native", f"opencode/{model}")
            assert sent(there)["max_tokens"] == limit
            await post(there, "native", f"opencode/{model}", max_tokens=50_000)
            assert sent(there)["max_tokens"] == 50_000


async def test_claude_thinks_without_an_effort_when_none_is_said() -> None:
    async with open_service_with_providers() as there:
        for model, told in {
            "claude-opus-4-8": {"thinking": {"type": "adaptive"}},
            "claude-opus-4-5": budget(16384),
        }.items():
            await post(there, "native", f"opencode/{model}", think=True)
            assert some(sent(there), "thinking", "output_config") == told
            await post(there, "native", f"opencode/{model}")
            assert some(sent(there), "thinking", "output_config") == {}


async def test_an_effort_joins_what_else_the_caller_configures() -> None:
    async with open_service_with_providers() as there:
        fields: dict[str, Any] = {"output_config": {"effort": "low", "task_budget": {"type": "tokens", "total": 9}}}
        await there.complete("opencode/claude-opus-4-8", reasoning_effort="high", **fields)
        assert sent(there)["output_config"] == {"effort": "high", "task_budget": {"type": "tokens", "total": 9}}


# With thinking that is on Anthropic refuses any temperature but 1 and a small `top_p`; its newer models refuse them
# always, and those before them refuse the two together.
SAMPLING: list[tuple[str, dict[str, Any], dict[str, Any], list[str] | None]] = [
    ("claude-opus-4-5", {"temperature": 0.5}, {"temperature": 0.5}, None),
    ("claude-opus-4-5", {"temperature": 0.5, "think": "low"}, {}, ["temperature"]),
    ("claude-opus-4-5", {"temperature": 1, "think": "low"}, {"temperature": 1.0}, None),
    ("claude-opus-4-5", {"temperature": 0.5, "think": False}, {"temperature": 0.5}, None),
    ("claude-opus-4-5", {"top_p": 0.9, "think": "low"}, {}, ["top_p"]),
    ("claude-opus-4-5", {"top_p": 0.97, "think": "low"}, {"top_p": 0.97}, None),
    ("claude-opus-4-5", {"temperature": 0.5, "top_p": 1}, {"temperature": 0.5}, ["top_p"]),
    ("claude-opus-4-5", {"temperature": 1, "top_p": 0.5}, {"top_p": 0.5}, ["temperature"]),
    ("claude-opus-4-5", {"temperature": 0.5, "top_p": 0.5}, {"temperature": 0.5, "top_p": 0.5}, None),
    ("claude-opus-4-8", {"temperature": 0.5, "top_p": 0.5}, {}, ["temperature", "top_p"]),
    ("claude-sonnet-5", {"temperature": 0.5, "think": "high"}, {}, ["temperature"]),
    ("qwen3.7-max", {"temperature": 0.5, "top_p": 0.5, "think": "high"}, {"temperature": 0.5, "top_p": 0.5}, None),
]


@BOTH_MODES
@BOTH_FORMS
async def test_sampling_that_claude_refuses_is_left_out_and_told_of(form: str, stream: bool) -> None:
    caught = CapturedLog()
    async with open_service_with_providers(log=caught.log, observe={"log": "json"}) as there:
        for model, fields, told, _ in SAMPLING:
            answer = await post(there, form, f"opencode/{model}", stream=stream, **fields)
            assert answer.status_code == 200, answer.text
            assert some(sent(there), "temperature", "top_p", "top_k") == told, (model, fields)
        logged = await caught.requests(len(SAMPLING))
    assert [line.get("left_out") for line in logged] == [row[3] for row in SAMPLING]


@BOTH_MODES
async def test_top_k_is_left_out_along_with_thinking(stream: bool) -> None:
    async with open_service_with_providers() as there:
        cases: list[tuple[dict[str, Any], dict[str, int]]] = [({}, {"top_k": 5}), ({"reasoning_effort": "low"}, {})]
        for fields, told in cases:
            await there.complete("opencode/claude-opus-4-5", top_k=5, stream=stream, **fields)
            assert some(sent(there), "top_k") == told
            there.clear_requests()


@BOTH_MODES
@BOTH_FORMS
async def test_a_limit_that_leaves_no_room_for_a_budget_is_refused_and_never_raised(form: str, stream: bool) -> None:
    """Anthropic wants 1024 <= budget < max_tokens. An effort needs no such room."""
    async with open_service_with_providers() as there:
        for limit, told in ((1024, None), (500, None), (1025, 1024), (2000, 1024), (10_000, 2000)):
            answer = await post(there, form, "opencode/claude-opus-4-5", stream=stream, think="low", max_tokens=limit)
            if told is None:
                assert answer.status_code == 400
                assert "`max_tokens`" in answer.json()["error"]["message"]
                assert there.requests == {}
            else:
                assert sent(there)["thinking"] == {"type": "enabled", "budget_tokens": told}
                assert sent(there)["max_tokens"] == limit
        await post(there, form, "opencode/claude-opus-4-8", stream=stream, think="low", max_tokens=500)
        assert some(sent(there), "thinking", "output_config", "max_tokens") == {**adaptive("low"), "max_tokens": 500}


def text(*said: str) -> list[dict[str, Any]]:
    """Text blocks."""
    return [{"type": "text", "text": one} for one in said]


def turn(role: str, *said: str) -> dict[str, Any]:
    """A turn of the messages form."""
    return {"role": role, "content": text(*said)}


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USED = {"type": "tool_use", "id": "call_1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "call_1", "content": "12"}


def says(role: str, content: object, **fields: object) -> dict[str, Any]:
    """A message of the caller's."""
    return {"role": role, "content": content, **fields}


CONVERSATIONS: dict[str, tuple[list[dict[str, Any]], str | None, list[dict[str, Any]]]] = {
    "a system message alone": ([says("system", "S")], None, [turn("user", "S")]),
    "a developer message alone": ([says("developer", "S")], None, [turn("user", "S")]),
    "two system messages alone": ([says("system", "S"), says("system", "T")], None, [turn("user", "S\n\nT")]),
    "a system message and a blank user": ([says("system", "S"), says("user", " ")], None, [turn("user", "S")]),
    "a system message with others": ([says("system", "S"), says("user", "U")], "S", [turn("user", "U")]),
    "a blank system message": ([says("system", " \n"), says("user", "U")], None, [turn("user", "U")]),
    "a blank assistant": (
        [says("user", "U"), says("assistant", " \n\t"), says("user", "V")], None, [turn("user", "U", "V")],
    ),
    "a blank assistant at the end": ([says("user", "U"), says("assistant", "\n")], None, [turn("user", "U")]),
    "an empty assistant": ([says("user", "U"), says("assistant", ""), says("user", "V")], None, [turn("user", "U", "V")]),
    "blank text beside a call": (
        [says("user", "U"), says("assistant", "\n", tool_calls=[CALL]), says("tool", "12", tool_call_id="call_1")],
        None,
        [turn("user", "U"), {"role": "assistant", "content": [USED]}, {"role": "user", "content": [RESULT]}],
    ),
    "a blank part": (
        [says("user", [{"type": "text", "text": " "}, {"type": "text", "text": "U"}])], None, [turn("user", "U")],
    ),
    "white space around words": ([says("user", " U\n")], None, [turn("user", " U\n")]),
    "a prefill that ends in white space": (
        [says("user", "U"), says("assistant", "A \n")], None, [turn("user", "U"), turn("assistant", "A")],
    ),
}  # fmt: skip


@BOTH_MODES
@BOTH_FORMS
@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_messages_that_anthropic_refuses_are_sent_so_that_it_takes_them(
    name: str, form: str, stream: bool
) -> None:
    messages, system, turns = CONVERSATIONS[name]
    async with open_service_with_providers() as there:
        answer = await post(there, form, "kimi/k3", stream=stream, messages=messages)
        assert answer.status_code == 200, answer.text
        body = sent(there)
        assert body.get("system") == system
        assert body["messages"] == turns


@BOTH_FORMS
async def test_a_conversation_of_nothing_but_white_space_is_refused(form: str) -> None:
    async with open_service_with_providers() as there:
        answer = await post(there, form, "kimi/k3", messages=[says("user", " ")])
        assert answer.status_code == 400
        assert "`messages`" in answer.json()["error"]["message"]
        assert there.requests == {}


NAMED = {"type": "function", "function": {"name": "f"}}

# `tool_choice`, and what the messages form says when calls are not to be made in parallel.
ONE_BY_ONE: list[tuple[dict[str, Any], Any]] = [
    ({}, {"type": "auto", "disable_parallel_tool_use": True}),
    ({"tool_choice": "auto"}, {"type": "auto", "disable_parallel_tool_use": True}),
    ({"tool_choice": "required"}, {"type": "any", "disable_parallel_tool_use": True}),
    ({"tool_choice": NAMED}, {"type": "tool", "name": "f", "disable_parallel_tool_use": True}),
    ({"tool_choice": "none"}, {"type": "none"}),
]


@BOTH_MODES
async def test_calls_are_made_one_by_one_where_the_form_can_say_so(stream: bool) -> None:
    async with open_service_with_providers() as there:
        for fields, told in ONE_BY_ONE:
            asked = {"tools": [TOOL], "parallel_tool_calls": False, "stream": stream, **fields}
            there.clear_requests()
            assert (await there.complete("opencode/claude-opus-4-8", **asked)).status_code == 200
            assert sent(there)["tool_choice"] == told
            assert "parallel_tool_calls" not in sent(there)
            there.clear_requests()
            await there.complete("opencode/gpt-5.6-sol", **asked)
            assert sent(there)["parallel_tool_calls"] is False
            there.clear_requests()
            await there.complete("openrouter/v/m", **asked)
            assert sent(there)["parallel_tool_calls"] is False
            there.clear_requests()
            answer = await there.complete("m", **asked)
            if fields.get("tool_choice") == "none":  # then no tool is offered
                assert answer.status_code == 200
            else:
                assert answer.status_code == 400
                assert answer.json()["error"]["param"] == "parallel_tool_calls"
                assert there.requests == {}


@BOTH_MODES
async def test_without_tools_it_does_not_matter_whether_calls_are_parallel(stream: bool) -> None:
    async with open_service_with_providers() as there:
        for model in ("opencode/claude-opus-4-8", "m"):
            there.clear_requests()
            answer = await there.complete(model, parallel_tool_calls=False, stream=stream)
            assert answer.status_code == 200
            assert some(sent(there), "tool_choice", "parallel_tool_calls") == {}


EFFORTS: dict[str, dict[bool | str, Any]] = {
    "ollama/m": {
        False: False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "max", "max": "max",
    },
    "opencode/gpt-5.6-sol": {
        False: "none", "minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh",
        "max": "xhigh",
    },
    "openrouter/v/m": {
        False: "none", "minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh",
        "max": "max", "ultra": "max",
    },
    "opencode/kimi-k3": {
        "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "max", "max": "max", "ultra": "max",
    },
    "opencode/deepseek-v4-pro": {"minimal": "low", "high": "high", "xhigh": "max"},
    "opencode/glm-5.2": {"minimal": "low", "high": "high", "max": "max"},
}  # fmt: skip


def effort(body: dict[str, Any]) -> object:
    """The level of thinking that an upstream is told, wherever its form has the place for it."""
    if "think" in body:
        return body["think"]
    return (body["thinking"] if "thinking" in body else body["reasoning"])["effort"]


@BOTH_MODES
@BOTH_FORMS
@pytest.mark.parametrize("model", EFFORTS)
async def test_a_level_becomes_the_nearest_that_there_is(model: str, form: str, stream: bool) -> None:
    caught = CapturedLog()
    field = "think" if form == "native" else "reasoning_effort"
    async with open_service_with_providers(log=caught.log, observe={"log": "json"}) as there:
        for think, told in EFFORTS[model].items():
            assert (await post(there, form, model, stream=stream, think=think)).status_code == 200
            assert effort(sent(there)) == told
        logged = await caught.requests(len(EFFORTS[model]))
    assert [line.get("adjusted") for line in logged] == [
        [field] if think is not False and think != told else None for think, told in EFFORTS[model].items()
    ]


# `think` is a field of ours. In OpenAI's form it is told to each upstream in the words of its form.
THINK_IN_WORDS: list[tuple[str, bool | str, dict[str, Any], list[str] | None]] = [
    ("openrouter/v/m", True, {"reasoning": {"enabled": True}}, None),
    ("openrouter/v/m", False, {"reasoning": {"effort": "none"}}, None),
    ("openrouter/v/m", "high", {"reasoning": {"effort": "high"}}, None),
    ("openrouter/v/m", "none", {"reasoning": {"effort": "none"}}, None),
    ("opencode/kimi-k3", True, {"thinking": {"type": "enabled"}}, None),
    ("opencode/kimi-k3", False, {"thinking": {"type": "disabled"}}, None),
    ("opencode/kimi-k3", "low", {"thinking": {"type": "enabled", "effort": "low"}}, None),
    ("opencode/m", "low", {"reasoning_effort": "low"}, None),
    ("opencode/m", False, {"reasoning_effort": "none"}, None),
    ("opencode/m", True, {}, ["think"]),
    ("opencode/gpt-5.6-sol", "low", {"reasoning": {"effort": "low", "summary": "auto"}}, None),
    ("opencode/claude-opus-5", True, {"thinking": {"type": "adaptive"}}, None),
    ("ollama/m", "high", {"think": "high"}, None),
]


@BOTH_MODES
@BOTH_FORMS
async def test_think_is_told_in_the_words_of_the_upstream(form: str, stream: bool) -> None:
    caught = CapturedLog()
    async with open_service_with_providers(log=caught.log, observe={"log": "json"}) as there:
        ask = there.chat if form == "native" else there.complete
        for model, think, told, _ in THINK_IN_WORDS:
            there.clear_requests()
            assert (await ask(model, stream=stream, think=think)).status_code == 200
            assert some(sent(there), "think", "thinking", "reasoning", "reasoning_effort") == told
        logged = await caught.requests(len(THINK_IN_WORDS))
        there.clear_requests()
        for model in ("openrouter/v/m", "opencode/kimi-k3", "opencode/m", "ollama/m"):
            answer = await ask(model, stream=stream, think=3)
            assert answer.status_code == 400
            assert "`think`" in answer.json()["error"]["message"]
        assert there.requests == {}
    assert [line.get("left_out") for line in logged] == [row[3] for row in THINK_IN_WORDS]


# Claude, Kimi and DeepSeek reject a forced call of a tool while they think: what is sent of each, and what the log says.
FORCED: list[tuple[str, bool | str | None, object, dict[str, Any], dict[str, Any]]] = [
    ("claude-opus-4-8", "high", "required", {**OFF, "tool_choice": {"type": "any"}}, {"left_out": ["thinking"]}),
    ("claude-sonnet-5", True, NAMED, {**OFF, "tool_choice": {"type": "tool", "name": "f"}}, {"left_out": ["thinking"]}),
    ("claude-sonnet-4-5", "low", "required", {**OFF, "tool_choice": {"type": "any"}}, {"left_out": ["thinking"]}),
    ("claude-opus-4-8", "high", "auto", {**adaptive("high"), "tool_choice": {"type": "auto"}}, {}),
    ("claude-opus-4-8", "high", "none", {**adaptive("high"), "tool_choice": {"type": "none"}}, {}),
    ("claude-opus-4-8", "high", None, adaptive("high"), {}),
    ("claude-opus-4-8", None, "required", {"tool_choice": {"type": "any"}}, {}),
    ("claude-opus-4-8", False, "required", {**OFF, "tool_choice": {"type": "any"}}, {}),
    ("claude-fable-5", "high", "required", {**adaptive("high"), "tool_choice": {"type": "auto"}}, {"adjusted": ["tool_choice"]}),
    ("claude-fable-5-1", None, NAMED, {"tool_choice": {"type": "auto"}}, {"adjusted": ["tool_choice"]}),
    ("claude-opus-5-5", None, "required", {"tool_choice": {"type": "auto"}}, {"adjusted": ["tool_choice"]}),
    ("qwen3.7-max", "high", "required", {**budget(26214), "tool_choice": {"type": "any"}}, {}),
    ("deepseek-v4-pro", "high", "required", {**OFF, "tool_choice": "required"}, {"left_out": ["thinking"]}),
    ("kimi-k2.6", True, NAMED, {**OFF, "tool_choice": NAMED}, {"left_out": ["thinking"]}),
    ("deepseek-v4-pro", None, "required", {"tool_choice": "required"}, {}),
    ("kimi-k2.6", "low", "auto", {"thinking": {"type": "enabled", "effort": "low"}, "tool_choice": "auto"}, {}),
]  # fmt: skip


@BOTH_MODES
@BOTH_FORMS
async def test_no_model_thinks_where_a_call_is_forced(form: str, stream: bool) -> None:
    caught = CapturedLog()
    field = "think" if form == "native" else "reasoning_effort"
    async with open_service_with_providers(log=caught.log, observe={"log": "json"}) as there:
        for model, think, choice, told, _ in FORCED:
            asked = {"tools": [TOOL]} | ({} if choice is None else {"tool_choice": choice})
            asked |= {} if think is None else {"think": think}
            answer = await post(there, form, f"opencode/{model}", stream=stream, **asked)
            assert answer.status_code == 200, answer.text
            assert some(sent(there), "thinking", "output_config", "tool_choice") == told, (model, think, choice)
        logged = await caught.requests(len(FORCED))
    assert [some(line, "left_out", "adjusted") for line in logged] == [
        {key: [field if name == "thinking" else name for name in names] for key, names in row[4].items()}
        for row in FORCED
    ]


@BOTH_MODES
@BOTH_FORMS
async def test_claudes_temperature_ends_at_one(form: str, stream: bool) -> None:
    caught = CapturedLog()
    rows = {0.0: 0.0, 0.7: 0.7, 1.0: 1.0, 1.2: 1.0, 2.0: 1.0}
    async with open_service_with_providers(log=caught.log, observe={"log": "json"}) as there:
        for asked, told in rows.items():
            await post(there, form, "opencode/claude-sonnet-4-5", stream=stream, temperature=asked)
            assert sent(there)["temperature"] == told
        logged = await caught.requests(len(rows))
        await post(there, form, "opencode/qwen3.7-max", stream=stream, temperature=1.5)
        assert sent(there)["temperature"] == 1.5
    assert [line.get("adjusted") for line in logged] == [None, None, None, ["temperature"], ["temperature"]]


@BOTH_MODES
@BOTH_FORMS
async def test_a_limit_below_the_smallest_of_the_responses_form_is_raised_to_it(form: str, stream: bool) -> None:
    caught = CapturedLog()
    async with open_service_with_providers(log=caught.log, observe={"log": "json"}) as there:
        for limit, told in ((1, 16), (15, 16), (16, 16), (17, 17)):
            answer = await post(there, form, "opencode/gpt-5.6-sol", stream=stream, max_tokens=limit)
            assert answer.status_code == 200
            assert sent(there)["max_output_tokens"] == told
        logged = await caught.requests(4)
    assert [line.get("adjusted") for line in logged] == [["max_tokens"], ["max_tokens"], None, None]


@BOTH_MODES
async def test_verbosity_stands_beside_the_schema(stream: bool) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}
    async with open_service_with_providers() as there:
        await there.complete("opencode/gpt-5.6-sol", verbosity="low", response_format=wanted, stream=stream)
        first, *_ = there.requests["opencode"]  # what it answers does not fit
        assert first.json["text"] == {
            "verbosity": "low",
            "format": {"type": "json_schema", "name": "n", "strict": True, "schema": SCHEMA},
        }


@BOTH_MODES
async def test_ollamas_options_come_together_from_everywhere(stream: bool) -> None:
    """A field of OpenAI's goes before the same one among Ollama's options."""
    async with open_service_with_providers() as there:
        fields: dict[str, Any] = {
            "options": {"num_ctx": 8192, "top_k": 1, "temperature": 0.9},
            "keep_alive": -1,
            "top_k": 20,
            "min_p": 0.1,
            "presence_penalty": 0.5,
            "temperature": 0.5,
            "seed": 7,
            "stop": "END",
            "logprobs": True,
            "top_logprobs": 2,
            "max_completion_tokens": 9,
        }
        assert (await there.complete("m", stream=stream, **fields)).status_code == 200
        assert sent(there) == {
            "model": "m",
            "messages": HELLO,
            "stream": stream,
            "think": False,
            "keep_alive": -1,
            "logprobs": True,
            "top_logprobs": 2,
            "options": {
                "num_ctx": 8192, "top_k": 1, "min_p": 0.1, "presence_penalty": 0.5, "temperature": 0.5, "seed": 7,
                "stop": ["END"], "num_predict": 9,
            },
        }  # fmt: skip
        there.clear_requests()
        answer = await there.complete("m", options=["num_ctx"])
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "options"


WHERE = {"type": "approximate", "approximate": {"country": "FR", "city": "Paris"}}


@BOTH_MODES
async def test_a_search_of_the_web_is_a_tool_elsewhere(stream: bool) -> None:
    options = {"search_context_size": "low", "user_location": WHERE}
    place = {"type": "approximate", "country": "FR", "city": "Paris"}
    told = {
        "opencode/gpt-5.6-sol": {"type": "web_search", "search_context_size": "low", "user_location": place},
        "opencode/claude-opus-4-8": {"type": "web_search_20250305", "name": "web_search", "user_location": place},
    }
    async with open_service_with_providers() as there:
        for model, tool in told.items():
            there.clear_requests()
            answer = await there.complete(model, web_search_options=options, stream=stream)
            assert answer.status_code == 200, answer.text
            assert sent(there)["tools"] == [tool]
        there.clear_requests()
        answer = await there.complete("kimi/k3", web_search_options=options, stream=stream)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "web_search_options")


SEARCHED: list[dict[str, Any]] = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
    {"type": "text", "text": "Found."},
]
SEARCHING = events(
    {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {**SEARCHED[0], "input": {}}},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "input_json_delta", "partial_json": '{"query": "q"}'},
    },
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": SEARCHED[1]},
    {"type": "content_block_stop", "index": 1},
    {"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "Found."}},
    {"type": "content_block_stop", "index": 2},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {"type": "message_stop"},
    end=b"",
)


@BOTH_MODES
async def test_a_search_that_the_provider_made_is_no_call_for_the_caller(stream: bool) -> None:
    answer = streamed_response(SEARCHING) if stream else message("", *SEARCHED)
    async with open_service_with_providers(scripts={"opencode": answers(answer)}) as there:
        got = await there.complete("opencode/claude-opus-4-8", web_search_options={}, stream=stream)
        assert got.status_code == 200
        if stream:
            deltas = [choice["delta"] for piece in sse_documents(got.text) for choice in piece["choices"]]
            assert "".join(delta.get("content", "") for delta in deltas) == "Found."
            assert not any("tool_calls" in delta for delta in deltas)
            assert got.text.endswith("data: [DONE]\n\n")
        else:
            (choice,) = got.json()["choices"]
            assert (choice["message"]["content"], choice["finish_reason"]) == ("Found.", "stop")
            assert "tool_calls" not in choice["message"]


@BOTH_MODES
async def test_a_route_without_a_place_for_a_field_is_passed_over_for_the_next(stream: bool) -> None:
    """It was not asked, so it is no attempt; where nobody has a place the caller is told which field it is."""
    busy = respond({"error": {"message": "The server is busy."}}, 500)
    async with open_service_with_providers(scripts={"openrouter": answers(busy)}) as there:
        asked: dict[str, Any] = {"logit_bias": {"5": 1}, "stream": stream}
        answer = await there.complete("kimi/k3", fallbacks=["opencode/glm-5.2"], **asked)
        assert answer.status_code == 200
        assert there.only_request("opencode").json["logit_bias"] == {"5": 1}
        there.clear_requests()
        answer = await there.complete("kimi/k3", fallbacks=["m"], **asked)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "logit_bias")
        assert there.requests == {}
        answer = await there.complete("openrouter/v/m", fallbacks=["kimi/k3"], **asked)
        assert answer.status_code == 502
        assert "busy" in answer.json()["error"]["message"]
        there.only_request("openrouter")


async def test_how_a_stream_is_padded_is_passed_on() -> None:
    padded = {"include_usage": True, "include_obfuscation": False}
    async with open_service_with_providers() as there:
        for model, told in {
            "openrouter/v/m": {"include_usage": True, "include_obfuscation": False},
            "opencode/gpt-5.6-sol": {"include_obfuscation": False},
            "kimi/k3": None,
            "m": None,
        }.items():
            there.clear_requests()
            answer = await there.complete(model, stream=True, stream_options=padded)
            assert answer.status_code == 200
            assert sent(there).get("stream_options") == told
            assert '"usage":{' in answer.text
            there.clear_requests()
            await there.complete(model, stream_options=padded)
            assert "stream_options" not in sent(there)


# What else of a request has no place, and what the log says of it.
TOLD: list[tuple[str, dict[str, Any], list[str] | None, list[str] | None]] = [
    ("kimi/k3", {"temperature": 0.5, "top_p": 0.5}, ["temperature", "top_p"], None),
    ("m", {"tools": [TOOL], "tool_choice": "required"}, None, ["tool_choice"]),
    ("m", {"tools": [TOOL], "tool_choice": NAMED}, None, ["tool_choice"]),
    ("m", {"tools": [TOOL], "tool_choice": "auto"}, None, None),
    ("m", {"messages": [{**HELLO[0], "name": "ann"}]}, ["messages.name"], None),
    ("opencode/gpt-5.6-sol", {"messages": [{**HELLO[0], "name": "ann"}]}, ["messages.name"], None),
    ("openrouter/v/m", {"messages": [{**HELLO[0], "name": "ann"}]}, None, None),
    ("kimi/k3", {"tool_choice": "auto"}, ["tool_choice"], None),
    ("kimi/k3", {"tools": [{**TOOL, "function": {**TOOL["function"], "strict": True}}]}, ["tools.function.strict"], None),  # type: ignore[dict-item]
    ("opencode/claude-fable-5", {"think": False}, None, ["reasoning_effort"]),
    ("openrouter/v/m", {"tool_choice": "auto"}, ["tool_choice"], None),
    ("kimi/k3", {"user": "u", "safety_identifier": "s"}, ["safety_identifier"], None),
    ("kimi/k3", {"metadata": {"user_id": "u"}}, None, None),
    ("kimi/k3", {"metadata": {"user_id": "u", "run": "7"}}, ["metadata"], None),
    ("kimi/k3", {"service_tier": {}}, ["service_tier"], None),
    ("kimi/k3", {"messages": [*HELLO, {"role": "system", "content": "S"}]}, None, ["messages"]),
    ("kimi/k3", {"messages": [{"role": "system", "content": "S"}, *HELLO]}, None, None),
]  # fmt: skip


@BOTH_MODES
async def test_the_log_says_what_was_not_sent_as_it_was_written(stream: bool) -> None:
    caught = CapturedLog()
    async with open_service_with_providers(log=caught.log, observe={"log": "json"}) as there:
        for model, fields, _, _ in TOLD:
            answer = await post(there, "openai", model, stream=stream, **fields)
            assert answer.status_code == 200, answer.text
        logged = await caught.requests(len(TOLD))
    assert [(line.get("left_out"), line.get("adjusted")) for line in logged] == [
        (left_out, adjusted) for _, _, left_out, adjusted in TOLD
    ]
