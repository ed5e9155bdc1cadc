"""Complete and incomplete streams of the responses dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.chat.model.pieces import ContentPiece
from tests.chat.dialects.streams.stream_kit import (
    COMPLETED,
    REASONING_ITEM,
    RESPONSE,
    RESPONSE_EVENTS,
    parse_error,
    parse_stream,
    sse,
)


def without(*kinds: str) -> list[dict[str, Any]]:
    return [event for event in RESPONSE_EVENTS if not event["type"].endswith(kinds)]


@pytest.mark.parametrize(
    "events",
    [
        RESPONSE_EVENTS,
        without("function_call_arguments.delta", "function_call_arguments.done"),
        without("delta", "done", "added"),  # the last event has the whole response
    ],
)
def test_a_response_decodes_the_same_whole_and_streamed(events: list[dict[str, Any]]) -> None:
    whole = RESPONSES.decode(json.dumps(RESPONSE).encode(), quirks=Quirks())
    deltas, reply = parse_stream(sse(*events, COMPLETED, names=True), RESPONSES)
    assert reply == whole
    assert (reply.content, reply.reasoning, reply.finish_reason) == ("Hi", "Think.", "tool_calls")
    assert reply.reasoning_details == (REASONING_ITEM,)
    assert [(call.id, call.function.name, call.function.arguments) for call in reply.tool_calls] == [
        ("call_1", "f", '{"a":1}')
    ]
    usage = reply.usage
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens, usage.cost_usd) == (
        10,
        4,
        20,
        12,
        0.001,
    )
    assert "".join(delta.text for delta in deltas if isinstance(delta, ContentPiece)) == "Hi"


@pytest.mark.parametrize(
    ("status", "details", "expected"),
    [
        ("incomplete", {"reason": "max_output_tokens"}, "length"),
        ("incomplete", {"reason": "content_filter"}, "content_filter"),
        ("incomplete", None, "length"),
        ("completed", None, "stop"),
    ],
)
def test_the_status_of_a_response(status: str, details: object, expected: str) -> None:
    response = {**RESPONSE, "output": RESPONSE["output"][1:2], "status": status, "incomplete_details": details}
    assert RESPONSES.decode(json.dumps(response).encode(), quirks=Quirks()).finish_reason == expected
    events = sse(RESPONSE_EVENTS[7], {"type": f"response.{status}", "response": response}, names=True)
    assert parse_stream(events, RESPONSES)[1].finish_reason == expected


@pytest.mark.parametrize(
    ("events", "error_class"),
    [
        (RESPONSE_EVENTS, "incomplete_stream"),
        ([*RESPONSE_EVENTS, {"type": "response.failed", "response": {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow"}}}], "rate_limit"),
        ([{"type": "response.failed", "response": {"status": "failed"}}], "upstream_error"),
        ([{"type": "response.cancelled", "response": {"status": "cancelled"}}], "upstream_error"),
        ([{"type": "error", "code": "server_error", "message": "x", "param": None}], "server_error"),
        ([{"type": "response.completed", "response": {"status": "completed", "output": []}}], "empty_response"),
    ],
)  # fmt: skip
def test_an_incomplete_response(events: list[dict[str, Any]], error_class: str) -> None:
    assert parse_error(sse(*events, names=True), RESPONSES).error_class == error_class


def test_a_refusal_and_several_summaries_of_a_response() -> None:
    events = [
        {"type": "response.reasoning_summary_text.delta", "summary_index": 0, "delta": "One."},
        {"type": "response.reasoning_summary_part.added", "summary_index": 1},
        {"type": "response.reasoning_summary_text.delta", "summary_index": 1, "delta": "Two."},
        {"type": "response.reasoning_text.delta", "content_index": 0, "delta": "the same at length"},
        {"type": "response.refusal.delta", "delta": "No."},
        {"type": "response.completed", "response": {"status": "completed", "output": []}},
    ]
    _, reply = parse_stream(sse(*events, names=True), RESPONSES)
    assert (reply.reasoning, reply.content, reply.finish_reason) == ("One.\n\nTwo.", "No.", "content_filter")
