"""An answer of every dialect with reasoning, text and two calls, whole and streamed."""

from __future__ import annotations

from typing import Any

from tests.chat.api.open_responses.responses_kit import body, stream
from tests.chat.dialects.streams.stream_kit import COMPLETED, RESPONSE, RESPONSE_EVENTS
from tools.kit.fake_providers import Script
from tools.kit.service_with_providers import chunk, completion, events, line, lines, message, ollama

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
OTHER = {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}}
THINKING = {"type": "thinking", "thinking": "Hm.", "signature": "S"}
USE = {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}}
OTHER_USE = {"type": "tool_use", "id": "call_2", "name": "g", "input": {}}
READ = {"input_tokens": 5, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 1, "output_tokens": 3}
COUNTS: dict[str, Any] = {
    "prompt_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
    "completion_tokens": 3,
    "completion_tokens_details": {"reasoning_tokens": 2},
}
OTHER_ITEM = {"type": "function_call", "id": "fc_2", "call_id": "call_2", "name": "g", "arguments": "{}"}
TWO_CALLS = {**RESPONSE, "output": [*RESPONSE["output"], OTHER_ITEM]}


def start(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **fields: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


MESSAGES_STREAM = events(
    {"type": "message_start", "message": {"usage": READ}},
    start(0, {"type": "thinking", "thinking": "", "signature": ""}),
    delta(0, "thinking_delta", thinking="H"),
    delta(0, "thinking_delta", thinking="m."),
    delta(0, "signature_delta", signature="S"),
    stop(0),
    start(1, {"type": "text", "text": ""}),
    delta(1, "text_delta", text="H"),
    delta(1, "text_delta", text="i"),
    stop(1),
    start(2, {**USE, "input": {}}),
    delta(2, "input_json_delta", partial_json='{"a":'),
    delta(2, "input_json_delta", partial_json="1}"),
    stop(2),
    start(3, OTHER_USE),
    stop(3),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}},
    {"type": "message_stop"},
    end=b"",
)
OLLAMA_CALLS = [{"function": {"name": "f", "arguments": {"a": 1}}}, {"function": {"name": "g", "arguments": {}}}]
EVERYTHING: dict[str, tuple[Script, Script]] = {
    "chat_completions": (
        body({**completion("Hi", reasoning="Hm.", tool_calls=[CALL, OTHER]), "usage": COUNTS}),
        stream(
            events(
                chunk(role="assistant", reasoning="H"),
                chunk(reasoning="m."),
                chunk(content="H"),
                chunk(content="i"),
                chunk(tool_calls=[{"index": 0, **CALL}]),
                chunk(tool_calls=[{"index": 1, **OTHER}]),
                chunk("tool_calls"),
                {"choices": [], "usage": COUNTS},
            )
        ),
    ),
    "responses": (
        body(TWO_CALLS),
        stream(
            events(
                *RESPONSE_EVENTS,
                {"type": "response.output_item.added", "output_index": 3, "item": {**OTHER_ITEM, "arguments": ""}},
                {"type": "response.output_item.done", "output_index": 3, "item": OTHER_ITEM},
                {**COMPLETED, "response": TWO_CALLS},
                end=b"",
            )
        ),
    ),
    "messages": (
        body({**message("Hi", USE, OTHER_USE, stop="tool_use"), "usage": READ, "content": [
            THINKING, {"type": "text", "text": "Hi"}, USE, OTHER_USE]}),
        stream(MESSAGES_STREAM),
    ),
    "ollama": (
        body(ollama("Hi", thinking="Hm.", tool_calls=OLLAMA_CALLS)),
        stream(lines(line(thinking="Hm."), line("H"), line("i"), line(tool_calls=OLLAMA_CALLS), line(done=True))),
    ),
}  # fmt: skip
