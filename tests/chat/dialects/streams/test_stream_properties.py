"""Properties of every stream: any split gives the same deltas, a truncated stream is incomplete, and nothing but our errors is raised."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.responses.decode import ResponseReader
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import ToolCallPiece
from lakehouse.chat.model.tool_calls import ToolCall
from lakehouse.core.errors import LakehouseError
from tests.chat.dialects.streams.stream_kit import COMPLETED, DONE, RESPONSE_EVENTS, USAGE_ENDS, chunk, run_parser, sse
from tools.kit import wire_files
from tools.kit.examples import count_examples
from tools.kit.matrices import spread


def corpus() -> list[tuple[str, Dialect, bytes, Quirks]]:
    found = [
        (entry["file"], wire_files.dialect_of(entry), wire_files.body_of(entry), wire_files.quirks_of(entry))
        for entry in wire_files.streams()
    ]
    found.append(("responses", RESPONSES, sse(*RESPONSE_EVENTS, COMPLETED, names=True), Quirks()))
    found += [
        (f"ended by usage {n}", CHAT_COMPLETIONS, body, Quirks(usage_ends_stream=True))
        for n, (body, _) in enumerate(USAGE_ENDS)
    ]
    leak = sse(chunk("<th"), chunk("ink>a</"), chunk("think>"), chunk("\nb"), chunk("", finish="stop"), DONE)
    found += [("think", CHAT_COMPLETIONS, leak, Quirks(inline_think=how)) for how in ("tagged", "unopened")]
    return found


CORPUS = corpus()


@settings(max_examples=count_examples(150), deadline=None)
@given(case=st.sampled_from(CORPUS), cuts=st.lists(st.integers(0, 6000), max_size=30))
def test_any_split_gives_the_same_deltas(case: tuple[str, Dialect, bytes, Quirks], cuts: list[int]) -> None:
    _, dialect, body, quirks = case
    edges = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    pieces = [body[start:end] for start, end in pairwise(edges)]
    assert run_parser(dialect.make_parser(quirks=quirks), pieces) == run_parser(
        dialect.make_parser(quirks=quirks), [body]
    )


@pytest.mark.parametrize("case", spread([(case,) for case in CORPUS], 2), ids=lambda case: case[0])
def test_a_truncated_stream_is_incomplete(
    case: tuple[str, Dialect, bytes, Quirks],
) -> None:
    """Cut at every byte, an answer is an error, or equals the whole one in text, reasoning, calls and finish reason.
    Its usage may be missing."""
    _, dialect, body, quirks = case
    pieces, whole = run_parser(dialect.make_parser(quirks=quirks), [body])
    for end in range(len(body)):
        parser = dialect.make_parser(quirks=quirks)
        deltas, cut = run_parser(parser, [body[:end]])
        if isinstance(cut, ProviderAnswer):
            assert isinstance(whole, ProviderAnswer)
            assert parser.complete
            assert summarize(cut) == summarize(whole)
        else:
            assert cut is not None
            assert deltas == pieces[: len(deltas)]


def summarize(reply: ProviderAnswer) -> tuple[object, ...]:
    return reply.content, reply.reasoning, reply.tool_calls, reply.finish_reason


@settings(max_examples=count_examples(200), deadline=None)
@given(case=st.sampled_from(CORPUS), noise=st.lists(st.binary(max_size=40), max_size=6), at=st.integers(0, 4000))
def test_arbitrary_bytes_raise_only_lakehouse_errors(
    case: tuple[str, Dialect, bytes, Quirks], noise: list[bytes], at: int
) -> None:
    _, dialect, body, quirks = case
    run_parser(dialect.make_parser(quirks=quirks), [body[:at], *noise, body[at:]])


FIELDS = st.sampled_from(
    [
        "choices",
        "delta",
        "message",
        "content",
        "finish_reason",
        "error",
        "usage",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "id",
        "index",
        "type",
        "reasoning",
        "reasoning_details",
        "thinking",
        "response",
        "item",
        "output",
        "summary",
        "done",
        "done_reason",
        "code",
        "metadata",
        "cost",
        "input",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=20,
)  # fmt: skip
TYPES = st.sampled_from(
    [
        "content_block_start",
        "content_block_delta",
        "message_start",
        "message_delta",
        "response.completed",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "text_delta",
        "input_json_delta",
        "tool_use",
        "thinking",
    ]
)


@settings(max_examples=count_examples(100), deadline=None)
@given(
    dialect=st.sampled_from([CHAT_COMPLETIONS, OLLAMA, MESSAGES, RESPONSES]),
    documents=st.lists(st.dictionaries(FIELDS, st.one_of(JSON, TYPES), max_size=6), max_size=5),
)
def test_arbitrary_shapes_raise_only_lakehouse_errors(dialect: Dialect, documents: list[dict[str, Any]]) -> None:
    for document in documents:
        with suppress(LakehouseError):
            dialect.decode(json.dumps(document).encode(), quirks=Quirks())
    framed = (
        sse(*documents) if dialect.framing == "sse" else b"".join(json.dumps(d).encode() + b"\n" for d in documents)
    )
    run_parser(dialect.make_parser(quirks=Quirks(usage_ends_stream=True, inline_think="unopened")), [framed])


@pytest.mark.parametrize("index", [{}, [], [[]], {"a": 1}, None])
def test_an_invalid_index_counts_as_missing(index: object) -> None:
    reader = ResponseReader(Quirks(provider="p"))
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    for event in (
        {"type": "response.output_item.added", "output_index": index, "item": item},
        {"type": "response.function_call_arguments.delta", "output_index": index, "delta": "{}"},
    ):
        assert reader.read_event(event, b"") == []
    reader.answer.set_finish_reason("stop")
    (piece,) = reader.answer.flush()
    assert isinstance(piece, ToolCallPiece)
    assert isinstance(piece.tool_call, ToolCall)
    assert piece.tool_call.function.arguments == "{}"
