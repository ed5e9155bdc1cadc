"""Answers of Ollama's chat. A whole answer has the shape of the last line of a stream."""

from __future__ import annotations

from lakehouse.chat.dialects.base import StreamParser
from lakehouse.chat.dialects.decoding.answer_builder import AnswerBuilder
from lakehouse.chat.dialects.decoding.event_parser import EventParser, decode_body
from lakehouse.chat.dialects.decoding.reasoning import find_reasoning
from lakehouse.chat.dialects.decoding.supplement_shapes import build_image, convert_logprobs, find_images
from lakehouse.chat.dialects.decoding.tool_call_fragments import find_fragments
from lakehouse.chat.dialects.framing.ndjson import NdjsonFraming
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_string, as_text
from lakehouse.chat.dialects.ollama.text_line_fast_path import TextLineFastPath
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Delta
from lakehouse.core.provider_failures import make_failure


def decode(body: bytes, *, quirks: Quirks) -> ProviderAnswer:
    """Return a whole answer, see `base.DecodeFunction`."""
    return decode_body(body, OllamaReader(quirks))


def make_parser(*, quirks: Quirks) -> StreamParser:
    """Return the parser of one stream."""
    return EventParser(NdjsonFraming(), OllamaReader(quirks), TextLineFastPath())


class OllamaReader:
    """Reads answers and lines, see `event_parser.Reader`."""

    def __init__(self, quirks: Quirks) -> None:
        self.answer = AnswerBuilder(quirks)

    def read_body(self, document: JsonObject) -> None:
        """Read a whole answer."""
        if "message" not in document and "response" not in document:
            raise self.answer.build_unknown_shape_error(document)
        self.read_event(document, b"")

    def read_event(self, document: JsonObject, name: bytes) -> list[Delta]:  # noqa: ARG002 - lines have no names
        """Read a line. `response` of `/api/generate` is read as content."""
        message = as_object(document.get("message")) or {**document, "content": document.get("response")}
        answer = self.answer
        deltas = [
            *answer.add_reasoning(find_reasoning(message)),
            *answer.add_text(as_text(message.get("content"))),
            *answer.add_tool_calls(find_fragments(message)),
            *answer.add_supplements(images=_find_images(message)),
        ]
        deltas = answer.attach_logprobs(deltas, convert_logprobs(document.get("logprobs")))
        if document.get("done") is True:
            self._read_end(document)
        return deltas

    def read_trailer(self, document: JsonObject) -> None:
        """Ignored: the last line has everything."""

    def _read_end(self, document: JsonObject) -> None:
        """Read the last line. Without a reason and without counts, the connection to the model's runner ended, not the
        answer."""
        self.answer.mark_finished()
        self.answer.usage.read_ollama(document)
        reason = as_string(document.get("done_reason"))
        if reason in ("load", "unload"):
            provider = self.answer.provider
            message = f"{provider} only loaded or unloaded the model ({reason}) and generated no answer"
            raise make_failure("empty_response", message, provider=provider, upstream_status=200)
        if reason or "eval_count" in document or "total_duration" in document:
            self.answer.set_finish_reason(reason or "stop")


def _find_images(message: JsonObject) -> list[JsonObject]:
    """Return the images of a message, and `image` of `/api/generate`."""
    image = build_image(as_string(message.get("image")))
    return [*find_images(message), *([image] if image else [])]
