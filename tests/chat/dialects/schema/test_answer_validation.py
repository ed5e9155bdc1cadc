"""Validation of JSON answers: a mismatch is an error with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import JsonMode
from lakehouse.chat.dialects.schema.answer_tool import ANSWER_TOOL, WRAPPED_ANSWER_TOOL
from lakehouse.chat.model.pieces import ContentPiece, ReasoningPiece, ToolCallPiece
from lakehouse.core.errors import LakehouseError
from tests.chat.dialects.schema.structured_kit import (
    GHENT,
    LIST,
    SCHEMA,
    TOOL,
    build_completion,
    build_stream,
    make_codec,
)
from tools.kit import wire_files

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
    assert make_codec(level="prompt").decode(build_completion(text)).content == GHENT


@pytest.mark.parametrize("text", DRESSED)
def test_json_in_a_stream_is_returned_once(text: str) -> None:
    parser = make_codec(level="prompt", stream=True).make_parser()
    assert parser.feed(build_stream(*text)) == []
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
def test_a_mismatch_is_an_error_with_its_place(text: str, where: str, level: JsonMode) -> None:
    with pytest.raises(LakehouseError, match=f"the answer of p does not fit `format`: {where}") as caught:
        make_codec(level=level).decode(build_completion(text))
    assert caught.value.error_class == "upstream_error"
    parser = make_codec(level=level, stream=True).make_parser()
    parser.feed(build_stream(text))
    with pytest.raises(LakehouseError, match=where):
        parser.end()


def test_a_part_of_an_answer_is_no_answer() -> None:
    for text in (f'{{"example": {GHENT}}}', f'As in {{"example": {GHENT}}} here', f"[{GHENT}]"):
        with pytest.raises(LakehouseError, match=r"at `\$`"):
            make_codec(level="prompt").decode(build_completion(text))


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
    parser = make_codec(MESSAGES, stream=True).make_parser()
    assert parser.feed(b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)) == []
    assert parser.flush() == [ContentPiece(GHENT)]


def test_the_place_of_a_mismatch_in_a_list() -> None:
    with pytest.raises(LakehouseError, match=r"at `\$\[1\]`"):
        make_codec(format=LIST).decode(build_completion("[1, 2.5]"))


def test_an_enforced_answer_streams_as_it_arrives() -> None:
    parser = make_codec(stream=True).make_parser()
    half = len(GHENT) // 2
    assert parser.feed(build_stream(GHENT[:half], GHENT[half:])) == [
        ContentPiece(GHENT[:half]),
        ContentPiece(GHENT[half:]),
    ]
    assert parser.end().content == GHENT


def test_a_streamed_code_fence_is_a_mismatch() -> None:
    parser = make_codec(stream=True).make_parser()
    parser.feed(build_stream(f"```json\n{GHENT}\n```"))
    with pytest.raises(LakehouseError, match="other text around the JSON"):
        parser.end()


@pytest.mark.parametrize("finish", ["length", "content_filter"])
@pytest.mark.parametrize("level", ["native", "prompt"])
def test_a_truncated_answer_is_not_validated(finish: str, level: JsonMode) -> None:
    reply = make_codec(level=level).decode(build_completion('{"city":"Gh', finish))
    assert (reply.content, reply.finish_reason) == ('{"city":"Gh', finish)
    parser = make_codec(level=level, stream=True).make_parser()
    deltas = [*parser.feed(build_stream('{"city":"Gh', finish=finish)), *parser.flush()]
    assert deltas == [ContentPiece('{"city":"Gh')]
    assert parser.end().finish_reason == finish


def test_a_call_of_the_callers_tool_is_not_validated() -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    reply = make_codec(level="tool", tools=[TOOL]).decode(
        build_completion("Let me look.", "tool_calls", tool_calls=[call])
    )
    assert (reply.content, reply.finish_reason) == ("Let me look.", "tool_calls")


def test_reasoning_alone_is_not_validated() -> None:
    assert make_codec().decode(build_completion("", reasoning="hm")).reasoning == "hm"


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
    reply = make_codec(level="tool", format=schema).decode(build_completion(None, "tool_calls", tool_calls=[call]))
    assert (reply.content, reply.tool_calls, reply.finish_reason) == (expected, (), "stop")
    parser = make_codec(level="tool", format=schema, stream=True).make_parser()
    chunk = {"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    deltas = [*parser.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n"), *parser.flush()]
    assert deltas == [ContentPiece(expected)]
    assert parser.end() == reply


def test_the_answer_tool_in_messages() -> None:
    block = {"type": "tool_use", "id": "t", "name": ANSWER_TOOL, "input": json.loads(GHENT)}
    reply = make_codec(MESSAGES).decode(json.dumps({"content": [block], "stop_reason": "tool_use"}).encode())
    assert (json.loads(reply.content), reply.tool_calls, reply.finish_reason) == (json.loads(GHENT), (), "stop")


def test_the_arguments_of_the_answer_tool_are_validated() -> None:
    with pytest.raises(LakehouseError, match=r"at `\$`"):
        make_codec(level="tool").decode(build_completion(None, tool_calls=[answer_call(ANSWER_TOOL, "{}")]))


def test_an_ignored_schema_is_a_mismatch() -> None:
    ignored = (wire_files.WIRE / "ollama_cloud_schema_ignored.json").read_bytes()
    with pytest.raises(LakehouseError, match="does not fit `format`"):
        make_codec(OLLAMA, level="prompt").decode(ignored)


def test_reasoning_streams_while_the_answer_is_held_back() -> None:
    parser = make_codec(level="json_object", stream=True).make_parser()
    thought = b'data: {"choices":[{"delta":{"reasoning":"hm"}}]}\n\n'
    assert parser.feed(thought + build_stream(GHENT)) == [ReasoningPiece("hm")]
    assert parser.flush() == [ContentPiece(GHENT)]


def test_tool_calls_are_delivered_as_call_pieces_only() -> None:
    parser = make_codec(level="tool", stream=True, tools=[TOOL]).make_parser()
    chunk = {"choices": [{"delta": {"tool_calls": [answer_call("f", "{}")]}, "finish_reason": "stop"}]}
    deltas = [*parser.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n"), *parser.flush()]
    assert [type(delta) for delta in deltas] == [ToolCallPiece]
    assert parser.end().finish_reason == "tool_calls"
