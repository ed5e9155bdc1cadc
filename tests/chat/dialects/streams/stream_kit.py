"""Streams of the dialects for tests: server-sent events, chunks, responses, and how they are parsed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakehouse.chat.dialects.base import Dialect, StreamParser
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Delta
from lakehouse.core.errors import LakehouseError


def sse(*events: object, names: bool = False) -> bytes:
    """Return server-sent events; a string is sent as it is."""
    lines = []
    for event in events:
        if isinstance(event, dict) and names:
            lines.append(f"event: {event['type']}\n")
        data = event if isinstance(event, str) else json.dumps(event)
        lines.append(f"{data}\n\n" if data.startswith(":") else f"data: {data}\n\n")
    return "".join(lines).encode()


def chunk(content: object = None, *, finish: str | None = None, **rest: Any) -> dict[str, Any]:
    """Return a chunk; `usage`, `error` and `cost` stand beside the choice, other fields in its delta."""
    beside: dict[str, Any] = {name: rest.pop(name) for name in ("usage", "error", "cost") if name in rest}
    delta = rest if content is None else {"content": content, **rest}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **beside}


USAGE = {"prompt_tokens": 3, "completion_tokens": 4}
DONE = "[DONE]"


def parse_stream(body: bytes, dialect: Dialect | None = None, **quirks: Any) -> tuple[list[Delta], ProviderAnswer]:
    parser = (dialect or CHAT_COMPLETIONS).make_parser(quirks=Quirks(provider="p", **quirks))
    deltas = [*parser.feed(body), *parser.flush()]
    return deltas, parser.end()


def parse_error(body: bytes, dialect: Dialect | None = None, **quirks: Any) -> LakehouseError:
    with pytest.raises(LakehouseError) as caught:
        parse_stream(body, dialect, **quirks)
    return caught.value


USAGE_ENDS = [
    (sse(chunk("Hi"), {"choices": [], "usage": USAGE}), "stop"),
    (sse(chunk("Hi"), {"choices": [], "usage": USAGE}, {"choices": [], "cost": "0.1"}), "stop"),
    (sse(chunk("Hi"), DONE, {"choices": [], "usage": USAGE}), "stop"),
    (sse(chunk("Hi"), chunk("", usage=USAGE)), "stop"),
    (sse(chunk(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]), {"choices": [], "usage": USAGE}), "tool_calls"),
]  # fmt: skip


REASONING_ITEM = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Think."}],
    "encrypted_content": "E",
}
RESPONSE: dict[str, Any] = {
    "object": "response",
    "status": "completed",
    "error": None,
    "output": [
        REASONING_ITEM,
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi", "annotations": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"a":1}', "status": "completed"},
    ],
    "usage": {
        "input_tokens": 10, "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 12}, "total_tokens": 30,
    },
    "cost": "0.00100000",
}  # fmt: skip
RESPONSE_EVENTS: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"status": "in_progress", "output": [], "error": None}},
    {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "half"}},
    {"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 0, "part": {"type": "summary_text", "text": ""}},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "Think."},
    {"type": "response.reasoning_summary_text.done", "output_index": 0, "summary_index": 0, "text": "Think."},
    {"type": "response.output_item.done", "output_index": 0, "item": REASONING_ITEM},
    {"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "role": "assistant", "content": []}},
    {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "H"},
    {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "i", "logprobs": []},
    {"type": "response.output_text.done", "output_index": 1, "content_index": 0, "text": "Hi"},
    {"type": "response.output_item.done", "output_index": 1, "item": RESPONSE["output"][1]},
    {"type": "response.output_item.added", "output_index": 2, "item": {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": ""}},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a"'},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": ":1}"},
    {"type": "response.function_call_arguments.done", "output_index": 2, "arguments": '{"a":1}'},
    {"type": "response.output_item.done", "output_index": 2, "item": RESPONSE["output"][2]},
]  # fmt: skip
COMPLETED = {"type": "response.completed", "response": RESPONSE}


def run_parser(parser: StreamParser, pieces: list[bytes]) -> tuple[list[Delta], ProviderAnswer | str | None]:
    """Return the deltas, and the answer or the class of its error."""
    deltas: list[Delta] = []
    try:
        for piece in pieces:
            deltas += parser.feed(piece)
        deltas += parser.flush()
        return deltas, parser.end()
    except LakehouseError as error:
        return deltas, error.error_class
