"""The part of a stream that was relayed, from which its failure continues."""

from __future__ import annotations

import re
from typing import NamedTuple

from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, decode_json

_NUMBER = re.compile(rb'"sequence_number"\s*:\s*(\d+)')
_BLANK_LINE = re.compile(rb"\n\r?\n")
_DATA = re.compile(rb"^data:(.*)$", re.MULTILINE)

ITEM_DONE = b'"response.output_item.done"'


class RelayedEvents:
    """What is needed of relayed events to end their stream: the response of the first, the items that were done, and
    the number of the last."""

    def __init__(self) -> None:
        self._first = b""
        self._done: list[bytes] = []
        self._last = b""

    def add(self, events: bytes) -> None:
        """Add whole events."""
        self._first = self._first or _BLANK_LINE.split(events, 1)[0]
        if ITEM_DONE in events:
            self._done += [event for event in _BLANK_LINE.split(events) if ITEM_DONE in event]
        place = events.rfind(b'"sequence_number"')
        if place >= 0:
            self._last = events[place : place + 64]

    @property
    def next_number(self) -> int:
        """The number of the next event."""
        found = _NUMBER.match(self._last)
        return int(found[1]) + 1 if found else 0

    def build_failed(self, error: JsonObject) -> JsonObject:
        """Return the response object of the failure: that of the provider, with what is known of it."""
        response = as_object(_decode(self._first).get("response"))
        output = [as_object(_decode(event).get("item")) for event in self._done]
        return {**response, "status": "failed", "output": output, "error": error}


class RelayedEnd(NamedTuple):
    """The last event of a relayed stream: what is before it, its number, and its response."""

    before: bytes
    number: int
    response: JsonObject


def find_filtered_end(events: bytes) -> RelayedEnd | None:
    """Return the end of whole events of which the last is `response.incomplete` because of a content filter; None if
    it is another."""
    if b'"content_filter"' not in events:  # nearly every stream
        return None
    ends = [found.end() for found in _BLANK_LINE.finditer(events.rstrip())]
    start = ends[-1] if ends else 0
    document = _decode(events[start:])
    response = as_object(document.get("response"))
    reason = as_object(response.get("incomplete_details")).get("reason")
    if document.get("type") != "response.incomplete" or reason != "content_filter":
        return None
    number = document.get("sequence_number")
    return RelayedEnd(events[:start], number if isinstance(number, int) else 0, response)


def _decode(event: bytes) -> JsonObject:
    """Return the data of an event; an object without members if it cannot be read."""
    try:
        return as_object(decode_json(b"\n".join(_DATA.findall(event))))
    except ValueError:
        return {}
