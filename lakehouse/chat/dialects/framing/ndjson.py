"""Newline-delimited JSON: one event per line."""

from __future__ import annotations

from collections.abc import Iterator

from lakehouse.chat.dialects.base import MAX_LINE
from lakehouse.chat.dialects.framing.lines import Event, LineSplitter


class NdjsonFraming:
    """Every line that is not blank is an event, the last one also without its LF."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._lines = LineSplitter(limit)

    @property
    def at_event_start(self) -> bool:
        """True if the next byte begins an event."""
        return self._lines.at_line_start

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that these bytes complete."""
        return (Event(line) for line in self._lines.feed(data) if line.strip())

    def end(self) -> Iterator[Event]:
        """Yield the event without its LF at the end of the stream."""
        return self.feed(b"\n")
