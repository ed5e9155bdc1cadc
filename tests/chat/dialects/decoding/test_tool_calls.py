"""Tool calls out of fragments, and ids of calls that are sent back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.decoding import tool_call_fragments
from lakehouse.chat.dialects.decoding.reasoning import ReasoningDetails
from lakehouse.chat.dialects.decoding.tool_call_assembler import MAX_CALLS, ToolCallAssembler
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.tool_calls import ToolCallIdMap
from lakehouse.chat.model.tool_calls import AnyToolCall


def fragment(
    index: object = None,
    *,
    id: object = None,  # noqa: A002
    name: object = None,
    arguments: object = None,
) -> dict[str, Any]:
    return {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}


def assemble(fragments: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    calls = ToolCallAssembler()
    given: list[AnyToolCall] = []
    for piece in fragments:
        given += calls.add([piece])
    given += calls.finish()
    assert given == calls.calls
    return [(call.id, call.function.name, call.function.arguments) for call in given]


ASSEMBLIES: dict[str, tuple[list[dict[str, Any]], list[tuple[str, str, str]]]] = {
    "as documented": (
        [fragment(0, id="a", name="f", arguments=""), fragment(0, arguments='{"x"'), fragment(0, arguments=":1}")],
        [("a", "f", '{"x":1}')],
    ),
    "in parallel": (
        [fragment(0, id="a", name="f"), fragment(0, arguments="{}"), fragment(1, id="b", name="g"), fragment(1, arguments='{"y":2}')],
        [("a", "f", "{}"), ("b", "g", '{"y":2}')],
    ),
    "interleaved": (
        [fragment(0, id="a", name="f", arguments='{"x"'), fragment(1, id="b", name="g", arguments='{"y"'), fragment(0, arguments=":1}"), fragment(1, arguments=":2}")],
        [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')],
    ),
    "nulls after the first fragment": (
        [fragment(0, id="a", name="f", arguments='{"x"'), {"index": 0, "id": None, "function": {"name": None, "arguments": ":1}"}}],
        [("a", "f", '{"x":1}')],
    ),
    "no index, the same id": (
        [fragment(id="a", name="f", arguments='{"x"'), fragment(id="b", name="g", arguments="{"), fragment(id="a", arguments=":1}"), fragment(id="b", arguments="}")],
        [("a", "f", '{"x":1}'), ("b", "g", "{}")],
    ),
    "no index and no id": (
        [fragment(name="f", arguments='{"x"'), fragment(arguments=":1}"), fragment(name="g", arguments="{}")],
        [("call_…", "f", '{"x":1}'), ("call_…", "g", "{}")],
    ),
    "arguments before name and id": (
        [fragment(0, arguments='{"x"'), fragment(0, name="f"), fragment(0, arguments=":1}"), fragment(0, id="late")],
        [("late", "f", '{"x":1}')],
    ),
    "every call is number 0": (
        [fragment(0, id="a", name="f", arguments="{}"), fragment(0, id="b", name="f", arguments='{"y":2}')],
        [("a", "f", "{}"), ("b", "f", '{"y":2}')],
    ),
    "every call is number 0 and has no id": (
        [fragment(0, name="f", arguments='{"x":1}'), fragment(0, name="f", arguments='{"x":2}')],
        [("call_…", "f", '{"x":1}'), ("call_…", "f", '{"x":2}')],
    ),
    "number 0 twice, the first without arguments": (
        [fragment(0, name="f", arguments=""), fragment(0, name="g", arguments='{"x":2}')],
        [("call_…", "f", "{}"), ("call_…", "g", '{"x":2}')],
    ),
    "the name in every fragment": (
        [fragment(0, id="a", name="f", arguments='{"x"'), fragment(0, id="a", name="f", arguments=":1}")],
        [("a", "f", '{"x":1}')],
    ),
    "another id in every fragment": (
        [fragment(0, id="a", name="f", arguments='{"x"'), fragment(0, id="b", arguments=":1}")],
        [("a", "f", '{"x":1}')],
    ),
    "two calls with one id": (
        [fragment(0, id="a", name="f", arguments="{}"), fragment(1, id="a", name="f", arguments="{}")],
        [("a", "f", "{}"), ("a_2", "f", "{}")],
    ),
    "two whole calls with one id and no index": (
        [fragment(id="a", name="f", arguments='{"x":1}'), fragment(id="a", name="f", arguments='{"x":2}')],
        [("a", "f", '{"x":1}'), ("a_2", "f", '{"x":2}')],
    ),
    "objects": (
        [fragment(0, name="f", arguments={"x": "ü"}), fragment(0, name="f", arguments={})],
        [("call_…", "f", '{"x":"ü"}'), ("call_…", "f", "{}")],
    ),
    "an empty id, and an index that is a string": (
        [fragment("0", id="", name="f", arguments="{}")],
        [("call_…", "f", "{}")],
    ),
    "arguments that were cut": ([fragment(0, id="a", name="f", arguments='{"x": ')], [("a", "f", '{"x": ')]),
    "white space for arguments": ([fragment(0, id="a", name="f", arguments="  ")], [("a", "f", "{}")]),
    "nothing at all": ([{}, fragment(0)], []),
    "braces in strings": (
        [fragment(0, id="a", name="f", arguments='{"x":"}'), fragment(1, id="b", name="g", arguments="{}"), fragment(0, arguments='"}')],
        [("a", "f", '{"x":"}"}'), ("b", "g", "{}")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ASSEMBLIES)
def test_fragments_are_assembled(case: str) -> None:
    fragments, expected = ASSEMBLIES[case]
    found = assemble(fragments)
    assert [
        (id_ if not id_.startswith("call_") else "call_…", name, arguments) for id_, name, arguments in found
    ] == expected
    assert len({id_ for id_, _, _ in found}) == len(found)
    assert all(id_ for id_, _, _ in found)
    assert assemble(fragments) == found  # generated ids are deterministic


def test_a_call_is_returned_once_it_is_certainly_complete() -> None:
    calls = ToolCallAssembler()
    assert calls.add([fragment(0, id="a", name="f", arguments="{}")]) == []
    assert [call.id for call in calls.add([fragment(1, id="b", name="g")])] == ["a"]
    assert [call.id for call in calls.add([fragment(2, id="c", name="h", arguments={})])] == []  # `b` comes first
    assert [call.id for call in calls.finish()] == ["b", "c"]
    assert [call.id for call in ToolCallAssembler().add([fragment(0, id="d", name="f", arguments={})])] == ["d"]


def test_the_number_of_calls_is_limited() -> None:
    calls = ToolCallAssembler()
    calls.add(fragment(index, id=f"c{index}", name="f", arguments="{") for index in range(MAX_CALLS))
    calls.add([fragment(0, arguments="}")])
    with pytest.raises(ValueError, match="more than 256 tool calls"):
        calls.add([fragment(MAX_CALLS, name="f")])


def test_the_parsing_of_arguments_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_call_fragments, "MAX_PARSED", 10_000)
    large = fragment(0, name="f", arguments='{"x": "' + "x" * 4000 + "}")
    calls = ToolCallAssembler()
    calls.add([large, *[fragment(1, name="g", arguments=" ")] * 99])  # the first call is complete
    with pytest.raises(ValueError, match="too many pieces"):
        calls.add([fragment(0, name="f", arguments="}")] * 9)


QUADRATIC = {
    "ids of calls that are sent back": lambda: [*map(ToolCallIdMap().add_call, ["a"] * 30_000)],
    "ids with the same beginning": lambda: [
        *map(ToolCallIdMap().add_call, [f"{'x' * 58}{n % 15_000:06}" for n in range(30_000)])
    ],
    "entries of reasoning": lambda: ReasoningDetails().add({"type": "t", "index": n} for n in range(30_000)),
    "white space for arguments": lambda: ToolCallAssembler().add([fragment(0, name="f", arguments=" ")] * 30_000),
}


@pytest.mark.parametrize("work", QUADRATIC.values(), ids=QUADRATIC)
def test_large_answers_take_linear_time(work: Callable[[], object]) -> None:
    began = time.process_time()
    work()
    assert time.process_time() - began < 3  # linear: 0.1 s; quadratic: half a minute


def test_arguments_without_a_name_are_an_error_unless_the_answer_was_cut() -> None:
    calls = ToolCallAssembler()
    calls.add([fragment(0, id="a", arguments='{"x":1}')])
    assert calls.finish(cut=True) == []
    calls.add([fragment(0, id="a", arguments='{"x":1}')])
    with pytest.raises(ValueError, match="without its name"):
        calls.finish()


def test_a_function_call_of_an_old_server() -> None:
    answer = {
        "choices": [{"message": {"function_call": {"name": "f", "arguments": "{}"}}, "finish_reason": "function_call"}]
    }
    reply = CHAT_COMPLETIONS.decode(json.dumps(answer).encode(), quirks=Quirks())
    assert [(call.function.name, call.function.arguments) for call in reply.tool_calls] == [("f", "{}")]
    assert reply.finish_reason == "tool_calls"


def test_sent_ids_are_unique_and_accepted_everywhere() -> None:
    ids = ToolCallIdMap()
    assert ids.add_call("call_1") == "call_1"
    assert ids.take_result_id("call_1") == "call_1"
    assert ids.add_call("functions.read:0") == "functions_read_0"
    assert ids.add_call("functions_read_0") == "functions_read_0_2"
    assert ids.take_result_id("functions.read:0") == "functions_read_0"
    assert ids.take_result_id("functions_read_0") == "functions_read_0_2"
    assert ids.add_call("call_1") == "call_1_2"  # repeated in a later turn: results belong to the last one
    assert ids.take_result_id("call_1") == "call_1_2"
    assert ids.take_result_id("call_1") == "call_1_2"
    assert len(ids.add_call("x" * 200)) == 64
    assert ids.add_call("") == "call"
    assert ids.take_result_id("never:heard") == "never_heard"


@given(st.lists(st.text(max_size=80), max_size=12))
def test_every_id_becomes_an_accepted_one(given_ids: list[str]) -> None:
    ids = ToolCallIdMap()
    sent = [ids.add_call(id_) for id_ in given_ids]
    assert len(set(sent)) == len(sent)
    assert all(
        0 < len(id_) <= 64 and id_.replace("-", "_").replace("_", "a").isalnum() and id_.isascii() for id_ in sent
    )
