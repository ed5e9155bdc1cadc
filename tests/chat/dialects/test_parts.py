"""The parts of the dialects: framing, tool calls, reasoning in the text, ids."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.chat.dialects.base import MAX_ANSWER, StreamParser
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.decoding import tool_call_fragments
from lakehouse.chat.dialects.decoding.answer_builder import AnswerBuilder
from lakehouse.chat.dialects.decoding.reasoning import ReasoningDetails, find_reasoning
from lakehouse.chat.dialects.decoding.think_splitter import ThinkSplitter
from lakehouse.chat.dialects.decoding.tool_call_assembler import MAX_CALLS, ToolCallAssembler
from lakehouse.chat.dialects.decoding.usage import parse_money
from lakehouse.chat.dialects.framing.lines import Event, Framing, LineSplitter, LineTooLong
from lakehouse.chat.dialects.framing.ndjson import NdjsonFraming
from lakehouse.chat.dialects.framing.sse import SseFraming
from lakehouse.chat.dialects.lenient_json import as_count, decode_json
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.tool_calls import ToolCallIdMap
from lakehouse.chat.model.pieces import ContentPiece, ReasoningPiece
from lakehouse.chat.model.tool_calls import AnyToolCall
from lakehouse.core.errors import LakehouseError

# Framing


def split_events(framing: Framing, data: bytes, size: int) -> list[Event]:
    events = [event for start in range(0, len(data), size) for event in framing.feed(data[start : start + size])]
    return [*events, *framing.end()]


SEPARATORS = "a\u2028b\u0085c\x0bd\x0ce\x1cf".encode()


@pytest.mark.parametrize("size", [1, 2, 7, 4096])
@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: a\n\n", [Event(b"a")]),
        (b"data:a\n\ndata:  b\n\n", [Event(b"a"), Event(b" b")]),
        (b"data: a\ndata: b\n\n", [Event(b"a\nb")]),
        (b"event: x\ndata: a\n\ndata: b\n\n", [Event(b"a", b"x"), Event(b"b")]),
        (b": comment\n\n:data: no\n\ndata: a\n\n", [Event(b"a")]),
        (b"id: 1\nretry: 5\nnonsense\ndata: a\n\n", [Event(b"a")]),
        (b"event: x\n\ndata: a\n\n", [Event(b"a")]),  # an event without data is none, and its name ends with it
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [Event(b"a"), Event(b"b")]),
        (b"data: a", [Event(b"a")]),
        (b"data: a\n", [Event(b"a")]),
        (b"data\ndata:\n\n", []),
        (b"\n\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", [Event(b"a")]),
        (b"data: " + SEPARATORS + b"\n\n", [Event(SEPARATORS)]),
        (b"data: a:b: c\n\n", [Event(b"a:b: c")]),
    ],
)
def test_server_sent_events(data: bytes, events: list[Event], size: int) -> None:
    assert split_events(SseFraming(), data, size) == events


@pytest.mark.parametrize("size", [1, 2, 7, 4096])
def test_lines_of_json(size: int) -> None:
    data = b"\xef\xbb\xbf1\n\r\n  \n2\r\n" + SEPARATORS + b"\n3"
    assert split_events(NdjsonFraming(), data, size) == [Event(b"1"), Event(b"2"), Event(SEPARATORS), Event(b"3")]


@pytest.mark.parametrize("size", [1, 64, 4096])
@pytest.mark.parametrize(
    ("framing", "data"),
    [
        (NdjsonFraming(100), b"1\n" + b"x" * 101),
        (NdjsonFraming(100), b"1\n" + b"x" * 101 + b"\n2\n"),
        (SseFraming(100), b"data: 1\n\ndata: " + b"x" * 101),
        (SseFraming(100), b"data: 1\n\n" + (b"data: " + b"x" * 50 + b"\n") * 3),
    ],
)
def test_events_before_a_line_that_is_too_long_are_kept(framing: Any, data: bytes, size: int) -> None:
    events: list[Event] = []
    fresh = type(framing)(100)

    def read_all() -> None:
        for start in range(0, len(data), size):
            for event in fresh.feed(data[start : start + size]):
                events.append(event)  # noqa: PERF402 - what came before the exception counts

    with pytest.raises(LineTooLong):
        read_all()
    assert events == [Event(b"1")]


def test_a_line_of_exactly_the_limit_is_accepted() -> None:
    assert list(LineSplitter(4).feed(b"1234\n12345"[:9])) == [b"1234"]


@pytest.mark.parametrize("dialect", [CHAT_COMPLETIONS, OLLAMA])
def test_an_endless_line_is_an_error(dialect: Any) -> None:
    parser = dialect.make_parser(quirks=Quirks(provider="p"))
    with pytest.raises(LakehouseError, match="over its bound") as caught:
        feed_often(parser, b"x" * 65536, times=1024)  # 64 MiB
    assert caught.value.error_class == "upstream_error"


def test_an_endless_answer_is_an_error() -> None:
    parser = CHAT_COMPLETIONS.make_parser(quirks=Quirks(provider="p"))
    event = f'data: {{"choices":[{{"delta":{{"content":"{"x" * 1_000_000}"}}}}]}}\n\n'.encode()
    with pytest.raises(LakehouseError, match=f"over the bound of {MAX_ANSWER}"):
        feed_often(parser, event, times=64)


def feed_often(parser: StreamParser, data: bytes, *, times: int) -> None:
    for _ in range(times):
        parser.feed(data)


@settings(max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_round_trips(value: Any) -> None:
    for ascii_only in (True, False):
        assert decode_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    "data", [b"", b"{", b"nan", b'{"a": NaN, "b": "\\ud83d"}', b"[" * 100_000, b'"\\ud83d', b"\xff"]
)
def test_invalid_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - that it is one is the point
        decode_json(data)


# Tool calls


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
    assert assemble(fragments) == found  # made-up ids are the same each time


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
    calls.add([large, *[fragment(1, name="g", arguments=" ")] * 99])  # of the first one all is known
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
    assert time.process_time() - began < 3  # a tenth of a second; half a minute when each looks at all before it


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
    assert ids.take_result_id("call_1") == "call_1"
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


# Reasoning


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"reasoning_content": "a", "reasoning": "b", "thinking": "c"}, "a"),
        ({"reasoning_content": None, "reasoning": "b", "thinking": "c"}, "b"),
        ({"reasoning_content": "", "reasoning": 5, "thinking": "c"}, "c"),
        ({"reasoning": "a", "reasoning_details": [{"text": "a"}]}, "a"),
        ({"reasoning": None, "reasoning_details": [{"text": "a"}, {"summary": "b"}, {"data": "x"}, 7]}, "ab"),
        ({}, ""),
    ],
)
def test_reasoning_fields(message: dict[str, Any], expected: str) -> None:
    assert find_reasoning(message) == expected


def test_details_are_assembled_by_index() -> None:
    details = ReasoningDetails()
    details.add([{"type": "reasoning.text", "text": "a", "index": 0, "format": "f"}])
    details.add([{"type": "reasoning.text", "text": "b", "index": 0, "signature": None}])
    details.add(
        [
            {"type": "reasoning.text", "signature": "s", "index": 0},
            {"type": "reasoning.encrypted", "data": "x", "index": 0},
        ]
    )
    details.add([{"type": "reasoning.summary", "summary": "c"}, {"type": "reasoning.summary", "summary": "d"}])
    assert details.entries == [
        {"type": "reasoning.text", "text": "ab", "index": 0, "format": "f", "signature": "s"},
        {"type": "reasoning.encrypted", "data": "x", "index": 0},
        {"type": "reasoning.summary", "summary": "c"},
        {"type": "reasoning.summary", "summary": "d"},
    ]


LEAKS = [
    # text, reasoning and content with an opening tag demanded, and without
    ("<think>a</think>b", ("a", "b"), ("a", "b")),
    ("\n <think>\na\n</think>\n\nb", ("a\n", "b"), ("a\n", "b")),
    ("<think></think>b", ("", "b"), ("", "b")),
    ("<think>a", ("a", ""), ("a", "")),
    ("<think>a</thi", ("a</thi", ""), ("a</thi", "")),
    ("<think>a</thi b</think>c", ("a</thi b", "c"), ("a</thi b", "c")),
    ("a</think>b", ("", "a</think>b"), ("a", "b")),
    ("plain", ("", "plain"), ("", "plain")),
    ("<thin", ("", "<thin"), ("", "<thin")),
    ("<thinking>a", ("", "<thinking>a"), ("", "<thinking>a")),
    ("a <think>b</think>", ("", "a <think>b</think>"), ("a <think>b", "")),
    ("<think>a</think>b</think>c", ("a", "b</think>c"), ("a", "b</think>c")),
    ("", ("", ""), ("", "")),
]


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize(("text", "tagged", "unopened"), LEAKS)
def test_reasoning_inside_the_text_is_split_off(
    text: str, tagged: tuple[str, str], unopened: tuple[str, str], size: int
) -> None:
    for splitter, expected in ((ThinkSplitter(), tagged), (ThinkSplitter(unopened=True), unopened)):
        splits = [split for start in range(0, len(text), size) for split in splitter.feed(text[start : start + size])]
        splits += splitter.flush()
        assert all(split.text for split in splits)
        found = tuple(
            "".join(split.text for split in splits if split.kind == kind) for kind in ("reasoning", "content")
        )
        assert found == expected


def test_text_is_held_back_only_while_it_may_become_a_tag() -> None:
    splitter = ThinkSplitter()
    assert splitter.feed("<") == []
    assert splitter.feed("b>bold</b>") == [("content", "<b>bold</b>")]
    splitter = ThinkSplitter()
    assert splitter.feed("<think>some thought <") == [("reasoning", "some thought ")]
    assert splitter.feed("b") == [("reasoning", "<b")]


def test_reasoning_in_a_field_ends_the_search_for_tags() -> None:
    answer = AnswerBuilder(Quirks(inline_think="unopened"))
    deltas = [*answer.add_reasoning("a"), *answer.add_text("b </think> c")]
    assert deltas == [ReasoningPiece(text="a"), ContentPiece(text="b </think> c")]


# Counts and money


def test_a_count_beyond_the_limit_is_none() -> None:
    """Bytes that are no UTF-8 are read by Python's own parser, which knows an infinite number."""
    document = decode_json(b'{"text": "\xff", "usage": [1e999, -1, 2.5, true, "7", 7, 7.0]}')
    assert isinstance(document, dict)
    assert [as_count(value) for value in document["usage"]] == [None, None, None, None, None, 7, 7]
    assert [as_count(value) for value in (10**400, 1e300, 2**53, 2**53 - 1)] == [None, None, None, 2**53 - 1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0.00030400", "0.000304"), (5.6e-06, "0.0000056"), (0, "0"), ("0", "0"), (True, None), ("NaN", None), ("free", None), (-1, None), ("1e400", None), (1e308, None), (None, None), ({}, None)],
)  # fmt: skip
def test_money(value: object, expected: str | None) -> None:
    amount = parse_money(value)
    assert (None if amount is None else f"{amount.normalize():f}") == expected
