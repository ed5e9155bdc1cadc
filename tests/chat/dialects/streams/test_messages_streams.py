"""Complete and incomplete streams of the messages dialect."""

from __future__ import annotations

from typing import Any

import pytest

from lakehouse.chat.dialects.messages.dialect import MESSAGES
from tests.chat.dialects.streams.stream_kit import DONE, parse_error, parse_stream, sse


def messages(*events: dict[str, Any]) -> bytes:
    return sse(*events, names=True)


START = {
    "type": "message_start",
    "message": {"usage": {"input_tokens": 9, "cache_read_input_tokens": 5, "output_tokens": 1}},
}
TEXT = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
HI = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}
STOP = {"type": "message_stop"}


def test_messages_end_with_message_stop() -> None:
    _, reply = parse_stream(messages(START, TEXT, HI, {"type": "ping"}, END, STOP), MESSAGES)
    assert (reply.content, reply.finish_reason) == ("Hi", "stop")
    usage = reply.usage
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens) == (14, 5, 7)
    for body in (messages(START, TEXT, HI), messages(START, TEXT, HI, END), messages(START, TEXT, HI) + sse(DONE)):
        assert parse_error(body, MESSAGES).error_class == "incomplete_stream"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("max_tokens", "length"), ("refusal", "content_filter"), ("stop_sequence", "stop"), ("model_context_window_exceeded", "length"), (None, "stop")],
)  # fmt: skip
def test_stop_reasons(reason: str | None, expected: str) -> None:
    end = {"type": "message_delta", "delta": {"stop_reason": reason}}
    assert parse_stream(messages(TEXT, HI, end, STOP), MESSAGES)[1].finish_reason == expected


def test_an_error_event_of_messages() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert parse_error(messages(START, TEXT, HI, error), MESSAGES).error_class == "overloaded"


def test_thinking_blocks_are_kept_with_their_signatures() -> None:
    body = messages(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "a "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "b"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "S"}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "X"}},
        {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}},
        STOP,
    )  # fmt: skip
    _, reply = parse_stream(body, MESSAGES)
    assert reply.reasoning == "a b"
    assert [{**entry, "index": None} for entry in reply.reasoning_details] == [
        {"type": "thinking", "thinking": "a b", "signature": "S", "index": None},
        {"type": "redacted_thinking", "data": "X", "index": None},
    ]
    assert [(call.id, call.function.arguments) for call in reply.tool_calls] == [("t", "{}")]
