"""A provider of each dialect: what it answers, whole and streamed.

Its answers are as its public description has them, so that a client of the same form is relayed them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lakehouse.chat.dialects.schema.answer_tool import ANSWER_TOOL
from tools.kit.service_with_providers import events, lines

Document = dict[str, Any]
Answer = tuple[bytes, bytes]
"""A whole answer, and a stream of the same."""

CALLS: Sequence[tuple[str, Document]] = (("f", {"a": 1}), ("g", {}))
CREATED = 1_760_000_000


@dataclass(frozen=True, kw_only=True, repr=False)
class ProviderDialect:
    """`provider` and `model` lead to a provider that speaks the dialect `name`.

    `everything`: reasoning, text, two parallel calls. `plain`: the text "Hi". `cut`: the same, ended by the limit of
    tokens. `structured`: the document {"a": 1}. `broken`: a stream that has begun and ends in an error.
    """

    name: str
    provider: str
    model: str
    everything: Answer
    plain: Answer
    cut: Answer
    structured: Answer
    broken: bytes

    @property
    def requested(self) -> str:
        """The name by which clients ask for the model."""
        return f"{self.provider}/{self.model}"


ERROR = {"type": "overloaded_error", "message": "these are its words"}


# Chat completions


def _complete(content: str | None, finish: str, chunks: Sequence[Document], **message: Any) -> Answer:
    common: Document = {"id": "chatcmpl-1", "created": CREATED, "model": "m"}
    usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    whole = {**common, "object": "chat.completion", "choices": [choice], "usage": usage}
    head = {**common, "object": "chat.completion.chunk"}
    deltas = [({"role": "assistant", "content": ""}, None), *((delta, None) for delta in chunks), ({}, finish)]
    streamed = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]} for delta, reason in deltas
    ]
    return json.dumps(whole).encode(), events(*streamed, {**head, "choices": [], "usage": usage})


def _make_completions() -> ProviderDialect:
    calls = [
        {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for name, arguments in CALLS
    ]
    fragments: list[Document] = [
        {"tool_calls": [{"index": 0, **calls[0], "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": " 1}"}}]},
        {"tool_calls": [{"index": 1, **calls[1]}]},
    ]
    said: list[Document] = [{"content": "H"}, {"content": "i"}]
    thought: list[Document] = [{"reasoning_content": "H"}, {"reasoning_content": "m."}]
    plain = _complete("Hi", "stop", said)
    broken = plain[1][
        : plain[1].index(
            b'data: {"id": "chatcmpl-1", "created": 1760000000, "model": "m", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}'
        )
    ]
    return ProviderDialect(
        name="chat_completions",
        provider="opencode",
        model="glm",
        everything=_complete("Hi", "tool_calls", [*thought, *said, *fragments], reasoning_content="Hm.", tool_calls=calls),
        plain=plain,
        cut=_complete("Hi", "length", said),
        structured=_complete('{"a": 1}', "stop", [{"content": '{"a"'}, {"content": ": 1}"}]),
        broken=broken + events({"error": ERROR}, end=b""),
    )  # fmt: skip


# Messages


def _message(stop: str, *blocks: tuple[Document, Sequence[Document]]) -> Answer:
    """An answer of these blocks, each with the deltas that it is streamed in."""
    usage = {"input_tokens": 10, "output_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    head: Document = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    ended = {"stop_reason": stop, "stop_sequence": None}
    whole = {**head, "content": [block for block, _ in blocks], **ended, "usage": usage}
    begun = {**head, "content": [], "stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
    streamed: list[Document] = [{"type": "message_start", "message": begun}, {"type": "ping"}]
    empty = {"text": "", "thinking": "", "signature": "", "input": {}}
    for index, (block, deltas) in enumerate(blocks):
        opened = {name: empty.get(name, value) for name, value in block.items()}
        streamed.append({"type": "content_block_start", "index": index, "content_block": opened})
        streamed += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        streamed.append({"type": "content_block_stop", "index": index})
    streamed.append({"type": "message_delta", "delta": ended, "usage": usage})
    return json.dumps(whole).encode(), events(*streamed, {"type": "message_stop"}, end=b"")


def _text(*texts: str) -> tuple[Document, Sequence[Document]]:
    return {"type": "text", "text": "".join(texts)}, [{"type": "text_delta", "text": text} for text in texts]


def _use(name: str, arguments: Document) -> tuple[Document, Sequence[Document]]:
    written = json.dumps(arguments)
    parts = [written[:4], written[4:]] if arguments else [""]
    block = {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": arguments}
    return block, [{"type": "input_json_delta", "partial_json": part} for part in parts]


THINKING: tuple[Document, Sequence[Document]] = (
    {"type": "thinking", "thinking": "Hm.", "signature": "Sig"},
    [
        {"type": "thinking_delta", "thinking": "H"},
        {"type": "thinking_delta", "thinking": "m."},
        {"type": "signature_delta", "signature": "Sig"},
    ],
)


def _make_messages() -> ProviderDialect:
    plain = _message("end_turn", _text("H", "i"))
    broken = plain[1][: plain[1].index(b"event: content_block_stop")]
    return ProviderDialect(
        name="messages",
        provider="opencode",
        model="claude-sonnet-4-5",
        everything=_message("tool_use", THINKING, _text("H", "i"), *(_use(*call) for call in CALLS)),
        plain=plain,
        cut=_message("max_tokens", _text("H", "i")),
        structured=_message("tool_use", _use(ANSWER_TOOL, {"a": 1})),
        broken=broken + events({"type": "error", "error": ERROR}, end=b""),
    )


# Responses


def _respond(*items: Document, status: str = "completed", reason: str | None = None) -> Answer:
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 13,
    }
    response: Document = {
        "id": "resp_1", "object": "response", "created_at": CREATED, "status": "in_progress", "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "model": "m", "output": [],
        "parallel_tool_calls": True, "previous_response_id": None, "store": False, "temperature": 1.0, "text": {},
        "tool_choice": "auto", "tools": [], "top_p": 1.0, "usage": None,
    }  # fmt: skip
    details = {"reason": reason} if reason else None
    ended = {**response, "status": status, "incomplete_details": details, "output": list(items), "usage": usage}
    streamed: list[Document] = [
        {"type": "response.created", "response": response},
        {"type": "response.in_progress", "response": response},
    ]
    for index, item in enumerate(items):
        streamed += _stream_item(index, item)
    streamed.append({"type": f"response.{status}", "response": ended})
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(streamed)]
    return json.dumps(ended).encode(), events(*numbered, end=b"")


def _stream_item(index: int, item: Document) -> list[Document]:
    place: Document = {"item_id": item["id"], "output_index": index}
    begun = {**item, "status": "in_progress"}
    inner: list[Document] = []
    match item["type"]:
        case "message":
            part = item["content"][0]
            place |= {"content_index": 0}
            begun["content"] = []
            inner = [
                {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
                *({"type": "response.output_text.delta", **place, "delta": char, "logprobs": []} for char in part["text"]),
                {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []},
                {"type": "response.content_part.done", **place, "part": part},
            ]  # fmt: skip
        case "reasoning":
            part = item["summary"][0]
            place |= {"summary_index": 0}
            begun |= {"summary": [], "encrypted_content": None}
            inner = [
                {"type": "response.reasoning_summary_part.added", **place, "part": {**part, "text": ""}},
                {"type": "response.reasoning_summary_text.delta", **place, "delta": part["text"]},
                {"type": "response.reasoning_summary_text.done", **place, "text": part["text"]},
                {"type": "response.reasoning_summary_part.done", **place, "part": part},
            ]
        case "function_call":
            begun["arguments"] = ""
            arguments = item["arguments"]
            done = {"name": item["name"], "arguments": arguments}
            inner = [
                {"type": "response.function_call_arguments.delta", **place, "delta": arguments},
                {"type": "response.function_call_arguments.done", **place, **done},
            ]
    return [
        {"type": "response.output_item.added", "output_index": index, "item": begun},
        *inner,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _said(text: str, status: str = "completed") -> Document:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": [part]}


REASONING: Document = {
    "id": "rs_1",
    "type": "reasoning",
    "status": "completed",
    "summary": [{"type": "summary_text", "text": "Hm."}],
    "encrypted_content": "Enc",
}


def _make_responses() -> ProviderDialect:
    calls: list[Document] = [
        {"id": f"fc_{name}", "type": "function_call", "call_id": f"call_{name}", "name": name,
         "arguments": json.dumps(arguments), "status": "completed"}
        for name, arguments in CALLS
    ]  # fmt: skip
    plain = _respond(_said("Hi"))
    broken = plain[1][: plain[1].index(b"event: response.output_text.done")]
    failure = {
        "type": "error",
        "sequence_number": 6,
        "code": "server_error",
        "message": ERROR["message"],
        "param": None,
    }
    return ProviderDialect(
        name="responses",
        provider="opencode",
        model="gpt-5",
        everything=_respond(REASONING, _said("Hi"), *calls),
        plain=plain,
        cut=_respond(_said("Hi", "incomplete"), status="incomplete", reason="max_output_tokens"),
        structured=_respond(_said('{"a": 1}')),
        broken=broken + events(failure, end=b""),
    )


# Ollama


def _tell(reason: str, *messages: Document) -> Answer:
    head: Document = {"model": "m", "created_at": "2026-11-01T12:00:00.123456Z"}
    counts = {"total_duration": 9, "prompt_eval_count": 10, "eval_count": 3}
    end = {"done": True, "done_reason": reason, **counts}
    streamed = [{**head, "message": {"role": "assistant", "content": "", **said}, "done": False} for said in messages]
    whole: Document = {"role": "assistant", "content": ""}
    for said in messages:
        for name, value in said.items():
            whole[name] = whole[name] + value if name in whole else value
    last = {**head, "message": {"role": "assistant", "content": ""}, **end}
    return json.dumps({**head, "message": whole, **end}).encode(), lines(*streamed, last)


def _make_ollama() -> ProviderDialect:
    calls = [{"function": {"name": name, "arguments": arguments}} for name, arguments in CALLS]
    said: list[Document] = [{"content": "H"}, {"content": "i"}]
    plain = _tell("stop", *said)
    broken = b"".join(plain[1].splitlines(keepends=True)[:-1])
    return ProviderDialect(
        name="ollama",
        provider="ollama",
        model="m",
        everything=_tell("stop", {"thinking": "H"}, {"thinking": "m."}, *said, {"tool_calls": calls}),
        plain=plain,
        cut=_tell("length", *said),
        structured=_tell("stop", {"content": '{"a"'}, {"content": ": 1}"}),
        broken=broken + lines({"error": ERROR["message"]}),
    )


DIALECTS: Sequence[ProviderDialect] = (_make_completions(), _make_messages(), _make_responses(), _make_ollama())
