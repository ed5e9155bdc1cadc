"""Answers of the messages dialect: whole messages, and the events of streamed ones."""

from __future__ import annotations

from lakehouse.chat.dialects.base import StreamParser
from lakehouse.chat.dialects.decoding.answer_builder import AnswerBuilder
from lakehouse.chat.dialects.decoding.event_parser import EventParser, decode_body
from lakehouse.chat.dialects.decoding.supplement_shapes import convert_citation
from lakehouse.chat.dialects.framing.sse import SseFraming
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_objects, as_string
from lakehouse.chat.dialects.messages.cache_control import THINKING_BLOCKS
from lakehouse.chat.dialects.messages.text_delta_fast_path import TextDeltaFastPath
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Delta


def decode(body: bytes, *, quirks: Quirks) -> ProviderAnswer:
    """Return a whole answer, see `base.DecodeFunction`."""
    return decode_body(body, MessagesReader(quirks))


def make_parser(*, quirks: Quirks) -> StreamParser:
    """Return the parser of one stream."""
    return EventParser(SseFraming(), MessagesReader(quirks), TextDeltaFastPath())


class MessagesReader:
    """Reads messages and events, see `event_parser.Reader`."""

    def __init__(self, quirks: Quirks) -> None:
        self.answer = AnswerBuilder(quirks)
        self._stop_reason = ""
        self._server_calls: set[object] = set()  # indexes of calls that the provider makes and answers itself
        self._block_start = 0  # of the current text block, in characters of the whole text
        self._citations: list[JsonObject] = []  # of the current text block

    def read_body(self, document: JsonObject) -> None:
        """Read a whole message."""
        if not isinstance(document.get("content"), list):
            raise self.answer.build_unknown_shape_error(document)
        for index, block in enumerate(as_objects(document["content"])):
            self._start_block(index, block)
            self._end_block()
        self._read_usage(document)
        self.answer.supplements.set_stop_sequence(as_string(document.get("stop_sequence")))
        self.answer.mark_finished()
        self.answer.set_finish_reason(as_string(document.get("stop_reason")) or "stop")

    def read_event(self, document: JsonObject, name: bytes) -> list[Delta]:
        """Read an event. Its type is in the data as well as in the event's name."""
        kind = as_string(document.get("type")) or name.decode("utf-8", "replace")
        index = document.get("index")
        match kind:
            case "content_block_start":
                return [*self._end_block(), *self._start_block(index, as_object(document.get("content_block")))]
            case "content_block_delta":
                return self._read_delta(index, as_object(document.get("delta")))
            case "content_block_stop":
                return self._end_block()
            case "message_start":
                self._read_usage(as_object(document.get("message")))
            case "message_delta":
                self._read_usage(document)
                delta = as_object(document.get("delta"))
                self._stop_reason = as_string(delta.get("stop_reason")) or self._stop_reason
                self.answer.supplements.set_stop_sequence(as_string(delta.get("stop_sequence")))
            case "message_stop":
                self._read_usage(document)
                deltas = self._end_block()
                self.answer.mark_finished()
                self.answer.set_finish_reason(self._stop_reason or "stop")
                return deltas
        return []

    def read_trailer(self, document: JsonObject) -> None:
        """Read OpenCode's cost, which may follow the end."""
        self._read_usage(document)

    def _start_block(self, index: object, block: JsonObject) -> list[Delta]:
        """Read a whole block, or the beginning of one, which may have content already."""
        kind = block.get("type")
        if kind == "text":
            self._block_start = self.answer.text_length
            self._citations = as_objects(block.get("citations"))
            return self.answer.add_text(as_string(block.get("text")))
        if kind in THINKING_BLOCKS:
            self.answer.add_reasoning_details([{**block, "index": index}])
            return self.answer.add_reasoning(as_string(block.get("thinking")))
        if kind == "tool_use":
            id, name = as_string(block.get("id")), as_string(block.get("name"))  # noqa: A001
            arguments = block.get("input") or None
            return self.answer.add_tool_call_fragment(index, id=id, name=name, arguments=arguments)
        if kind == "server_tool_use" and isinstance(index, int):
            self._server_calls.add(index)
        return []

    def _read_delta(self, index: object, delta: JsonObject) -> list[Delta]:
        match delta.get("type"):
            case "text_delta":
                return self.answer.add_text(as_string(delta.get("text")))
            case "citations_delta":
                self._citations.append(as_object(delta.get("citation")))
            case "input_json_delta" if not (isinstance(index, int) and index in self._server_calls):
                return self.answer.add_tool_call_fragment(index, arguments=as_string(delta.get("partial_json")))
            case "thinking_delta" | "signature_delta":
                return self._read_thinking(index, delta)
        return []

    def _read_thinking(self, index: object, delta: JsonObject) -> list[Delta]:
        thinking = as_string(delta.get("thinking"))
        added = {"thinking": thinking} if thinking else {"signature": as_string(delta.get("signature"))}
        self.answer.add_reasoning_details([{"type": "thinking", "index": index, **added}])
        return self.answer.add_reasoning(thinking)

    def _end_block(self) -> list[Delta]:
        """Return the signed thinking of the block that has ended, or its citations as annotations of its text."""
        citations, self._citations = self._citations, []
        end = self.answer.text_length
        annotations = [convert_citation(citation, self._block_start, end) for citation in citations if citation]
        return [*self.answer.take_signed_reasoning(), *self.answer.add_supplements(annotations=annotations)]

    def _read_usage(self, document: JsonObject) -> None:
        self.answer.usage.read_message(document.get("usage"))
        self.answer.usage.set_cost(document.get("cost"))
