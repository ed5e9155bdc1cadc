"""How each level requests JSON in each dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import JsonMode
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.chat.dialects.schema.answer_tool import ANSWER_TOOL, WRAPPED_ANSWER_TOOL
from lakehouse.core.errors import ErrBadRequest
from tests.chat.dialects.schema.structured_kit import CHAT, HELLO, LIST, LOOSE, SCHEMA, TOOL, encode_body, make_codec


def test_an_enforced_schema_in_each_dialect() -> None:
    named = {"name": "City_facts", "schema": SCHEMA, "strict": True}
    assert encode_body(CHAT, "native")["response_format"] == {"type": "json_schema", "json_schema": named}
    assert encode_body(RESPONSES, "native")["text"] == {"format": {"type": "json_schema", **named}}
    assert encode_body(OLLAMA, "native")["format"] == SCHEMA
    assert encode_body(CHAT, "native")["messages"] == HELLO


def test_strict_is_set_only_for_a_schema_that_meets_its_rules() -> None:
    inner = {**SCHEMA, "properties": {**SCHEMA["properties"], "city": LOOSE}}
    for schema in (LOOSE, inner, LIST, {**SCHEMA, "required": ["city"]}):
        sent = encode_body(CHAT, "native", format=schema)["response_format"]["json_schema"]
        assert "strict" not in sent
        assert sent["schema"] == schema
    assert encode_body(CHAT, "native", format=LOOSE)["response_format"]["json_schema"]["name"] == "answer"


@pytest.mark.parametrize(("dialect", "where"), [(CHAT, "messages"), (OLLAMA, "messages"), (RESPONSES, "input")])
def test_a_json_mode_with_the_schema_in_the_prompt(dialect: Dialect, where: str) -> None:
    sent = encode_body(dialect, "json_object")
    asked = {"messages": {"type": "json_object"}, "input": {"format": {"type": "json_object"}}}[where]
    assert sent.get("format" if dialect is OLLAMA else "response_format" if dialect is CHAT else "text") == (
        "json" if dialect is OLLAMA else asked
    )
    system, user = sent[where]
    assert system["role"] == "system"
    assert json.dumps(SCHEMA, separators=(",", ":")) in system["content"]
    assert user == HELLO[0]


@pytest.mark.parametrize("first", ["system", "developer"])
@pytest.mark.parametrize("content", ["Be kind.", [{"type": "text", "text": "Be kind."}]])
def test_an_existing_system_message_stays_first(first: str, content: object) -> None:
    sent = encode_body(OLLAMA, "prompt", messages=[{"role": first, "content": content}, *HELLO])
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert sent["messages"][0]["content"].startswith("Be kind.")
    assert '"population"' in sent["messages"][0]["content"]
    assert "format" not in sent


def test_a_tool_whose_arguments_are_the_answer() -> None:
    chat = encode_body(CHAT, "tool")
    assert [tool["function"]["name"] for tool in chat["tools"]] == [ANSWER_TOOL]
    assert chat["tools"][0]["function"]["parameters"] == SCHEMA
    assert chat["tool_choice"] == {"type": "function", "function": {"name": ANSWER_TOOL}}
    assert ANSWER_TOOL in chat["messages"][0]["content"]
    assert "response_format" not in chat
    messages = encode_body(MESSAGES, "native")  # the form has no other way
    assert messages["tools"][0]["input_schema"] == SCHEMA
    assert messages["tool_choice"] == {"type": "tool", "name": ANSWER_TOOL}
    assert ANSWER_TOOL in messages["system"]
    assert encode_body(RESPONSES, "tool")["tool_choice"] == {"type": "function", "name": ANSWER_TOOL}
    assert [tool["function"]["name"] for tool in encode_body(OLLAMA, "tool")["tools"]] == [ANSWER_TOOL]


def test_the_answer_tool_is_not_forced_beside_other_tools_or_thinking() -> None:
    assert encode_body(CHAT, "tool", tools=[TOOL])["tool_choice"] == "required"
    assert encode_body(MESSAGES, "tool", tools=[TOOL])["tool_choice"] == {"type": "any"}
    assert encode_body(CHAT, "tool", think=True)["tool_choice"] == "auto"
    assert encode_body(MESSAGES, "tool", think=True)["tool_choice"] == {"type": "auto"}
    assert encode_body(RESPONSES, "tool", think=True)["tool_choice"] == "auto"


def test_a_schema_of_another_type_is_wrapped_for_the_answer_tool() -> None:
    tool = encode_body(CHAT, "tool", format=LIST)["tools"][0]["function"]
    assert tool["name"] == WRAPPED_ANSWER_TOOL
    assert tool["parameters"] == {
        "type": "object",
        "properties": {"value": {"type": "array", "items": {"$ref": "#/$defs/N"}}},
        "required": ["value"],
        "$defs": LIST["$defs"],
    }


@pytest.mark.parametrize("level", ["native", "json_object"])
def test_any_json(level: JsonMode) -> None:
    assert encode_body(CHAT, level, format="json")["response_format"] == {"type": "json_object"}
    assert encode_body(OLLAMA, level, format="json")["format"] == "json"
    # OpenAI refuses the mode when the word is not in the prompt.
    assert encode_body(CHAT, level, format="json")["messages"][0] == {
        "role": "system",
        "content": "Answer with JSON only.",
    }
    asked = [{"role": "user", "content": "As json, please"}]
    assert encode_body(CHAT, level, format="json", messages=asked)["messages"] == asked


@pytest.mark.parametrize("level", ["tool", "prompt"])
def test_any_json_without_a_mode(level: JsonMode) -> None:
    sent = encode_body(CHAT, level, format="json")
    assert "tools" not in sent
    assert "response_format" not in sent
    assert sent["messages"][0]["content"] == "Answer with JSON only."


def test_the_schema_is_also_in_the_prompt_where_the_model_does_not_see_the_grammar() -> None:
    sent = encode_body(OLLAMA, "native", quirks={"schema_in_prompt": True})
    assert sent["format"] == SCHEMA
    assert '"population"' in sent["messages"][0]["content"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"properties": 5},
        {"$ref": "http://127.0.0.1:9/x"},
        {"$ref": "file:///etc/passwd"},
        {"pattern": "("},
    ],
)
def test_an_invalid_schema_is_rejected_and_nothing_is_fetched(schema: dict[str, Any]) -> None:
    with pytest.raises(ErrBadRequest, match="`format`"):
        make_codec(format=schema)


def test_a_reference_out_of_the_schema_is_not_followed() -> None:
    with pytest.raises(ErrBadRequest, match="is no path in it"):
        make_codec(format={"$ref": "http://127.0.0.1:9/x"})


def test_a_schema_that_grows_too_large_in_the_subset_is_rejected() -> None:
    wide = {"properties": {str(n): {} for n in range(300)}, "anyOf": [{"required": [str(n)]} for n in range(300)]}
    with pytest.raises(ErrBadRequest, match="too large"):
        make_codec(format=wide, quirks={"schema_subset": "moonshot"})


def test_a_schema_that_is_nested_too_deeply_is_rejected() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"items": deep}
    with pytest.raises(ErrBadRequest, match="format"):
        make_codec(format=deep, level="prompt")
