"""Answers in JSON: how each step of the ladder asks for them, and that none is passed off as fitting that does not."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.call_codec import CallCodec
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks, SchemaLevel
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.chat.dialects.schema.answer_tool import ANSWER_TOOL, WRAPPED_ANSWER_TOOL
from lakehouse.chat.dialects.schema.moonshot import rewrite_for_moonshot
from lakehouse.chat.dialects.schema.validate import compile_schema
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import ContentPiece, ReasoningPiece, ToolCallPiece
from lakehouse.chat.model.request import Request
from lakehouse.core.errors import ErrBadRequest, LakehouseError
from tools.kit import wire_files

SCHEMA: dict[str, Any] = {
    "title": "City facts!",
    "type": "object",
    "properties": {"city": {"type": "string"}, "population": {"type": "integer", "minimum": 1}},
    "required": ["city", "population"],
    "additionalProperties": False,
}
LOOSE: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
LIST: dict[str, Any] = {"type": "array", "items": {"$ref": "#/$defs/N"}, "$defs": {"N": {"type": "integer"}}}
GHENT = '{"city":"Ghent","population":267709}'
HELLO = [{"role": "user", "content": "Ghent?"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": LOOSE}}
CHAT = CHAT_COMPLETIONS


def exchange(
    dialect: Dialect = CHAT,
    *,
    level: SchemaLevel = "native",
    stream: bool = False,
    quirks: dict[str, Any] | None = None,
    **fields: Any,
) -> CallCodec:
    fields = {"format": SCHEMA, "messages": HELLO, **fields}
    request = Request(model="m", **fields)
    return CallCodec(
        dialect, request, model="m", stream=stream, quirks=Quirks(provider="p", schema=level, **(quirks or {}))
    )


def body(dialect: Dialect, level: SchemaLevel, **fields: Any) -> dict[str, Any]:
    return json.loads(exchange(dialect, level=level, **fields).body)  # type: ignore[no-any-return]


# Asking


def test_an_enforced_schema_in_each_dialect() -> None:
    named = {"name": "City_facts", "schema": SCHEMA, "strict": True}
    assert body(CHAT, "native")["response_format"] == {"type": "json_schema", "json_schema": named}
    assert body(RESPONSES, "native")["text"] == {"format": {"type": "json_schema", **named}}
    assert body(OLLAMA, "native")["format"] == SCHEMA
    assert body(CHAT, "native")["messages"] == HELLO


def test_strict_is_set_only_for_a_schema_that_meets_its_rules() -> None:
    inner = {**SCHEMA, "properties": {**SCHEMA["properties"], "city": LOOSE}}
    for schema in (LOOSE, inner, LIST, {**SCHEMA, "required": ["city"]}):
        sent = body(CHAT, "native", format=schema)["response_format"]["json_schema"]
        assert "strict" not in sent
        assert sent["schema"] == schema
    assert body(CHAT, "native", format=LOOSE)["response_format"]["json_schema"]["name"] == "answer"


@pytest.mark.parametrize(("dialect", "where"), [(CHAT, "messages"), (OLLAMA, "messages"), (RESPONSES, "input")])
def test_a_json_mode_with_the_schema_in_the_prompt(dialect: Dialect, where: str) -> None:
    sent = body(dialect, "json_object")
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
    sent = body(OLLAMA, "prompt", messages=[{"role": first, "content": content}, *HELLO])
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert sent["messages"][0]["content"].startswith("Be kind.")
    assert '"population"' in sent["messages"][0]["content"]
    assert "format" not in sent


def test_a_tool_whose_arguments_are_the_answer() -> None:
    chat = body(CHAT, "tool")
    assert [tool["function"]["name"] for tool in chat["tools"]] == [ANSWER_TOOL]
    assert chat["tools"][0]["function"]["parameters"] == SCHEMA
    assert chat["tool_choice"] == {"type": "function", "function": {"name": ANSWER_TOOL}}
    assert ANSWER_TOOL in chat["messages"][0]["content"]
    assert "response_format" not in chat
    messages = body(MESSAGES, "native")  # the form has no other way
    assert messages["tools"][0]["input_schema"] == SCHEMA
    assert messages["tool_choice"] == {"type": "tool", "name": ANSWER_TOOL}
    assert ANSWER_TOOL in messages["system"]
    assert body(RESPONSES, "tool")["tool_choice"] == {"type": "function", "name": ANSWER_TOOL}
    assert [tool["function"]["name"] for tool in body(OLLAMA, "tool")["tools"]] == [ANSWER_TOOL]


def test_the_answer_tool_is_not_forced_beside_other_tools_or_thinking() -> None:
    assert body(CHAT, "tool", tools=[TOOL])["tool_choice"] == "required"
    assert body(MESSAGES, "tool", tools=[TOOL])["tool_choice"] == {"type": "any"}
    assert body(CHAT, "tool", think=True)["tool_choice"] == "auto"
    assert body(MESSAGES, "tool", think=True)["tool_choice"] == {"type": "auto"}
    assert body(RESPONSES, "tool", think=True)["tool_choice"] == "auto"


def test_a_schema_of_another_type_is_wrapped_for_the_answer_tool() -> None:
    tool = body(CHAT, "tool", format=LIST)["tools"][0]["function"]
    assert tool["name"] == WRAPPED_ANSWER_TOOL
    assert tool["parameters"] == {
        "type": "object",
        "properties": {"value": {"type": "array", "items": {"$ref": "#/$defs/N"}}},
        "required": ["value"],
        "$defs": LIST["$defs"],
    }


@pytest.mark.parametrize("level", ["native", "json_object"])
def test_any_json(level: SchemaLevel) -> None:
    assert body(CHAT, level, format="json")["response_format"] == {"type": "json_object"}
    assert body(OLLAMA, level, format="json")["format"] == "json"
    # OpenAI refuses the mode when the word is not in the prompt.
    assert body(CHAT, level, format="json")["messages"][0] == {"role": "system", "content": "Answer with JSON only."}
    asked = [{"role": "user", "content": "As json, please"}]
    assert body(CHAT, level, format="json", messages=asked)["messages"] == asked


@pytest.mark.parametrize("level", ["tool", "prompt"])
def test_any_json_without_a_mode(level: SchemaLevel) -> None:
    sent = body(CHAT, level, format="json")
    assert "tools" not in sent
    assert "response_format" not in sent
    assert sent["messages"][0]["content"] == "Answer with JSON only."


def test_the_schema_is_also_in_the_prompt_where_the_model_does_not_see_the_grammar() -> None:
    sent = body(OLLAMA, "native", quirks={"schema_in_prompt": True})
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
        exchange(format=schema)


def test_a_reference_out_of_the_schema_is_not_followed() -> None:
    with pytest.raises(ErrBadRequest, match="is no path in it"):
        exchange(format={"$ref": "http://127.0.0.1:9/x"})


def test_a_schema_that_grows_too_large_in_the_subset_is_rejected() -> None:
    wide = {"properties": {str(n): {} for n in range(300)}, "anyOf": [{"required": [str(n)]} for n in range(300)]}
    with pytest.raises(ErrBadRequest, match="too large"):
        exchange(format=wide, quirks={"schema_subset": "moonshot"})


def test_a_schema_that_is_nested_too_deeply_is_rejected() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"items": deep}
    with pytest.raises(ErrBadRequest, match="format"):
        exchange(format=deep, level="prompt")


# Answers


def chat(content: object, finish: str = "stop", **message: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content, **message}, "finish_reason": finish}]}).encode()


def streamed(*texts: str, finish: str = "stop") -> bytes:
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": {"content": text}}]} for text in texts]
    chunks.append({"choices": [{"delta": {}, "finish_reason": finish}]})
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)


DRESSED = [
    GHENT,
    f"  {GHENT}\n",
    f"```json\n{GHENT}\n```",
    f"```\n{GHENT}```",
    f"Sure! Here it is:\n\n```json\r\n{GHENT}\r\n```\nAnything else?",
    f"Here you are: {GHENT} as asked.",
    f"In [brackets] and {{braces}} first, then {GHENT}",
    f"<think>It is {{}} maybe</think>{GHENT}",
    f"maybe [1] or so</think>\n\n{GHENT}",
    f"```python\nx = 1\n```\n```json\n{GHENT}\n```",
]


@pytest.mark.parametrize("text", DRESSED)
def test_json_is_found_in_surrounding_text(text: str) -> None:
    assert exchange(level="prompt").decode(chat(text)).content == GHENT


@pytest.mark.parametrize("text", DRESSED)
def test_json_in_a_stream_is_returned_once(text: str) -> None:
    parser = exchange(level="prompt", stream=True).make_parser()
    assert parser.feed(streamed(*text)) == []
    assert parser.flush() == [ContentPiece(GHENT)]
    assert parser.end().content == GHENT
    assert parser.complete


MISMATCHES = [
    ('{"city":"Ghent","population":"many"}', r"at `\$\.population`: .*integer"),
    ('{"city":"Ghent","population":0}', r"at `\$\.population`: .*minimum"),
    ('{"city":"Ghent"}', r"at `\$`: .*population.* is a required property"),
    ('{"city":"Ghent","population":1,"x":2}', r"at `\$`: .*'x'"),
    ("[1]", r"at `\$`: .*object"),
    ("I cannot say.", "it is not JSON"),
    ('{"city":"Ghent","population":', "it is not JSON"),
    ('{"city":"Ghent","population":NaN}', "it is not JSON"),
]


@pytest.mark.parametrize(("text", "where"), MISMATCHES)
@pytest.mark.parametrize("level", ["native", "prompt"])
def test_a_mismatch_is_an_error_with_its_place(text: str, where: str, level: SchemaLevel) -> None:
    with pytest.raises(LakehouseError, match=f"the answer of p does not fit `format`: {where}") as caught:
        exchange(level=level).decode(chat(text))
    assert caught.value.error_class == "upstream_error"
    parser = exchange(level=level, stream=True).make_parser()
    parser.feed(streamed(text))
    with pytest.raises(LakehouseError, match=where):
        parser.end()


def test_a_part_of_an_answer_is_no_answer() -> None:
    for text in (f'{{"example": {GHENT}}}', f'As in {{"example": {GHENT}}} here', f"[{GHENT}]"):
        with pytest.raises(LakehouseError, match=r"at `\$`"):
            exchange(level="prompt").decode(chat(text))


def test_text_before_the_answer_tool_call_is_not_the_answer() -> None:
    events = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Let me see. "}},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "t", "name": ANSWER_TOOL},
        },
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": GHENT}},
        {"type": "message_stop"},
    ]
    parser = exchange(MESSAGES, stream=True).make_parser()
    assert parser.feed(b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)) == []
    assert parser.flush() == [ContentPiece(GHENT)]


def test_the_place_of_a_mismatch_in_a_list() -> None:
    with pytest.raises(LakehouseError, match=r"at `\$\[1\]`"):
        exchange(format=LIST).decode(chat("[1, 2.5]"))


def test_an_enforced_answer_streams_as_it_arrives() -> None:
    parser = exchange(stream=True).make_parser()
    half = len(GHENT) // 2
    assert parser.feed(streamed(GHENT[:half], GHENT[half:])) == [ContentPiece(GHENT[:half]), ContentPiece(GHENT[half:])]
    assert parser.end().content == GHENT


def test_a_streamed_code_fence_is_a_mismatch() -> None:
    parser = exchange(stream=True).make_parser()
    parser.feed(streamed(f"```json\n{GHENT}\n```"))
    with pytest.raises(LakehouseError, match="other text around the JSON"):
        parser.end()


@pytest.mark.parametrize("finish", ["length", "content_filter"])
@pytest.mark.parametrize("level", ["native", "prompt"])
def test_a_truncated_answer_is_not_validated(finish: str, level: SchemaLevel) -> None:
    reply = exchange(level=level).decode(chat('{"city":"Gh', finish))
    assert (reply.content, reply.finish_reason) == ('{"city":"Gh', finish)
    parser = exchange(level=level, stream=True).make_parser()
    deltas = [*parser.feed(streamed('{"city":"Gh', finish=finish)), *parser.flush()]
    assert deltas == [ContentPiece('{"city":"Gh')]
    assert parser.end().finish_reason == finish


def test_a_call_of_the_callers_tool_is_not_validated() -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    reply = exchange(level="tool", tools=[TOOL]).decode(chat("Let me look.", "tool_calls", tool_calls=[call]))
    assert (reply.content, reply.finish_reason) == ("Let me look.", "tool_calls")


def test_reasoning_alone_is_not_validated() -> None:
    assert exchange().decode(chat("", reasoning="hm")).reasoning == "hm"


def answer_call(name: str, arguments: str) -> dict[str, Any]:
    return {"id": "a", "index": 0, "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("schema", "call", "expected"),
    [
        (SCHEMA, answer_call(ANSWER_TOOL, GHENT), GHENT),
        (LIST, answer_call(WRAPPED_ANSWER_TOOL, '{"value": [1, 2]}'), "[1,2]"),
    ],
)
def test_the_arguments_of_the_tool_are_the_answer(schema: dict[str, Any], call: dict[str, Any], expected: str) -> None:
    reply = exchange(level="tool", format=schema).decode(chat(None, "tool_calls", tool_calls=[call]))
    assert (reply.content, reply.tool_calls, reply.finish_reason) == (expected, (), "stop")
    parser = exchange(level="tool", format=schema, stream=True).make_parser()
    chunk = {"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    deltas = [*parser.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n"), *parser.flush()]
    assert deltas == [ContentPiece(expected)]
    assert parser.end() == reply


def test_the_answer_tool_in_messages() -> None:
    block = {"type": "tool_use", "id": "t", "name": ANSWER_TOOL, "input": json.loads(GHENT)}
    reply = exchange(MESSAGES).decode(json.dumps({"content": [block], "stop_reason": "tool_use"}).encode())
    assert (json.loads(reply.content), reply.tool_calls, reply.finish_reason) == (json.loads(GHENT), (), "stop")


def test_the_arguments_of_the_answer_tool_are_validated() -> None:
    with pytest.raises(LakehouseError, match=r"at `\$`"):
        exchange(level="tool").decode(chat(None, tool_calls=[answer_call(ANSWER_TOOL, "{}")]))


def test_an_ignored_schema_is_a_mismatch() -> None:
    ignored = (wire_files.WIRE / "ollama_cloud_schema_ignored.json").read_bytes()
    with pytest.raises(LakehouseError, match="does not fit `format`"):
        exchange(OLLAMA, level="prompt").decode(ignored)


def test_reasoning_streams_while_the_answer_is_held_back() -> None:
    parser = exchange(level="json_object", stream=True).make_parser()
    thought = b'data: {"choices":[{"delta":{"reasoning":"hm"}}]}\n\n'
    assert parser.feed(thought + streamed(GHENT)) == [ReasoningPiece("hm")]
    assert parser.flush() == [ContentPiece(GHENT)]


# One body in place of a stream, and a stream in place of a body


def feed_pieces(dialect: Dialect, data: bytes, size: int) -> tuple[list[Any], ProviderAnswer]:
    parser = CallCodec(
        dialect, Request(model="m", messages=HELLO), model="m", stream=True, quirks=Quirks(provider="p")
    ).make_parser()
    deltas = [delta for start in range(0, len(data), size) for delta in parser.feed(data[start : start + size])]
    return [*deltas, *parser.flush()], parser.end()


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize(
    ("dialect", "data"),
    [
        (CHAT, chat("Hi")),
        (CHAT, b"\xef\xbb\xbf\n\n " + chat("Hi")),
        (CHAT, streamed("Hi")),
        (CHAT, b": first a comment\n\n" + streamed("Hi")),
        (CHAT, b"\r\n\r\n\xef\xbb\xbf" + streamed("Hi")),
        (OLLAMA, b'{"message":{"content":"Hi"},"done":true,"done_reason":"stop"}'),
        (OLLAMA, b'{\n "message": {"content": "Hi"},\n "done": true, "done_reason": "stop"\n}\n'),
        (
            OLLAMA,
            b'{ "message":{"content":"H"},"done":false}\n{"message":{"content":"i"},"done":true,"done_reason":"stop"}\n',
        ),
    ],
)
def test_the_form_of_an_answer_is_detected_from_its_bytes(dialect: Dialect, data: bytes, size: int) -> None:
    deltas, reply = feed_pieces(dialect, data, size)
    assert reply.content == "".join(delta.text for delta in deltas) == "Hi"


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize(
    ("dialect", "data", "error_class"),
    [
        (CHAT, b'{"error":{"code":503,"message":"x"}}', "overloaded"),
        (CHAT, b"<!doctype html><title>Hello</title>", "upstream_error"),
        (CHAT, b"<", "upstream_error"),
        (CHAT, b'{"choices": [', "upstream_error"),
        (CHAT, b"", "incomplete_stream"),
        (CHAT, b"dat", "upstream_error"),
        (OLLAMA, b'{"error":"model \'x\' not found"}', "model_not_found"),
        (OLLAMA, b"<html>", "upstream_error"),
        (OLLAMA, b"{", "upstream_error"),
    ],
)
def test_bytes_of_neither_form_are_an_error(dialect: Dialect, data: bytes, error_class: str, size: int) -> None:
    with pytest.raises(LakehouseError) as caught:
        feed_pieces(dialect, data, size)
    assert caught.value.error_class == error_class


@pytest.mark.parametrize(
    ("data", "error_class", "said"),
    [
        (b"", "empty_response", "empty body"),
        (b"  \n", "empty_response", "empty body"),
        (b"<html><title>Oops</title></html>", "upstream_error", "an HTML page: Oops"),
        (b'{"choices":[{"mess', "upstream_error", "not a JSON object"),
        (b"[1]", "upstream_error", "not a JSON object"),
        (b'{"hello":"world"}', "upstream_error", "not understood"),
        (b'{"choices":[]}', "empty_response", "empty answer"),
        (b'{"choices":null}', "empty_response", "empty answer"),
        (chat(""), "empty_response", "empty answer"),
        (chat(None, "length"), "empty_response", "empty answer"),
        (chat("", "content_filter"), "content_policy", "content filter"),
        (b'{"choices":[{"error":{"code":502,"message":"gone"},"message":{"content":""},"finish_reason":"error"}]}', "upstream_error", "gone"),
    ],
)  # fmt: skip
def test_bodies_that_are_no_answers(data: bytes, error_class: str, said: str) -> None:
    with pytest.raises(LakehouseError, match=said) as caught:
        CHAT.decode(data, quirks=Quirks(provider="p"))
    assert caught.value.error_class == error_class


def test_a_completion_without_a_finish_reason_is_complete() -> None:
    assert CHAT.decode(b'{"choices":[{"message":{"content":"Hi"}}]}', quirks=Quirks()).finish_reason == "stop"


def test_a_body_instead_of_a_stream_is_limited() -> None:
    parser = CallCodec(CHAT, Request(model="m", messages=HELLO), model="m", stream=True, quirks=Quirks()).make_parser()
    parser.feed(b"{")
    for _ in range(511):
        parser.feed(b" " * 65536)
    with pytest.raises(LakehouseError, match="over the bound"):
        parser.feed(b" " * 65536)


# Moonshot's flavour

FLAVOURED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"type": "string", "minLength": 2, "format": "date", "title": "T", "description": "d"}, {"type": "string", "description": "d"}),
    ({"type": "integer", "minimum": 0, "maximum": 5, "default": 1}, {"type": "integer", "default": 1}),
    ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
    ({"enum": ["a", "b"]}, {"type": "string", "enum": ["a", "b"]}),
    ({"enum": ["a", None]}, {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]}),
    ({"const": 5}, {"type": "integer", "enum": [5]}),
    ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, {"anyOf": [{"type": "string"}, {"type": "integer"}]}),
    ({"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
     {"anyOf": [{"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}]}),
    ({"$ref": "#/definitions/A", "description": "d"}, {"$ref": "#/$defs/A"}),
    ({"properties": {"x": {"minimum": 1, "type": "number"}}, "required": ["x"]},
     {"type": "object", "required": ["x"], "properties": {"x": {"type": "number"}}}),
    ({"type": "array", "items": {"enum": [1]}, "minItems": 1, "maxItems": 3}, {"type": "array", "items": {"type": "integer", "enum": [1]}}),
    ({"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, {"properties": {"b": {"type": "null"}}}]},
     {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "b": {"type": "null"}}}),
    ({"type": "object", "additionalProperties": {"type": "string", "pattern": "x"}}, {"type": "object", "additionalProperties": {"type": "string"}}),
    ({"type": "object", "properties": {"x": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string", "maxLength": 3}}},
     {"type": "object", "properties": {"x": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "expected"), FLAVOURED)
def test_the_moonshot_subset(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert rewrite_for_moonshot(schema) == expected
    jsonschema_rs.validator_for(rewrite_for_moonshot(schema) | {"$defs": {"A": True}}, offline=True)


KEYWORDS = {
    "type", "properties", "required", "items", "enum", "anyOf", "additionalProperties", "description", "default", "$defs", "$ref",
}  # fmt: skip


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    leaf = st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "integer", "null", ["string", "null"]]),
            "enum": st.lists(st.none() | st.integers() | st.text(max_size=3) | st.booleans(), min_size=1, max_size=3),
            "minimum": st.integers(), "format": st.just("date"), "title": st.text(max_size=3), "description": st.text(max_size=3),
        },
    )  # fmt: skip
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.fixed_dictionaries({"type": st.just("array"), "items": inner}, optional={"minItems": st.just(1)}),
            st.fixed_dictionaries(
                {"anyOf": st.lists(inner, min_size=1, max_size=3)}, optional={"type": st.just("string")}
            ),
            st.fixed_dictionaries({"properties": st.dictionaries(st.text(max_size=3), inner, max_size=3)}),
            st.fixed_dictionaries({"allOf": st.lists(inner, min_size=1, max_size=2)}),
        ),
        max_leaves=8,
    )


def check_subset(schema: dict[str, Any]) -> None:
    assert set(schema) <= KEYWORDS
    if "anyOf" in schema:
        assert set(schema) <= {"anyOf", "description"}
        for branch in schema["anyOf"]:
            check_subset(branch)
        return
    assert isinstance(schema["type"], str)
    assert len({type(value) for value in schema.get("enum", [0])}) == 1
    for inner in schema.get("properties", {}).values():
        check_subset(inner)
    if schema["type"] == "array":
        check_subset(schema["items"])


@given(schemas())
def test_every_rewritten_schema_is_in_the_subset(schema: dict[str, Any]) -> None:
    check_subset(rewrite_for_moonshot(schema))


def test_tools_and_format_use_the_subset_and_the_answer_is_validated_against_the_whole_schema() -> None:
    bounded = {**SCHEMA, "title": "T"}
    sent = body(
        CHAT,
        "native",
        format=bounded,
        tools=[{"type": "function", "function": {"name": "f", "parameters": bounded, "strict": True}}],
        quirks={"schema_subset": "moonshot"},
    )
    flavoured = {**bounded, "properties": {"city": {"type": "string"}, "population": {"type": "integer"}}}
    del flavoured["title"]
    assert sent["response_format"]["json_schema"]["schema"] == flavoured
    assert sent["tools"][0]["function"] == {"name": "f", "parameters": flavoured}
    with pytest.raises(LakehouseError, match="minimum"):
        exchange(format=bounded, quirks={"schema_subset": "moonshot"}).decode(chat('{"city":"Ghent","population":0}'))


def test_tool_calls_are_delivered_as_call_pieces_only() -> None:
    parser = exchange(level="tool", stream=True, tools=[TOOL]).make_parser()
    chunk = {"choices": [{"delta": {"tool_calls": [answer_call("f", "{}")]}, "finish_reason": "stop"}]}
    deltas = [*parser.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n"), *parser.flush()]
    assert [type(delta) for delta in deltas] == [ToolCallPiece]
    assert parser.end().finish_reason == "tool_calls"


def build_exponential_schema(levels: int) -> dict[str, Any]:
    """A schema of some hundred bytes that is tried ten times as often with each level."""
    defs: dict[str, Any] = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 10} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{levels}": {"type": "string"}}}


def test_an_exponential_schema_is_rejected_fast() -> None:
    with pytest.raises(ErrBadRequest, match="with its references followed"):
        compile_schema(build_exponential_schema(20))
    node = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}
    assert compile_schema(node)[0].is_valid({"children": [{"children": []}]})
    assert not compile_schema(build_exponential_schema(3))[0].is_valid(1)
