"""What a client sends back comes to the provider as the provider said it: reasoning, calls, and names of tools."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakehouse.chat.dialects.schema.answer_tool import ANSWER_TOOL
from tests.chat.api.open_responses.answers_kit import EVERYTHING
from tests.chat.api.open_responses.responses_kit import MODELS, body, open_door, stream
from tests.chat.dialects.streams.stream_kit import COMPLETED, REASONING_ITEM, RESPONSE
from tools.kit.service_with_providers import chunk, completion, events, line, lines, message, ollama, response

DIALECTS = pytest.mark.parametrize("dialect", MODELS)
MODES = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
RESULTS = [
    {"type": "function_call_output", "call_id": "call_1", "output": "12 C"},
    {"type": "function_call_output", "call_id": "call_2", "output": "13 C"},
]


def sent_history(dialect: str, sent: dict[str, Any]) -> Any:
    """What of the assistant's turn and of the results the provider was sent."""
    match dialect:
        case "chat_completions":
            _, turn, *results = sent["messages"]
            calls = [(call["function"]["name"], call["function"]["arguments"]) for call in turn["tool_calls"]]
            return turn.get("reasoning"), turn["content"], calls, [result["content"] for result in results]
        case "messages":
            _, turn, answered = sent["messages"]
            thinking, text, *calls = turn["content"]
            return thinking, text["text"], [(call["name"], call["input"]) for call in calls], [
                result["content"] for result in answered["content"]]  # fmt: skip
        case "responses":
            _, reasoning, text, *rest = sent["input"]
            calls = [(item["name"], item["arguments"]) for item in rest if item["type"] == "function_call"]
            return reasoning, text["content"], calls, [item["output"] for item in rest if "output" in item]
        case _:
            _, turn, *results = sent["messages"]
            calls = [(call["function"]["name"], call["function"]["arguments"]) for call in turn["tool_calls"]]
            return turn.get("thinking"), turn["content"], calls, [result["content"] for result in results]


HISTORIES: dict[str, Any] = {
    "chat_completions": ("Hm.", "Hi", [("f", '{"a":1}'), ("g", "{}")], ["12 C", "13 C"]),
    "messages": ({"type": "thinking", "thinking": "Hm.", "signature": "S"}, "Hi", [("f", {"a": 1}), ("g", {})], ["12 C", "13 C"]),
    "responses": (REASONING_ITEM, "Hi", [("f", '{"a":1}'), ("g", "{}")], ["12 C", "13 C"]),
    "ollama": ("Hm.", "Hi", [("f", {"a": 1}), ("g", {})], ["12 C", "13 C"]),
}  # fmt: skip


@DIALECTS
@MODES
async def test_an_answer_with_calls_goes_back_as_it_came(dialect: str, streamed: bool) -> None:
    async with open_door(dialect, EVERYTHING[dialect][streamed]) as door:
        first = await door.ask(stream=streamed)
        ids = [item["call_id"] for item in first["output"] if item["type"] == "function_call"]
        results = [{**result, "call_id": call} for result, call in zip(RESULTS, ids, strict=True)]
        await door.ask(stream=streamed, input=[{"role": "user", "content": "Hello?"}, *first["output"], *results])
        assert sent_history(dialect, door.sent) == HISTORIES[dialect]


PLAN = {"type": "reasoning", "id": "rs_9", "summary": [], "encrypted_content": "of their own"}


@DIALECTS
async def test_encrypted_content_of_a_responses_provider_goes_to_such_a_provider_only(dialect: str) -> None:
    async with open_door(dialect, EVERYTHING[dialect][False]) as door:
        given = [
            {"role": "user", "content": "A"},
            PLAN,
            {"role": "assistant", "content": "B"},
            {"role": "user", "content": "C"},
        ]
        await door.ask(stream=False, input=given)
        sent = json.dumps(door.sent)
        assert ("of their own" in sent) == (dialect == "responses")
        if dialect == "responses":
            assert PLAN in door.sent["input"]


def called(name: str, arguments: str) -> dict[str, tuple[Any, Any]]:
    """An answer of every dialect that calls a function."""
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
    use = {"type": "tool_use", "id": "call_1", "name": name, "input": json.loads(arguments)}
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name, "arguments": arguments}
    told = {"function": {"name": name, "arguments": json.loads(arguments)}}
    return {
        "chat_completions": (
            body(completion(None, tool_calls=[call])),
            stream(events(chunk(tool_calls=[{"index": 0, **call}]), chunk("tool_calls"))),
        ),
        "responses": (
            body({**RESPONSE, "output": [item]}),
            stream(events({**COMPLETED, "response": {**RESPONSE, "output": [item]}}, end=b"")),
        ),
        "messages": (
            body(message("", use, stop="tool_use")),
            stream(
                events(
                    {"type": "content_block_start", "index": 0, "content_block": use},
                    {"type": "content_block_stop", "index": 0},
                    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
                    {"type": "message_stop"},
                )
            ),
        ),
        "ollama": (body(ollama("", tool_calls=[told])), stream(lines(line(tool_calls=[told]), line(done=True)))),
    }


