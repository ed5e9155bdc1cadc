"""Requests and answers of each form of clients, for the bench: those of agents, with tools and their results.

The answers have a member that no form knows, `relay_mark`, which only what is relayed still has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.bench.upstream import PIECES, WORDS

Document = dict[str, Any]

PREFIX = "/forms"
"""Below which the fake upstream has the paths of all forms."""

PATHS: Mapping[str, str] = {
    "chat_completions": "/v1/chat/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
    "ollama": "/api/chat",
}
"""Where clients send requests."""

SCHEMA: Document = {
    "type": "object",
    "properties": {"path": {"type": "string", "description": WORDS[:200]}, "model": {"type": "string"}},
    "required": ["path"],
}
TOOLS = [(f"tool_{number}", WORDS[:300]) for number in range(8)]
RESULT = WORDS[:900]
MARK: Document = {"relay_mark": True}


@dataclass(frozen=True, kw_only=True)
class FormDocuments:
    """`build_request` takes a model, a prompt, and the number of turns with a call and its result before it. `repeated`
    is what the whole answer to a request with tools has of it."""

    build_request: Callable[[str, str, int], Document]
    answer: Document
    stream: bytes
    repeated: Document = field(default_factory=dict)


def write_answers(directory: Path) -> None:
    """Write the answer and the stream of each form, as files that the fake upstream serves."""
    for form, documents in FORMS.items():
        (directory / f"{form}_whole").write_text(json.dumps(documents.answer))
        (directory / f"{form}_tools").write_text(json.dumps({**documents.answer, **documents.repeated}))
        (directory / f"{form}_stream").write_bytes(documents.stream)


def _build_completions(model: str, prompt: str, turns: int) -> Document:
    messages: list[Document] = [{"role": "user", "content": prompt}]
    for number in range(turns):
        function = {"name": "tool_1", "arguments": json.dumps({"path": f"file {number}"})}
        call = {"id": f"call_{number}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": "Let me see.", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": RESULT})
    tools = [
        {"type": "function", "function": {"name": name, "description": about, "parameters": SCHEMA}}
        for name, about in TOOLS
    ]
    return {"model": model, "messages": messages, **({"tools": tools} if turns else {})}


def _build_messages(model: str, prompt: str, turns: int) -> Document:
    messages: list[Document] = [{"role": "user", "content": prompt}]
    for number in range(turns):
        call = {"type": "tool_use", "id": f"toolu_{number}", "name": "tool_1", "input": {"path": f"file {number}"}}
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": RESULT}
        messages.append({"role": "assistant", "content": [{"type": "text", "text": "Let me see."}, call]})
        messages.append({"role": "user", "content": [result]})
    tools = [{"name": name, "description": about, "input_schema": SCHEMA} for name, about in TOOLS]
    return {"model": model, "max_tokens": 4096, "messages": messages, **({"tools": tools} if turns else {})}


def _build_responses(model: str, prompt: str, turns: int) -> Document:
    items: list[Document] = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": prompt}]}]
    for number in range(turns):
        arguments = json.dumps({"path": f"file {number}"})
        call = {"type": "function_call", "call_id": f"call_{number}", "name": "tool_1", "arguments": arguments}
        items += [call, {"type": "function_call_output", "call_id": f"call_{number}", "output": RESULT}]
    document = {"model": model, "input": items, "store": False}
    return {**document, **_REPEATED} if turns else document


def _build_ollama(model: str, prompt: str, turns: int) -> Document:
    messages: list[Document] = [{"role": "user", "content": prompt}]
    for number in range(turns):
        call = {"function": {"name": "tool_1", "arguments": {"path": f"file {number}"}}}
        messages.append({"role": "assistant", "content": "Let me see.", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_name": "tool_1", "content": RESULT})
    return {**_build_completions(model, prompt, turns), "messages": messages}


_REPEATED: Document = {
    "instructions": f"{WORDS}\n{WORDS}",
    "tools": [
        {"type": "function", "name": name, "description": about, "parameters": SCHEMA, "strict": False}
        for name, about in TOOLS
    ],
}

_TEXTS = [f"token {number} " for number in range(PIECES)]
_USAGE = {"input_tokens": 250, "output_tokens": 240}
_COUNTS = {"prompt_tokens": 250, "completion_tokens": 240, "total_tokens": 490}


def _encode_events(events: Sequence[Document]) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event, separators=(",", ":")).encode())
        for event in events
    )


def _make_completions() -> FormDocuments:
    common = {"id": "chatcmpl-1", "created": 1_760_000_000, "model": "m"}
    message = {"role": "assistant", "content": WORDS}
    answer = {**common, "object": "chat.completion", "usage": _COUNTS, **MARK}
    answer["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
    chunk = {**common, "object": "chat.completion.chunk", **MARK}
    chunks: list[Document] = [
        {**chunk, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} for text in _TEXTS
    ]
    chunks.append({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    encoded = [b"data: %b\n\n" % json.dumps(chunk, separators=(",", ":")).encode() for chunk in chunks]
    return FormDocuments(
        build_request=_build_completions,
        answer=answer,
        stream=b"".join([*encoded, b"data: [DONE]\n\n"]),
    )


def _make_messages() -> FormDocuments:
    message: Document = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": _USAGE, **MARK}
    place = {"index": 0}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    events: list[Document] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", **place, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", **place, "delta": {"type": "text_delta", "text": text}} for text in _TEXTS),
        {"type": "content_block_stop", **place},
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 240}},
        {"type": "message_stop"},
    ]
    answer = {**message, "content": [{"type": "text", "text": WORDS}], "stop_reason": "end_turn"}
    return FormDocuments(build_request=_build_messages, answer=answer, stream=_encode_events(events))


def _make_responses() -> FormDocuments:
    response: Document = {"id": "resp_1", "object": "response", "created_at": 1_760_000_000, "status": "in_progress"}
    response |= {"error": None, "incomplete_details": None, "instructions": None, "model": "m"}
    response |= {"output": [], "text": {"format": {"type": "text"}}, "usage": None, **MARK}
    part: Document = {"type": "output_text", "annotations": [], "logprobs": [], "text": WORDS}
    item: Document = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage: Document = {**_USAGE, "total_tokens": 490, "input_tokens_details": {"cached_tokens": 0}}
    usage["output_tokens_details"] = {"reasoning_tokens": 0}
    answer = {**response, "status": "completed", "output": [item], "usage": usage}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    began = {**item, "status": "in_progress", "content": []}
    text = "".join(_TEXTS)
    whole = {**item, "content": [{**part, "text": text}]}
    events: list[Document] = [
        {"type": "response.created", "response": response},
        {"type": "response.in_progress", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": began},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *(
            {"type": "response.output_text.delta", **place, "delta": text, "logprobs": [], "obfuscation": "a1b2c3"}
            for text in _TEXTS
        ),
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": {**part, "text": text}},
        {"type": "response.output_item.done", "output_index": 0, "item": whole},
        {"type": "response.completed", "response": {**answer, "output": [whole]}},
    ]
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    return FormDocuments(
        build_request=_build_responses,
        answer=answer,
        stream=_encode_events(numbered),
        repeated=_REPEATED,
    )


def _make_ollama() -> FormDocuments:
    line: Document = {"model": "m", "created_at": "2026-11-01T12:00:00.000000Z", **MARK}
    counts = {"done_reason": "stop", "total_duration": 5_000_000, "prompt_eval_count": 250, "eval_count": 240}
    lines = [{**line, "message": {"role": "assistant", "content": text}, "done": False} for text in _TEXTS]
    lines.append({**line, "message": {"role": "assistant", "content": ""}, "done": True, **counts})
    answer = {**line, "message": {"role": "assistant", "content": WORDS}, "done": True, **counts}
    return FormDocuments(
        build_request=_build_ollama,
        answer=answer,
        stream=b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines),
    )


FORMS: Mapping[str, FormDocuments] = {
    "chat_completions": _make_completions(),
    "messages": _make_messages(),
    "responses": _make_responses(),
    "ollama": _make_ollama(),
}
"""By the names of the dialects that are these forms."""
