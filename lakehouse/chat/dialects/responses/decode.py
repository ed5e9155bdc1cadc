"""Answers of the responses dialect: whole responses, and the events of streamed ones."""

from __future__ import annotations

from lakehouse.chat.dialects.base import StreamParser
from lakehouse.chat.dialects.decoding.answer_builder import AnswerBuilder
from lakehouse.chat.dialects.decoding.event_parser import EventParser, decode_body
from lakehouse.chat.dialects.decoding.supplement_shapes import build_image, convert_annotation, convert_logprobs
from lakehouse.chat.dialects.errors.classifier import classify_error_object
from lakehouse.chat.dialects.framing.sse import SseFraming
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_objects, as_string
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.responses.text_event_fast_path import TextEventFastPath
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Delta

ARGUMENT_FIELDS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Types of items that are calls of the caller's tools, and the field of their arguments."""

CLIENT_CALLS = (
    "apply_patch_call",
    "computer_call",
    "local_shell_call",
    "mcp_approval_request",
    "shell_call",
    "tool_search_call",
)
"""Types of items that a client has to answer, and that only clients of this form can be told."""


def decode(body: bytes, *, quirks: Quirks) -> ProviderAnswer:
    """Return a whole answer, see `base.DecodeFunction`."""
    return decode_body(body, ResponseReader(quirks))


def make_parser(*, quirks: Quirks) -> StreamParser:
    """Return the parser of one stream."""
    return EventParser(SseFraming(), ResponseReader(quirks), TextEventFastPath())


