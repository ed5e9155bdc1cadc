"""Providers that fail in each wire protocol, before an answer and within it. The model's name says how.

async with open_service_with_providers(scripts={"openrouter": fail_as_named}) as there:
    ...  # ask for `openrouter/v/cut`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import trio

from lakehouse.testing.upstreams import ReceivedRequest, respond
from tools.kit.service_with_providers import answer_hello, events, line, lines, streamed_response
from tools.kit.wires import Wire, find_wire

Document = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class ErrorAnswer:
    """A failure before the answer. `kind` is the `type` or `code` of the error, where the protocol has one."""

    status: int
    message: str
    kind: str = "error"
    retry_after: int | None = None

    def build(self, wire: Wire) -> bytes:
        """Return the response."""
        described = {"type": self.kind, "code": self.kind, "message": self.message}
        bodies: dict[Wire, dict[str, object]] = {
            "chat_completions": {"error": described},
            "messages": {"type": "error", "error": {"type": self.kind, "message": self.message}},
            "responses": {"error": described},
            "ollama": {"error": self.message},
        }
        more = "" if self.retry_after is None else f"retry-after: {self.retry_after}\r\n"
        return respond(bodies[wire], self.status, more=more)


@dataclass(frozen=True, kw_only=True)
class Break:
    """A failure within the answer: what has come until then, and how it ends."""

    begun: bool = True
    thinking: bool = False
    end: Literal["cut", "error", "filter", "length"] = "cut"

    def build(self, wire: Wire) -> bytes:
        """Return the response, whose connection ends with it."""
        began = _BEGINNINGS[wire](self.thinking) if self.begun else []
        documents = [*began, *_ENDS[wire][self.end]]
        body = lines(*documents) if wire == "ollama" else events(*documents, end=b"")
        return streamed_response(body, "application/x-ndjson" if wire == "ollama" else "text/event-stream")


def _chunk(finish: str | None = None, **delta: object) -> Document:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def _begin_chunks(thinking: bool) -> list[Document]:
    return [_chunk(role="assistant", **{"reasoning" if thinking else "content": "Hel"})]


def _begin_message(thinking: bool) -> list[Document]:
    block: Document = (
        {"type": "thinking", "thinking": "", "signature": ""} if thinking else {"type": "text", "text": ""}
    )
    delta = {"type": "thinking_delta", "thinking": "Hel"} if thinking else {"type": "text_delta", "text": "Hel"}
    message: Document = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 20, "output_tokens": 1},
    }
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
    ]


def _response(status: str, **more: object) -> Document:
    return {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status, "output": [], **more}


def _begin_response(thinking: bool) -> list[Document]:
    item: dict[str, object]
    if thinking:
        item = {"id": "rs_1", "type": "reasoning", "summary": []}
        delta = {"type": "response.reasoning_summary_text.delta", "summary_index": 0}
    else:
        item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        delta = {"type": "response.output_text.delta", "content_index": 0, "logprobs": []}
    place = {"item_id": item["id"], "output_index": 0}
    return [
        {"type": "response.created", "sequence_number": 0, "response": _response("in_progress")},
        {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": item},
        {**delta, **place, "sequence_number": 2, "delta": "Hel"},
    ]


def _begin_lines(thinking: bool) -> list[Document]:
    return [line("", thinking="Hel") if thinking else line("Hel")]


_BEGINNINGS: dict[Wire, Callable[[bool], list[Document]]] = {
    "chat_completions": _begin_chunks,
    "messages": _begin_message,
    "responses": _begin_response,
    "ollama": _begin_lines,
}
_STOPPED: Document = {"type": "content_block_stop", "index": 0}
_SAID = "the machine is on fire"


def _stop_message(reason: str) -> list[Document]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [
        _STOPPED,
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]


def _end_response(reason: str) -> list[Document]:
    response = _response("incomplete", incomplete_details={"reason": reason}, usage={"input_tokens": 20, "output_tokens": 3, "total_tokens": 23})  # fmt: skip
    return [{"type": "response.incomplete", "sequence_number": 3, "response": response}]


_ENDS: dict[Wire, dict[str, list[Document]]] = {
    "chat_completions": {
        "cut": [],
        "error": [{"error": {"message": _SAID, "code": 500}}],
        "filter": [_chunk("content_filter")],
        "length": [_chunk("length")],
    },
    "messages": {
        "cut": [],
        "error": [{"type": "error", "error": {"type": "api_error", "message": _SAID}}],
        "filter": _stop_message("refusal"),
        "length": _stop_message("max_tokens"),
    },
    "responses": {
        "cut": [],
        "error": [
            {
                "type": "response.failed",
                "sequence_number": 3,
                "response": _response("failed", error={"code": "server_error", "message": _SAID}),
            }
        ],
        "filter": _end_response("content_filter"),
        "length": _end_response("max_output_tokens"),
    },
    "ollama": {
        "cut": [],
        "error": [{"error": _SAID}],
        "filter": [{**line(done=True), "done_reason": "content_filter"}],
        "length": [{**line(done=True), "done_reason": "length"}],
    },
}

FAILURES: dict[str, ErrorAnswer | Break] = {
    "bad-request": ErrorAnswer(status=400, message="temperature: out of range", kind="invalid_request_error"),
    "too-long": ErrorAnswer(
        status=400,
        message="This model's maximum context length is 10 tokens. However, you requested 20 tokens.",
        kind="context_length_exceeded",
    ),
    "bad-key": ErrorAnswer(status=401, message="no such key", kind="authentication_error"),
    "unpaid-bill": ErrorAnswer(status=402, message="insufficient credits", kind="billing_error"),
    "unknown-model": ErrorAnswer(status=404, message="no such model", kind="not_found_error"),
    "rate-limit": ErrorAnswer(status=429, message="slow down", kind="rate_limit_error"),
    "rate-limit-1s": ErrorAnswer(status=429, message="slow down", kind="rate_limit_error", retry_after=1),
    "rate-limit-1h": ErrorAnswer(status=429, message="slow down", kind="rate_limit_error", retry_after=3600),
    "spent-quota": ErrorAnswer(status=429, message="You exceeded your current quota", kind="insufficient_quota"),
    "error-500": ErrorAnswer(status=500, message=_SAID, kind="api_error"),
    "overload-503": ErrorAnswer(status=503, message="try later", kind="overloaded_error"),
    "overload-529": ErrorAnswer(status=529, message="try later", kind="overloaded_error"),
    "late": ErrorAnswer(status=504, message="no answer within 300 seconds", kind="timeout_error"),
    "empty": Break(begun=False),
    "cut-in-thought": Break(thinking=True),
    "error-in-thought": Break(thinking=True, end="error"),
    "cut": Break(),
    "error-within": Break(end="error"),
    "filter": Break(end="filter"),
    "token-limit": Break(end="length"),
}
"""Each way in which an answer can fail. The first are status and error of a response, the others how a stream ends."""


async def fail_as_named(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    """Fail as the end of the model's name says, each time. A request for a whole answer succeeds where the failure is one
    within a stream; an unknown name succeeds always."""
    if asked.method == "GET":
        await answer_hello(asked, stream)
        return
    failure = next((failure for name, failure in FAILURES.items() if asked.json["model"].endswith(name)), None)
    if isinstance(failure, ErrorAnswer):
        await stream.send_all(failure.build(find_wire(asked)))
    elif isinstance(failure, Break) and asked.json.get("stream"):
        await stream.send_all(failure.build(find_wire(asked)))
        await stream.aclose()
    else:
        await answer_hello(asked, stream)
