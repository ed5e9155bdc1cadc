"""Newline-delimited JSON: one event a line."""

from __future__ import annotations

from collections.abc import Iterator

from lakehouse.chat.dialects.base import MAX_LINE
from lakehouse.chat.dialects.framing.lines import Event, LineSplitter


class NdjsonFraming:
    """Every line that is not blank is an event; so is the last one without its LF."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._lines = LineSplitter(limit)

    @property
    def idle(self) -> bool:
        """See `Framing`."""
        return self._lines.fresh

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that these bytes complete."""
        return (Event(line) for line in self._lines.feed(data) if line.strip())

    def end(self) -> Iterator[Event]:
        """What the stream ended with."""
        return self.feed(b"\n")