class ResponseReader:
    """Reads responses and events, see `event_parser.Reader`."""

    def __init__(self, quirks: Quirks) -> None:
        self.answer = AnswerBuilder(quirks)
        self._reasoning_event = ""  # the event that is read for reasoning: its text or a summary of it, never both
        self._with_arguments: set[object] = set()  # indexes of calls whose arguments have been read
        self._text_starts: dict[object, int] = {}  # of each text part, in characters of the whole text

    def read_body(self, document: JsonObject) -> None:
        """Read a whole response."""
        if not isinstance(document.get("output"), list):
            raise self.answer.build_unknown_shape_error(document)
        self._read_items(document)
        self._finish(document)

    def read_event(self, document: JsonObject, name: bytes) -> list[Delta]:
        """Read an event. Its type is in the data as well as in the event's name."""
        kind = (as_string(document.get("type")) or name.decode("utf-8", "replace")).removeprefix("response.")
        if kind == "output_text.delta":
            return self._read_text(document)
        if kind == "output_text.annotation.added":
            return self._read_annotation(document)
        if kind == "refusal.delta":
            return self.answer.add_refusal(as_string(document.get("delta")))
        if kind.startswith("reasoning"):
            return self._read_reasoning(kind, document)
        if kind in ("function_call_arguments.delta", "custom_tool_call_input.delta"):
            return self._read_arguments_delta(kind, document)
        if kind in ("function_call_arguments.done", "custom_tool_call_input.done"):
            return self._read_arguments(kind, document)
        if kind in ("output_item.added", "output_item.done"):
            return self._read_item_event(kind, document)
        if kind in ("completed", "incomplete", "failed", "cancelled"):
            return self._read_end(kind, document)
        return []

    def read_trailer(self, document: JsonObject) -> None:
        """Read OpenCode's cost, which may follow the end."""
        self.answer.usage.set_cost(document.get("cost"))

    def _read_text(self, document: JsonObject) -> list[Delta]:
        self._text_starts.setdefault(_get_part_key(document), self.answer.text_length)
        deltas = self.answer.add_text(as_string(document.get("delta")))
        return self.answer.attach_logprobs(deltas, convert_logprobs(document.get("logprobs")))

    def _read_annotation(self, document: JsonObject) -> list[Delta]:
        offset = self._text_starts.get(_get_part_key(document), self.answer.text_length)
        annotation = convert_annotation(as_object(document.get("annotation")), offset)
        return self.answer.add_supplements(annotations=[annotation])

    def _read_reasoning(self, kind: str, document: JsonObject) -> list[Delta]:
        text = as_string(document.get("delta"))
        if kind == "reasoning_summary_part.added" and document.get("summary_index"):
            text, kind = "\n\n", "reasoning_summary_text.delta"
        if kind not in ("reasoning_summary_text.delta", "reasoning_text.delta"):
            return []
        self._reasoning_event = self._reasoning_event or kind
        return self.answer.add_reasoning(text) if kind == self._reasoning_event else []

    def _read_arguments_delta(self, kind: str, document: JsonObject) -> list[Delta]:
        index, arguments = _get_item_index(document), as_string(document.get("delta"))
        self._with_arguments.add(index)
        custom = kind.startswith("custom")
        return self.answer.add_tool_call_fragment(index, arguments=arguments, custom=custom)

    def _read_arguments(self, kind: str, document: JsonObject) -> list[Delta]:
        """Read the complete arguments of a call, from servers that send no deltas of them."""
        index, custom = _get_item_index(document), kind.startswith("custom")
        if index in self._with_arguments:
            return []
        self._with_arguments.add(index)
        arguments = document.get("input" if custom else "arguments")
        return self.answer.add_tool_call_fragment(index, arguments=arguments, custom=custom)

    def _read_item_event(self, kind: str, document: JsonObject) -> list[Delta]:
        """Read the beginning or the end of an item. A call has its name at the beginning and its arguments at the end
        at the latest; reasoning can be sent back only as it stands at the end."""
        item, index = as_object(document.get("item")), _get_item_index(document)
        done = kind == "output_item.done"
        if item.get("type") in ARGUMENT_FIELDS:
            return self._read_call(item, index, with_arguments=done and index not in self._with_arguments)
        if item.get("type") == "reasoning" and done:
            self.answer.add_reasoning_details([item])
            return self.answer.take_signed_reasoning()
        return self._read_image(item) if done else []

    def _read_end(self, kind: str, document: JsonObject) -> list[Delta]:
        response = as_object(document.get("response"))
        deltas = self._read_items(response) if self.answer.empty else []
        self.answer.usage.set_cost(document.get("cost"))
        self._finish({"status": kind, **response})
        return deltas

    def _read_items(self, response: JsonObject) -> list[Delta]:
        """Read all items of a whole response."""
        deltas: list[Delta] = []
        for index, item in enumerate(as_objects(response.get("output"))):
            kind = item.get("type")
            if kind == "reasoning":
                self.answer.add_reasoning_details([item])
                parts = as_objects(item.get("summary")) or as_objects(item.get("content"))
                deltas += self.answer.add_reasoning("\n\n".join(as_string(part.get("text")) for part in parts))
                deltas += self.answer.take_signed_reasoning()
            elif kind in ARGUMENT_FIELDS:
                deltas += self._read_call(item, index, with_arguments=True)
            elif kind == "message":
                for part in as_objects(item.get("content")):
                    deltas += self._read_text_part(part)
            else:
                deltas += self._read_image(item)
        return deltas

    def _read_call(self, item: JsonObject, index: object, *, with_arguments: bool) -> list[Delta]:
        id = as_string(item.get("call_id")) or as_string(item.get("id"))  # noqa: A001
        kind, name = as_string(item.get("type")), as_string(item.get("name"))
        arguments = item.get(ARGUMENT_FIELDS[kind]) if with_arguments else None
        custom = kind == "custom_tool_call"
        return self.answer.add_tool_call_fragment(index, id=id, name=name, arguments=arguments, custom=custom)

    def _read_image(self, item: JsonObject) -> list[Delta]:
        """Read a generated image; other items give nothing, and a call that the client has to answer is content."""
        if item.get("type") in CLIENT_CALLS:
            self.answer.mark_content()
        if item.get("type") != "image_generation_call":
            return []
        image = build_image(as_string(item.get("result")), as_string(item.get("output_format")))
        return self.answer.add_supplements(images=[image] if image else [])

    def _read_text_part(self, part: JsonObject) -> list[Delta]:
        answer, offset = self.answer, self.answer.text_length
        deltas = [*answer.add_text(as_string(part.get("text"))), *answer.add_refusal(as_string(part.get("refusal")))]
        deltas = answer.attach_logprobs(deltas, convert_logprobs(part.get("logprobs")))
        annotations = [convert_annotation(annotation, offset) for annotation in as_objects(part.get("annotations"))]
        return [*deltas, *answer.add_supplements(annotations=annotations)]

    def _finish(self, response: JsonObject) -> None:
        """Read usage and status of a response that has ended; raises for a status that is a failure."""
        if response.get("error"):
            raise classify_error_object(response, provider=self.answer.provider)
        self.answer.usage.read_response(response)
        self.answer.supplements.add_fields(response)
        self.answer.mark_finished()
        status = as_string(response.get("status"))
        if status == "incomplete":
            reason = as_string(as_object(response.get("incomplete_details")).get("reason"))
            self.answer.set_finish_reason(reason or "length")
        elif status == "completed":
            self.answer.set_finish_reason("stop")
        else:
            raise self.answer.build_error(f"the answer ended with status {status[:40] or 'unknown'}")


def _get_item_index(document: JsonObject) -> object:
    """Return the index of an event's item, None if the event has none."""
    index = document.get("output_index")
    return index if isinstance(index, int | float | str) else None


def _get_part_key(document: JsonObject) -> object:
    """Return a key of the text part that an event belongs to."""
    return str(document.get("output_index")), str(document.get("content_index"))
