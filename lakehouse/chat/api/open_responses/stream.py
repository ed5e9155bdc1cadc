"""Encodes a stream of pieces as the events of a Responses stream.

created, in_progress, then for each item: output_item.added, its parts and deltas, output_item.done; then one of
completed, incomplete, failed, with all items that were done
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.chat.api.open_responses import items
from lakehouse.chat.api.open_responses.errors import STOPPING_CODE, build_error
from lakehouse.chat.api.open_responses.events import EventLog
from lakehouse.chat.api.open_responses.open_items import OpenMessage, OpenReasoning
from lakehouse.chat.api.open_responses.relayed import RelayedEvents, find_filtered_end
from lakehouse.chat.api.open_responses.request import ResponsesRequest
from lakehouse.chat.api.open_responses.response import ResponseTemplate, build_usage
from lakehouse.chat.api.protocols import Pieces
from lakehouse.chat.dialects.lenient_json import JsonObject
from lakehouse.chat.model.pieces import (
    ContentPiece,
    DetailedContentPiece,
    Done,
    Piece,
    ReasoningDetailsPiece,
    ReasoningPiece,
    SupplementPiece,
    ToolCallPiece,
)
from lakehouse.chat.model.tool_calls import AnyToolCall
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import make_failure


class ResponseEncoder:
    """Encodes one stream: a `StreamEncoder`."""

    def __init__(self, request: ResponsesRequest) -> None:
        self._template = ResponseTemplate(request)
        self._events = EventLog()
        self._output: list[JsonObject] = []
        self._open: OpenReasoning | OpenMessage | None = None
        self._model = ""
        self._begun = False
        self._refused = False
        self._relayed: RelayedEvents | None = None

    def observe_relayed(self, events: bytes) -> None:
        """Take events that were sent in place of encoded ones."""
        if self._relayed is None:
            self._relayed = RelayedEvents()
        self._relayed.add(events)

    def end_relayed(self, events: bytes, done: Done) -> bytes:
        """Return the events; `response.failed` in place of a `response.incomplete` that a content filter has caused."""
        end = find_filtered_end(events)
        if end is None:
            return events
        failed = {**end.response, "status": "failed", "incomplete_details": None, "error": _make_filter_error(done)}
        self._events.number = end.number
        self._events.add("failed", response=failed)
        return end.before + self._events.take()

    def encode_events(self, batch: Sequence[Piece], pieces: Pieces) -> bytes:
        """Return the events for pieces that arrived together. Raises `upstream_error` for pieces after relayed events:
        the items that were begun have ids and places of the provider's."""
        if self._relayed is not None:
            raise make_failure("upstream_error", "the stream of the provider cannot be passed on further")
        self._begin(pieces.model)
        for piece in batch:
            if type(piece) is ContentPiece:  # nearly every piece
                self._get_message().add_text(piece.text)
            else:
                self._encode_piece(piece)
        return self._events.take()

    def encode_error(self, error: LakehouseError) -> bytes:
        """Return the end of a stream that failed; a stream that has not begun begins with it."""
        if self._relayed is not None:
            self._events.number = self._relayed.next_number
            self._events.add("failed", response=self._relayed.build_failed(build_error(error)))
            return self._events.take()
        self._begin("")
        failed = self._template.build(
            "failed",
            model=self._model,
            output=self._output,
            error=build_error(error),
            attempts=msgspec.to_builtins(error.attempts),
        )
        self._events.add("failed", response=failed)
        return self._events.take()

    def _begin(self, model: str) -> None:
        self._model = model or self._model
        if self._begun:
            return
        self._begun = True
        for kind in ("created", "in_progress"):
            self._events.add(kind, response=self._template.build("in_progress", model=self._model))

    def _encode_piece(self, piece: Piece) -> None:
        match piece:
            case DetailedContentPiece(text=text, refusal=True):
                self._refused = True
                self._get_message().add_refusal(text)
            case DetailedContentPiece(text=text, logprobs=logprobs):
                self._get_message().add_text(text, items.read_logprobs(logprobs or {}))
            case ContentPiece(text=text):
                self._get_message().add_text(text)
            case ReasoningPiece(text=text):
                self._get_reasoning().add_text(text)
            case ReasoningDetailsPiece(entries=entries):
                self._output.append(self._get_reasoning().close(entries))
                self._open = None
            case SupplementPiece():
                self._encode_supplement(piece)
            case ToolCallPiece(tool_call=call):
                self._encode_call(call)
            case Done():
                self._encode_end(piece)

    def _get_message(self) -> OpenMessage:
        if not isinstance(self._open, OpenMessage):
            self._close_open()
            index = len(self._output)
            self._open = OpenMessage(self._events, self._template.make_id("message", index), index)
        return self._open

    def _get_reasoning(self) -> OpenReasoning:
        if not isinstance(self._open, OpenReasoning):
            self._close_open()
            index = len(self._output)
            self._open = OpenReasoning(self._events, self._template.make_id("reasoning", index), index)
        return self._open

    def _close_open(self, status: str = "completed") -> None:
        opened, self._open = self._open, None
        if opened is not None:
            self._output.append(opened.close() if isinstance(opened, OpenReasoning) else opened.close(status))

    def _encode_supplement(self, piece: SupplementPiece) -> None:
        """Encode citations and images. An image that is a remote URL becomes a link in the text."""
        if piece.logprobs:
            self._get_message().add_text("", items.read_logprobs(piece.logprobs))
        if piece.annotations:
            self._get_message().add_annotations(piece.annotations)
        for image in piece.images or ():
            if items.build_image("", image) is None:
                self._get_message().add_text(f"![image]({items.get_image_url(image)})")
                continue
            self._close_open()
            index = len(self._output)
            item = items.build_image(self._template.make_id("image_generation_call", index), image)
            assert item is not None  # noqa: S101 - for mypy
            self._events.add("output_item.added", output_index=index, item={**item, "status": "in_progress"})
            self._finish_item(item)

    def _encode_call(self, call: AnyToolCall) -> None:
        self._close_open()
        index, names = len(self._output), self._template.names
        kind = items.get_call_type(call, names)
        item = items.build_call(self._template.make_id(kind, index), call, names, "completed")
        field = "input" if kind == "custom_tool_call" else "arguments"
        added = {**item, "status": "in_progress", field: ""}
        place = {"item_id": item["id"], "output_index": index}
        self._events.add("output_item.added", output_index=index, item=added)
        event = "custom_tool_call_input" if kind == "custom_tool_call" else "function_call_arguments"
        self._events.add(f"{event}.delta", **place, delta=item[field])
        named = {} if kind == "custom_tool_call" else {"name": item["name"]}
        self._events.add(f"{event}.done", **place, **named, **{field: item[field]})
        self._finish_item(item)

    def _finish_item(self, item: JsonObject) -> None:
        self._events.add("output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)

    def _encode_end(self, done: Done) -> None:
        """Encode the end. Clients ask again after an incomplete response that a content filter ended, with the same
        outcome: it is a failure that stops them. A refusal by the model itself is a complete answer."""
        filtered = done.finish_reason == "content_filter"
        self._close_open("incomplete" if done.finish_reason == "length" else "completed")
        final = self._template.build_final(done, self._output)
        if filtered and not self._refused:
            error, usage = _make_filter_error(done), build_usage(done)
            final = self._template.build("failed", model=done.model, output=self._output, error=error, usage=usage)
        elif filtered:
            final = {**final, "status": "completed", "incomplete_details": None}
        self._events.add(final["status"], response=final)


def _make_filter_error(done: Done) -> JsonObject:
    message = f"{done.provider} ended the answer: its content filter withheld the rest"
    return {"code": STOPPING_CODE, "message": message}
