"""Server-sent events.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream, with two differences: lines end
at LF or CRLF only, and data that the end of the stream leaves without a blank line is an event. Servers do end streams
so, and the content of the events decides whether the answer is complete.
"""

from __future__ import annotations

from collections.abc import Iterator

from lakehouse.chat.dialects.base import MAX_LINE
from lakehouse.chat.dialects.framing.lines import Event, LineSplitter, LineTooLong


class SseFraming:
    """Joins the `data:` lines of an event with LF and keeps its `event:` name; ignores comments, `id:` and `retry:`."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._lines = LineSplitter(limit)
        self._data: list[bytes] = []
        self._size = 0
        self._name = b""

    @property
    def at_event_start(self) -> bool:
        """True if the next byte begins an event."""
        return self._lines.at_line_start and not self._data and not self._name

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that these bytes complete."""
        for line in self._lines.feed(data):
            if line:
                self._add_field(line)
            elif (self._data or self._name) and (event := self._take()):
                yield event

    def end(self) -> Iterator[Event]:
        """Yield the event without its blank line at the end of the stream."""
        return self.feed(b"\n\n")

    def _add_field(self, line: bytes) -> None:
        field, _, value = line.partition(b":")  # the field of a comment is empty
        value = value.removeprefix(b" ")
        if field == b"data":
            self._size += len(value) + 1
            if self._size > self._limit + 1:
                raise LineTooLong
            self._data.append(value)
        elif field == b"event":
            self._name = value

    def _take(self) -> Event | None:
        event = Event(b"\n".join(self._data), self._name)
        self._data, self._size, self._name = [], 0, b""
        return event if event.data.strip() else None
