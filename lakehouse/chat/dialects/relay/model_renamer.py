"""Replaces the model's name in a relayed answer: the name that the provider wrote by the one that it was asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from lakehouse.chat.dialects.relay.json_members import ESCAPED_LETTER
from lakehouse.chat.dialects.relay.model_strings import find_models, replace_model, replace_spans

_DATA_LINE = re.compile(rb"^data:", re.MULTILINE)

NAME_END = b'model"'
"""Is in every object that has a member `model`, unless a letter is escaped."""


class ModelRenamer:
    """Renames the model in one answer. `places` are the names of the objects that have it in events; empty for the
    document itself.

    Most events of a stream begin with the same bytes up to the end of the name. These are found once for each beginning
    and then compared, instead of reading every event.
    """

    def __init__(self, places: Sequence[str], model: str) -> None:
        self._places = places
        self._value = msgspec.json.encode(model)
        self._prefix = self._renamed = b""  # the beginning of the last event with a name, and what replaces it

    def rename_body(self, body: bytes) -> bytes:
        """Return a whole answer, which has a name, with the name replaced."""
        return replace_model(body, self._value)

    def rename_line(self, line: bytes) -> bytes:
        """Return a line of a stream, a JSON document, with the name replaced."""
        return self._rename(line, 0)

    def rename_event(self, event: bytes) -> bytes:
        """Return one server-sent event, as its lines with the blank one, with the name replaced."""
        return self._rename(event, None)

    def _rename(self, event: bytes, start: int | None) -> bytes:
        """Return `event` with the name replaced in its JSON, from `start` on; None: behind the first `data:`."""
        if not _may_have_name(event):
            return event
        if self._prefix and event.startswith(self._prefix) and not _may_have_name(event[len(self._prefix) :]):
            return self._renamed + event[len(self._prefix) :]
        if start is None:
            data = _DATA_LINE.search(event)
            if data is None:
                return event
            start = data.end()
        spans = sorted(span for place in self._places for span in find_models(event, place, start=start))
        if len(spans) == 1:
            self._prefix = event[: spans[0][1]]
            self._renamed = event[: spans[0][0]] + self._value
        return replace_spans(event, spans, self._value)

    def rename_equal_events(self, events: bytes, end: bytes) -> bytes | None:
        """Return events, each of which has `end` at its end only, with the name replaced; None unless all of them begin
        with the bytes that are known."""
        if NAME_END not in events and ESCAPED_LETTER not in events:
            return events
        prefix = self._prefix
        if not prefix or not events.startswith(prefix) or ESCAPED_LETTER in events:
            return None
        count = events.count(end)
        if events.count(end + prefix) != count - 1 or events.count(NAME_END) != count * prefix.count(NAME_END):
            return None
        if prefix == self._renamed:
            return events
        return self._renamed + events[len(prefix) :].replace(end + prefix, end + self._renamed)


def _may_have_name(data: bytes) -> bool:
    return NAME_END in data or ESCAPED_LETTER in data
