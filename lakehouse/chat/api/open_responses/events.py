"""The events of one stream: numbered, and named as their data says."""

from __future__ import annotations

from typing import Any

import msgspec

from lakehouse.asgi.sse import escape_line_ends

_encode = msgspec.json.Encoder().encode


class EventLog:
    """Numbers the events of one stream, and keeps them until they are taken. `number` is that of the next event."""

    def __init__(self) -> None:
        self.number = 0
        self._events: list[bytes] = []

    def add(self, kind: str, **fields: Any) -> None:  # noqa: ANN401 - the fields of the event
        """Add an event of the type `response.{kind}`."""
        name = f"response.{kind}"
        document = _encode({"type": name, "sequence_number": self.number, **fields})
        self.number += 1
        self._events.append(b"event: %b\ndata: %b\n\n" % (name.encode(), escape_line_ends(document)))

    def add_from_template(self, template: DeltaTemplate, text: str) -> None:
        """Add an event that differs from others of its kind only in its number and its text."""
        data = _encode(text)
        self._events.append(
            template.start
            + b"%d" % self.number
            + template.middle
            + (data if text.isascii() else escape_line_ends(data))
            + template.end
        )
        self.number += 1

    def take(self) -> bytes:
        """Return the events that were added since the last call."""
        taken = b"".join(self._events)
        self._events.clear()
        return taken


class DeltaTemplate:
    """The bytes around number and text of the text deltas of one part, nearly all events of a stream."""

    def __init__(self, kind: str, **fields: Any) -> None:  # noqa: ANN401 - the fields of the event
        name = f"response.{kind}"
        rest = _encode({**fields, "delta": ""}).removesuffix(b'""}').removeprefix(b"{")
        self.start = b'event: %b\ndata: {"type":"%b","sequence_number":' % (name.encode(), name.encode())
        self.middle = b"," + rest
        self.end = b"}\n\n"


class TextTemplate(DeltaTemplate):
    """The template of `output_text.delta`, which has a list of probabilities behind its text."""

    def __init__(self, **fields: Any) -> None:  # noqa: ANN401 - the fields of the event
        super().__init__("output_text.delta", **fields)
        self.end = b',"logprobs":[]}\n\n'
