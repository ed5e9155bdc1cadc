"""Items of a streamed response while they are open: reasoning, and messages with their parts."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

from lakehouse.chat.api.open_responses import items
from lakehouse.chat.api.open_responses.events import DeltaTemplate, EventLog, TextTemplate
from lakehouse.chat.dialects.lenient_json import JsonObject


class OpenReasoning:
    """Reasoning that is being streamed, as a summary of one part."""

    def __init__(self, events: EventLog, id: str, index: int) -> None:  # noqa: A002
        self._events = events
        self._id = id
        self._index = index
        self._text = StringIO()
        self._template: DeltaTemplate | None = None
        item = items.build_reasoning(id, "", (), "in_progress")
        events.add("output_item.added", output_index=index, item=item)

    def add_text(self, text: str) -> None:
        """Add text."""
        if self._template is None:
            self._template = DeltaTemplate("reasoning_summary_text.delta", **self._place)
            self._events.add("reasoning_summary_part.added", **self._place, part={"type": "summary_text", "text": ""})
        self._text.write(text)
        self._events.add_from_template(self._template, text)

    def close(self, details: Sequence[JsonObject] = ()) -> JsonObject:
        """End the item, with the details of a provider that signs its reasoning; returns the whole item."""
        text = self._text.getvalue()
        if self._template is not None:
            self._events.add("reasoning_summary_text.done", **self._place, text=text)
            self._events.add("reasoning_summary_part.done", **self._place, part={"type": "summary_text", "text": text})
        item = items.build_reasoning(self._id, text, details, "completed")
        self._events.add("output_item.done", output_index=self._index, item=item)
        return item

    @property
    def _place(self) -> JsonObject:
        return {"item_id": self._id, "output_index": self._index, "summary_index": 0}


class OpenMessage:
    """A message that is being streamed. A text and a refusal are parts of their own."""

    def __init__(self, events: EventLog, id: str, index: int) -> None:  # noqa: A002
        self._events = events
        self._id = id
        self._index = index
        self._parts: list[JsonObject] = []
        self._open: _OpenText | _OpenRefusal | None = None
        self._length = 0  # characters of all parts that are closed
        item = items.build_message(id, (), "in_progress")
        events.add("output_item.added", output_index=index, item=item)

    def add_text(self, text: str, logprobs: Sequence[JsonObject] = ()) -> None:
        """Add text, with the probabilities of its tokens if there are any."""
        self._get_text().add(text, logprobs)

    def add_annotations(self, annotations: Sequence[JsonObject]) -> None:
        """Add citations to the text."""
        part = self._get_text()
        for annotation in annotations:
            part.annotate(items.flatten_annotation(annotation, self._length))

    def add_refusal(self, text: str) -> None:
        """Add text of a refusal."""
        if not isinstance(self._open, _OpenRefusal):
            self._close_part()
            self._open = _OpenRefusal(self._events, self._get_place())
        self._open.add(text)

    def close(self, status: str) -> JsonObject:
        """End the item; returns the whole item."""
        self._close_part()
        item = items.build_message(self._id, self._parts, status)
        self._events.add("output_item.done", output_index=self._index, item=item)
        return item

    def _get_text(self) -> _OpenText:
        if not isinstance(self._open, _OpenText):
            self._close_part()
            self._open = _OpenText(self._events, self._get_place())
        return self._open

    def _close_part(self) -> None:
        if self._open is not None:
            part = self._open.close()
            self._length += len(part.get("text") or part.get("refusal") or "")
            self._parts.append(part)
        self._open = None

    def _get_place(self) -> JsonObject:
        return {"item_id": self._id, "output_index": self._index, "content_index": len(self._parts)}


class _OpenText:
    """A text part."""

    def __init__(self, events: EventLog, place: JsonObject) -> None:
        self._events = events
        self._place = place
        self._template = TextTemplate(**place)
        self._text = StringIO()
        self._logprobs: list[JsonObject] = []
        self._annotations: list[JsonObject] = []
        events.add("content_part.added", **place, part=items.build_text_part())

    def add(self, text: str, logprobs: Sequence[JsonObject]) -> None:
        self._text.write(text)
        if not logprobs:
            self._events.add_from_template(self._template, text)
            return
        self._logprobs += logprobs
        self._events.add("output_text.delta", **self._place, delta=text, logprobs=logprobs)

    def annotate(self, annotation: JsonObject) -> None:
        number = len(self._annotations)
        self._annotations.append(annotation)
        added = {"annotation_index": number, "annotation": annotation}
        self._events.add("output_text.annotation.added", **self._place, **added)

    def close(self) -> JsonObject:
        part = items.build_text_part(self._text.getvalue(), self._annotations, self._logprobs)
        self._events.add("output_text.done", **self._place, text=part["text"], logprobs=part["logprobs"])
        self._events.add("content_part.done", **self._place, part=part)
        return part


class _OpenRefusal:
    """A refusal part."""

    def __init__(self, events: EventLog, place: JsonObject) -> None:
        self._events = events
        self._place = place
        self._template = DeltaTemplate("refusal.delta", **place)
        self._text = StringIO()
        events.add("content_part.added", **place, part=items.build_refusal_part())

    def add(self, text: str) -> None:
        self._text.write(text)
        self._events.add_from_template(self._template, text)

    def close(self) -> JsonObject:
        part = items.build_refusal_part(self._text.getvalue())
        self._events.add("refusal.done", **self._place, refusal=part["refusal"])
        self._events.add("content_part.done", **self._place, part=part)
        return part
