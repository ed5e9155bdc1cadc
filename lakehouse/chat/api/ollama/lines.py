"""Answers in Ollama's form: a whole answer, and the lines of a stream.

A chat has its text in `message`, a completion (`/api/generate`) in `response`; the rest is the same. The last line has
the counts and the durations, which are nanoseconds of this service: the whole call, and from the first piece to the
end. Times of creation are UTC with nanoseconds, as Go writes them.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UNSET

from lakehouse.asgi.sse import escape_line_ends
from lakehouse.chat.api.ollama.errors import encode_error_line
from lakehouse.chat.api.protocols import Pieces
from lakehouse.chat.dialects.tool_calls import parse_arguments
from lakehouse.chat.model.answer import Answer, AnswerFacts
from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.model.pieces import (
    ContentPiece,
    DetailedContentPiece,
    Done,
    Piece,
    ReasoningPiece,
    SupplementPiece,
    ToolCallPiece,
)
from lakehouse.chat.model.tool_calls import AnyToolCall, CustomToolCall
from lakehouse.core.errors import LakehouseError

_SECOND = 1_000_000_000
_encode = msgspec.json.Encoder().encode


class AnswerShape(ABC):
    """Where a chat and a completion have the text of their answers."""

    @abstractmethod
    def make_part(self, text: str = "", **fields: object) -> JsonObject:
        """The members of one line with this part of the message."""


class ChatShape(AnswerShape):
    """`/api/chat`: everything is in a message."""

    def make_part(self, text: str = "", **fields: object) -> JsonObject:
        return {"message": {"role": "assistant", "content": text, **fields}}


class GenerateShape(AnswerShape):
    """`/api/generate`: the text is `response`, the rest stands beside it."""

    def make_part(self, text: str = "", **fields: object) -> JsonObject:
        return {"response": text, **fields}


def make_answer(answer: Answer, shape: AnswerShape, name: str) -> JsonObject:
    """A whole answer. `name` is the model as the client called it."""
    fields: JsonObject = {"thinking": answer.reasoning} if answer.reasoning else {}
    if answer.tool_calls:
        fields["tool_calls"] = [_make_call(index, call) for index, call in enumerate(answer.tool_calls)]
    fields |= _make_supplements(answer.images, answer.annotations, answer.audio)
    part = shape.make_part(answer.content, **fields) | _make_logprobs(answer.logprobs)
    total = _nanoseconds(answer.latency_ms)
    refused = bool(answer.refusal)
    return _make_head(name) | part | _make_end(answer, refused=refused, total=total, evaluated=total)


def make_loaded(shape: AnswerShape, name: str, reason: str) -> JsonObject:
    """The answer to a request without a prompt."""
    return {**_make_head(name), **shape.make_part(), "done": True, "done_reason": reason}


class LineEncoder:
    """Encodes one stream, one line for each piece: a `StreamEncoder`."""

    def __init__(self, shape: AnswerShape, name: str) -> None:
        self._shape = shape
        self._name = name
        self._calls = 0
        self._refused = False
        self._first_at: int | None = None
        self._line_start, self._line_middle, self._line_end = self._make_template()

    def encode_events(self, batch: Sequence[Piece], _: Pieces) -> bytes:
        """The lines for pieces that arrived together; the one for `Done` is the last of a stream."""
        if self._first_at is None:
            self._first_at = time.monotonic_ns()
        lines: list[bytes] = []
        for piece in batch:
            if type(piece) is ContentPiece:  # nearly every piece
                text = _encode(piece.text)
                text = text if text.isascii() else escape_line_ends(text)
                lines += (self._line_start, format_now(), self._line_middle, text, self._line_end)
            else:
                lines.append(self._encode_piece(piece))
        return b"".join(lines)

    def encode_error(self, error: LakehouseError) -> bytes:
        """The line that clients raise."""
        return encode_error_line(error)

    def _make_template(self) -> tuple[bytes, bytes, bytes]:
        """The bytes around the time and the text of a content line."""
        head = {"model": self._name, "created_at": ""}
        line = escape_line_ends(_encode({**head, **self._shape.make_part(), "done": False}))
        start, _, rest = line.partition(b'"created_at":""')
        middle, _, end = rest.partition(b'""')  # the only empty string behind the time is the text
        return start + b'"created_at":"', b'"' + middle, end + b"\n"

    def _encode_piece(self, piece: Piece) -> bytes:
        part = self._shape.make_part
        match piece:
            case Done():
                return self._encode_end(piece)
            case DetailedContentPiece(text=text, logprobs=logprobs, refusal=refusal):
                self._refused = self._refused or refusal is True
                return self._encode_line(part(text) | _make_logprobs(logprobs))
            case ReasoningPiece(text=text):
                return self._encode_line(part(thinking=text))
            case ToolCallPiece(tool_call=call):
                index, self._calls = self._calls, self._calls + 1
                return self._encode_line(part(tool_calls=[_make_call(index, call)]))
            case SupplementPiece(annotations=annotations, images=images, audio=audio, logprobs=logprobs):
                fields = _make_supplements(images, annotations, audio)
                return self._encode_line(part(**fields) | _make_logprobs(logprobs))
            case ContentPiece(text=text):
                return self._encode_line(part(text))
        return b""  # a piece that this form has no place for

    def _encode_line(self, members: JsonObject) -> bytes:
        return escape_line_ends(_encode({**_make_head(self._name), **members, "done": False})) + b"\n"

    def _encode_end(self, done: Done) -> bytes:
        total = _nanoseconds(done.latency_ms)
        evaluated = min(total, time.monotonic_ns() - (self._first_at or 0))
        end = _make_end(done, refused=self._refused, total=total, evaluated=evaluated)
        return escape_line_ends(_encode({**_make_head(self._name), **self._shape.make_part(), **end})) + b"\n"


def _make_head(name: str) -> JsonObject:
    return {"model": name, "created_at": format_now().decode()}


def _make_end(facts: AnswerFacts, *, refused: bool, total: int, evaluated: int) -> JsonObject:
    """The members of the last line. A count that the provider did not give is left out. The model and the provider that
    answered have the names that Ollama has for those of its cloud."""
    end: dict[str, Any] = {
        "remote_model": facts.model,
        "remote_host": facts.provider,
        "done": True,
        "done_reason": _make_reason(facts, refused=refused),
        "total_duration": total,
        "prompt_eval_count": facts.input_tokens,
        "prompt_eval_duration": total - evaluated or None,
        "eval_count": facts.output_tokens,
        "eval_duration": evaluated,
    }
    return {name: value for name, value in end.items() if value is not None}


def _make_reason(facts: AnswerFacts, *, refused: bool) -> str:
    """Ollama's reason: `stop` also for tool calls, and for a refusal, whose words the client has. An answer that was
    withheld keeps `content_filter`, which no Ollama says: it must not pass as complete."""
    reason = facts.finish_reason
    return "stop" if reason == "tool_calls" or (refused and reason == "content_filter") else reason


def _make_call(index: int, call: AnyToolCall) -> JsonObject:
    if isinstance(call, CustomToolCall):
        arguments: JsonObject = {"input": call.custom.input}
    else:
        arguments = parse_arguments(call.function.arguments)
    return {"id": call.id, "function": {"index": index, "name": call.function.name, "arguments": arguments}}


def _make_supplements(images: object, annotations: object, audio: object) -> JsonObject:
    """Images as base64, as Ollama has them. Remote images, citations and audio are in OpenAI's shapes, which Ollama's
    clients pass over."""
    fields: JsonObject = {}
    if isinstance(images, tuple):
        urls = [str(image.get("image_url", {}).get("url", "")) for image in images]
        inline = [url.partition(";base64,")[2] for url in urls if url.startswith("data:")]
        remote = [image for image, url in zip(images, urls, strict=True) if not url.startswith("data:")]
        fields |= {name: value for name, value in (("images", inline), ("remote_images", remote)) if value}
    if annotations is not UNSET:
        fields["annotations"] = annotations
    if audio is not UNSET:
        fields["audio"] = audio
    return fields


def _make_logprobs(logprobs: JsonObject | msgspec.UnsetType) -> JsonObject:
    """The probabilities of the text's tokens, which Ollama lists beside the message."""
    tokens = None if isinstance(logprobs, msgspec.UnsetType) else logprobs.get("content")
    return {"logprobs": tokens} if tokens else {}


def _nanoseconds(milliseconds: float) -> int:
    return int(milliseconds * 1_000_000)


def format_now() -> bytes:
    """The present time, such as `2026-11-28T10:00:00.123456789Z`."""
    seconds, rest = divmod(time.time_ns(), _SECOND)
    return b"%b.%09dZ" % (_format_seconds(seconds), rest)


@lru_cache(4)
def _format_seconds(seconds: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode()
