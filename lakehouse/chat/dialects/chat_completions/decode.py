"""Answers of chat completions: whole completions, and the chunks of streamed ones."""

from __future__ import annotations

from lakehouse.chat.dialects.base import StreamParser
from lakehouse.chat.dialects.chat_completions.chunk_fast_path import ChunkFastPath
from lakehouse.chat.dialects.chat_completions.completion_fast_path import decode_text_only
from lakehouse.chat.dialects.chat_completions.text_only_fields import NON_TEXT_FIELDS
from lakehouse.chat.dialects.decoding.answer_builder import AnswerBuilder
from lakehouse.chat.dialects.decoding.event_parser import EventParser, decode_body
from lakehouse.chat.dialects.decoding.reasoning import find_reasoning
from lakehouse.chat.dialects.decoding.supplement_shapes import (
    convert_annotation,
    convert_logprobs,
    find_audio,
    find_images,
)
from lakehouse.chat.dialects.decoding.tool_call_fragments import find_fragments
from lakehouse.chat.dialects.errors.classifier import classify_error_object
from lakehouse.chat.dialects.framing.sse import SseFraming
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_objects, as_string, as_text, first_object
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Delta


def decode(body: bytes, *, quirks: Quirks) -> ProviderAnswer:
    """Return a whole answer, see `base.DecodeFunction`."""
    return decode_text_only(body, quirks) or decode_body(body, CompletionReader(quirks))


def make_parser(*, quirks: Quirks) -> StreamParser:
    """Return the parser of one stream."""
    return EventParser(SseFraming(), CompletionReader(quirks), ChunkFastPath())


class CompletionReader:
    """Reads completions and chunks, see `event_parser.Reader`."""

    def __init__(self, quirks: Quirks) -> None:
        self.answer = AnswerBuilder(quirks)
        self._usage_ends_stream = quirks.usage_ends_stream

    def read_body(self, document: JsonObject) -> None:
        """Read a completion. It is complete with or without a finish reason."""
        if "choices" not in document:
            raise self.answer.build_unknown_shape_error(document)
        self.read_event(document, b"")
        self.answer.mark_finished()
        if as_objects(document["choices"]) and not self.answer.finish_reason:
            self.answer.set_finish_reason("stop")

    def read_event(self, document: JsonObject, name: bytes) -> list[Delta]:  # noqa: ARG002 - events have no names
        """Read a chunk."""
        choice = first_object(document.get("choices"))
        if choice.get("error"):
            raise classify_error_object(choice, provider=self.answer.provider)
        message = as_object(choice.get("delta")) or as_object(choice.get("message"))
        self.answer.supplements.add_fields(document)
        deltas = self._read_message(message)
        if logprobs := as_object(choice.get("logprobs")):
            converted = convert_logprobs(logprobs.get("content"), logprobs.get("refusal"))
            deltas = self.answer.attach_logprobs(deltas, converted)
        if reason := as_string(choice.get("finish_reason")):
            self.answer.set_finish_reason(reason)
        has_usage = self.answer.usage.read_completion(document, choice)
        if self._usage_ends_stream:
            self._update_end_by_usage(message, has_usage=has_usage)
        return deltas

    def read_trailer(self, document: JsonObject) -> None:
        """Read usage and cost after the end mark: OpenCode sends its cost there. Usage there ends the stream, if usage
        does so for this provider."""
        if self.answer.usage.read_completion(document, first_object(document.get("choices"))):
            self.answer.mark_ended_by_usage(self._usage_ends_stream)

    def _update_end_by_usage(self, message: JsonObject, *, has_usage: bool) -> None:
        """Usage ends the stream until content follows. Usage in a chunk with content does not."""
        has_content = as_text(message.get("content")) or (
            any(map(message.get, NON_TEXT_FIELDS))
            and (
                find_reasoning(message)
                or message.get("refusal")
                or find_fragments(message)
                or message.get("annotations")
                or find_images(message)
                or find_audio(message)
            )
        )
        if has_content or has_usage:
            self.answer.mark_ended_by_usage(not has_content)

    def _read_message(self, message: JsonObject) -> list[Delta]:
        answer, content = self.answer, message.get("content")
        if isinstance(content, str) and not any(map(message.get, NON_TEXT_FIELDS)):
            return answer.add_text(content)
        deltas = answer.add_reasoning(find_reasoning(message))
        if details := as_objects(message.get("reasoning_details")):
            answer.add_reasoning_details(details)
            deltas += answer.take_signed_reasoning()
        deltas += answer.add_text(as_text(content))
        refusal = as_string(message.get("refusal")) or "".join(
            as_string(part.get("refusal")) for part in as_objects(content) if part.get("type") == "refusal"
        )
        if refusal:
            deltas += answer.add_refusal(refusal)
        deltas += answer.add_supplements(
            annotations=map(convert_annotation, as_objects(message.get("annotations"))),
            images=find_images(message),
            audio=find_audio(message),
        )
        if fragments := find_fragments(message):
            deltas += answer.add_tool_calls(fragments)
        return deltas