NAMESPACE = {"type": "namespace", "name": "multi_agent", "description": "Agents.", "tools": [
    {"type": "function", "name": "spawn", "parameters": {"type": "object"}}]}  # fmt: skip
PATCH = {"type": "custom", "name": "apply_patch", "description": "Patch.", "format": {
    "type": "grammar", "syntax": "lark", "definition": "start: WORD"}}  # fmt: skip
SEARCH = {"type": "web_search", "external_web_access": True}


@DIALECTS
@MODES
async def test_a_namespace_is_given_back_and_mapped_in_the_history(dialect: str, streamed: bool) -> None:
    scripts = called("multi_agent__spawn", '{"task":"x"}')
    async with open_door(dialect, scripts[dialect][streamed]) as door:
        first = await door.ask(stream=streamed, tools=[NAMESPACE, SEARCH])
        (call,) = first["output"]
        assert (call["type"], call["name"], call["namespace"]) == ("function_call", "spawn", "multi_agent")
        assert json.loads(call["arguments"]) == {"task": "x"}
        assert first["tools"] == [NAMESPACE, SEARCH]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "ok"}
        await door.ask(stream=streamed, tools=[NAMESPACE], input=[{"role": "user", "content": "A"}, call, result])
        sent = json.dumps(door.sent)
        assert sent.count('"multi_agent__spawn"') == 2 + (dialect == "ollama")  # its results have the tool's name
        assert "web_search" not in sent


@DIALECTS
@MODES
async def test_a_custom_tool_is_called_with_text(dialect: str, streamed: bool) -> None:
    scripts = called("apply_patch", '{"input":"*** Begin\\n"}')
    if dialect == "responses":  # the provider has such tools itself
        item = {
            "type": "custom_tool_call",
            "id": "ctc",
            "call_id": "call_1",
            "name": "apply_patch",
            "input": "*** Begin\n",
        }
        ended = {**RESPONSE, "output": [item]}
        scripts["responses"] = body(ended), stream(events({**COMPLETED, "response": ended}, end=b""))
    async with open_door(dialect, scripts[dialect][streamed]) as door:
        first = await door.ask(stream=streamed, tools=[PATCH], tool_choice={"type": "custom", "name": "apply_patch"})
        (call,) = first["output"]
        assert (call["type"], call["name"], call["input"]) == ("custom_tool_call", "apply_patch", "*** Begin\n")
        result = {"type": "custom_tool_call_output", "call_id": call["call_id"], "output": "done"}
        await door.ask(stream=streamed, tools=[PATCH], input=[{"role": "user", "content": "A"}, call, result])
        custom = [tool for tool in door.sent["tools"] if tool.get("type") == "custom"]
        natively = dialect in ("responses", "chat_completions")  # OpenRouter takes them as well
        assert len(custom) == natively
        assert "*** Begin" in json.dumps(door.sent)


async def test_arguments_that_are_no_text_come_as_they_are() -> None:
    scripts = called("apply_patch", '{"patch":"x"}')
    async with open_door("ollama", scripts["ollama"][0]) as door:
        (call,) = (await door.ask(stream=False, tools=[PATCH]))["output"]
    assert (call["type"], json.loads(call["input"])) == ("custom_tool_call", {"patch": "x"})


PNG = "data:image/png;base64,iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


@DIALECTS
@MODES
async def test_images_developers_and_structured_output(dialect: str, streamed: bool) -> None:
    wanted = '{"a": 1}'
    plain = {
        "chat_completions": (body(completion(wanted)), stream(events(chunk(content=wanted), chunk("stop")))),
        "responses": (
            body(response(wanted)),
            stream(events({"type": "response.completed", "response": response(wanted)}, end=b"")),
        ),
        "messages": called(ANSWER_TOOL, wanted)["messages"],
        "ollama": (body(ollama(wanted)), stream(lines(line(wanted), line(done=True)))),
    }
    async with open_door(dialect, plain[dialect][streamed]) as door:
        content = [{"type": "input_text", "text": "See"}, {"type": "input_image", "image_url": PNG}]
        given = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": content}]
        text = {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}
        answer = await door.ask(stream=streamed, input=given, text=text)
        sent = json.dumps(door.sent)
    (item,) = answer["output"]
    assert json.loads(item["content"][0]["text"]) == {"a": 1}
    assert answer["text"]["format"]["schema"] == SCHEMA
    assert "iVBORw0KGgo=" in sent
    assert "Be brief." in sent
    assert "integer" in sent
