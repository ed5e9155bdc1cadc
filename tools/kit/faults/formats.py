"""The three forms in which the provider speaks: what an answer, a piece of one, or an error looks like in each.

All answers are `TEXT`, so that one who heard half of it from one model can go on with another.
"""

from __future__ import annotations

import json
import zlib
from typing import NamedTuple, Protocol

PIECES = (
    "Whatever ",
    "a request ",
    "starts, ",
    "it ends: ",
    "no task, ",
    "no socket, ",
    "no slot ",
    "is left. Nö",
    ".",
)
TEXT = "".join(PIECES)

Json = dict[str, object]


class Usage(NamedTuple):
    """Tokens, as a model counts them: each in its own way, so that it shows whose count it is."""

    read: int
    written: int


def usage_for(model: str) -> Usage:
    """What `model` counts for any answer."""
    seed = zlib.crc32(model.encode())
    return Usage(1 + seed % 997, 1 + seed // 997 % 991)


class ErrorReply(NamedTuple):
    """A refusal: its status, its type in the forms that have types, and its words."""

    status: int
    type: str
    message: str


ERROR_REPLIES = {
    "rate": ErrorReply(429, "rate_limit_exceeded", "Rate limit reached, please slow down"),
    "server": ErrorReply(500, "server_error", "Internal server error"),
    "busy": ErrorReply(503, "overloaded_error", "server busy, please try again"),
    "context": ErrorReply(
        400, "invalid_request_error", "This model's maximum context length is 8192 tokens, you sent 90210"
    ),
    "filter": ErrorReply(400, "invalid_request_error", "Rejected by the content filter: it speaks of violence"),
    "auth": ErrorReply(401, "authentication_error", "Invalid API key"),
    "billing": ErrorReply(402, "billing_error", "Insufficient credits"),
    "prefill": ErrorReply(
        400, "invalid_request_error", "unsupported value: this model does not support assistant prefill"
    ),
    "missing": ErrorReply(404, "not_found_error", "model not found"),
}


class WireFormat(Protocol):
    """One form."""

    name: str
    kind: str
    """The content type of its streams."""
    ping: bytes
    garbled: bytes
    """An event that holds half an object."""
    chatter: bytes
    """An event that is none of its own."""

    def whole(self, model: str, text: str = TEXT, finish: str = "stop") -> Json: ...
    def opening(self, model: str) -> bytes: ...
    def piece(self, model: str, text: str) -> bytes: ...
    def closing(self, model: str, finish: str = "stop") -> bytes:
        """How a stream ends, its end mark aside."""

    def mark(self) -> bytes:
        """The end mark."""

    def envelope(self, kind: ErrorReply) -> Json:
        """An error as a whole document."""

    def failure(self, kind: ErrorReply) -> bytes:
        """An error as an event of a stream."""

    def empty(self, model: str) -> Json:
        """A whole answer with nothing in it."""

    def empty_stream(self, model: str) -> bytes:
        """The same in a stream."""

    def around(self, model: str) -> tuple[bytes, bytes]:
        """What comes before and behind the text of one single, endless event."""


def encode_json(document: object) -> bytes:
    """JSON in bytes, other alphabets as they are."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


class Ollama:
    """`/api/chat`: lines of JSON."""

    name = "ollama"
    kind = "application/x-ndjson"
    ping = b"\n"
    garbled = b'{"model":"m","message":{"role":"assist\n'
    chatter = b"  \n"

    def whole(self, model: str, text: str = TEXT, finish: str = "stop") -> Json:
        read, written = usage_for(model)
        ended = {"done": True, "done_reason": finish, "prompt_eval_count": read, "eval_count": written}
        return {"model": model, "created_at": "2026-01-01T00:00:00Z", "message": _said(text), **ended}

    def opening(self, model: str) -> bytes:
        return b""

    def piece(self, model: str, text: str) -> bytes:
        return encode_json({"model": model, "message": _said(text), "done": False}) + b"\n"

    def closing(self, model: str, finish: str = "stop") -> bytes:
        return encode_json(self.whole(model, "", finish))

    def mark(self) -> bytes:
        return b"\n"

    def envelope(self, kind: ErrorReply) -> Json:
        return {"error": kind.message}

    def failure(self, kind: ErrorReply) -> bytes:
        return encode_json(self.envelope(kind)) + b"\n"

    def empty(self, model: str) -> Json:
        return {**self.whole(model, ""), "eval_count": 0}

    def empty_stream(self, model: str) -> bytes:
        return encode_json(self.empty(model)) + b"\n"

    def around(self, model: str) -> tuple[bytes, bytes]:
        before, _, behind = self.piece(model, "@").partition(b"@")
        return before, behind


class Completions:
    """`/chat/completions`: server-sent events that end in `[DONE]`."""

    name = "openai"
    kind = "text/event-stream"
    ping = b": keep-alive\n\n"
    garbled = b'data: {"id":"c","choices":[{"index":0,"del\n\n'
    chatter = b"data: still here\n\n"

    def whole(self, model: str, text: str = TEXT, finish: str = "stop") -> Json:
        choice = {"index": 0, "message": _said(text), "finish_reason": finish}
        return {"id": "c", "object": "chat.completion", "model": model, "choices": [choice], "usage": _counted(model)}

    def opening(self, model: str) -> bytes:
        return self._chunk(model, {"role": "assistant", "content": ""})

    def piece(self, model: str, text: str) -> bytes:
        return self._chunk(model, {"content": text})

    def closing(self, model: str, finish: str = "stop") -> bytes:
        counted = {"id": "c", "model": model, "choices": [], "usage": _counted(model)}
        return self._chunk(model, {}, finish) + b"data: " + encode_json(counted) + b"\n\n"

    def mark(self) -> bytes:
        return b"data: [DONE]\n\n"

    def envelope(self, kind: ErrorReply) -> Json:
        return {"error": {"message": kind.message, "type": kind.type, "param": None, "code": kind.status}}

    def failure(self, kind: ErrorReply) -> bytes:
        return b"data: " + encode_json(self.envelope(kind)) + b"\n\n"

    def empty(self, model: str) -> Json:
        return {"id": "c", "object": "chat.completion", "model": model, "choices": []}

    def empty_stream(self, model: str) -> bytes:
        return b"data: " + encode_json(self.empty(model)) + b"\n\n" + self.mark()

    def around(self, model: str) -> tuple[bytes, bytes]:
        before, _, behind = self.piece(model, "@").partition(b"@")
        return before, behind

    def _chunk(self, model: str, delta: Json, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk = {"id": "c", "object": "chat.completion.chunk", "model": model, "choices": [choice]}
        return b"data: " + encode_json(chunk) + b"\n\n"


STOPS = {"stop": "end_turn", "content_filter": "refusal"}


class Messages:
    """`/messages`: named events that end in `message_stop`."""

    name = "messages"
    kind = "text/event-stream"
    ping = b'event: ping\ndata: {"type":"ping"}\n\n'
    garbled = b'event: content_block_delta\ndata: {"type":"content_block_delta","ind\n\n'
    chatter = b"event: note\ndata: still here\n\n"

    def whole(self, model: str, text: str = TEXT, finish: str = "stop") -> Json:
        return {**self._message(model), "content": [{"type": "text", "text": text}], "stop_reason": STOPS[finish]}

    def opening(self, model: str) -> bytes:
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        return self._event({"type": "message_start", "message": self._message(model)}) + self._event(block)

    def piece(self, model: str, text: str) -> bytes:
        return self._event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})

    def closing(self, model: str, finish: str = "stop") -> bytes:
        counted = {"output_tokens": usage_for(model).written}
        ended: Json = {"type": "message_delta", "delta": {"stop_reason": STOPS[finish]}, "usage": counted}
        return self._event({"type": "content_block_stop", "index": 0}) + self._event(ended)

    def mark(self) -> bytes:
        return self._event({"type": "message_stop"})

    def envelope(self, kind: ErrorReply) -> Json:
        return {"type": "error", "error": {"type": kind.type, "message": kind.message}}

    def failure(self, kind: ErrorReply) -> bytes:
        return self._event(self.envelope(kind))

    def empty(self, model: str) -> Json:
        return {**self._message(model), "content": [], "stop_reason": "end_turn"}

    def empty_stream(self, model: str) -> bytes:
        begun: Json = {"type": "message_start", "message": self._message(model)}
        ended: Json = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
        return self._event(begun) + self._event(ended) + self.mark()

    def around(self, model: str) -> tuple[bytes, bytes]:
        before, _, behind = self.piece(model, "@").partition(b"@")
        return before, behind

    def _message(self, model: str) -> Json:
        read, written = usage_for(model)
        counted = {"input_tokens": read, "output_tokens": written}
        return {"id": "m", "type": "message", "role": "assistant", "model": model, "content": [], "usage": counted}

    def _event(self, document: Json) -> bytes:
        return b"event: %b\ndata: %b\n\n" % (str(document["type"]).encode(), encode_json(document))


def _said(text: str) -> Json:
    return {"role": "assistant", "content": text}


def _counted(model: str) -> Json:
    read, written = usage_for(model)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


FORMATS: dict[str, WireFormat] = {"/api/chat": Ollama(), "/chat/completions": Completions(), "/messages": Messages()}
"""By the end of the path."""
