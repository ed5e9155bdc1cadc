"""Fast path for the text deltas of a streamed message, which most of its events are.

Skips: decoding of an event into a dict, and the inspection of its fields by `MessagesReader`. The first delta of a text
block is read by the reader and becomes a template; of later events that have the same bytes around their text, only the
text is decoded.

Equality with the reader: `test_text_delta_fast_path.test_it_gives_the_same_deltas_as_the_reader` (a property over
texts, fields and cuts). Bench table: `Relayed and rebuilt chats` (`python -m tools.bench --only forms`).
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from lakehouse.chat.dialects.base import MAX_LINE
from lakehouse.chat.dialects.decoding.text_template import TextTemplate

MAX_TEMPLATES = 64
"""Templates that are learned per stream: one for each text block."""

KIND = b'"text_delta"'
NAME = b"event: content_block_delta\ndata: "

_TEXT = re.compile(rb'"text":\s*("(?:[^"\\]|\\.)*")')


class _TextDelta(msgspec.Struct, gc=False):
    type: Literal["text_delta"]
    text: str


class _Event(msgspec.Struct, gc=False):
    type: Literal["content_block_delta"]
    delta: _TextDelta
    error: None = None
    object: Literal[""] | None = None


_decode_event = msgspec.json.Decoder(_Event).decode


class TextDeltaFastPath:
    """Decodes the text of one stream's deltas, see `event_parser.FastPath`."""

    def __init__(self) -> None:
        self._templates_left = MAX_TEMPLATES
        self._template = TextTemplate(NAME, _TEXT, _decode_text)

    def match_events(self, data: bytes) -> list[str] | None:
        """Return the texts of `data` if it is one or more whole events that match the template, else None."""
        return self._template.match_events(data)

    @property
    def frame(self) -> tuple[bytes, bytes] | None:
        """The bytes of the template before and after the text."""
        return self._template.frame

    def decode_text(self, data: bytes) -> str:
        """Return the text of a delta; empty for any other event. Its bytes become the template."""
        if KIND not in data or len(data) > MAX_LINE:
            return ""
        text = _decode_text(data)
        if text and self._templates_left:
            self._templates_left -= self._template.learn(data, text)
        return text


def _decode_text(data: bytes) -> str:
    """Return the text of a delta, empty for any other event."""
    try:
        return _decode_event(data).delta.text
    except (ValueError, RecursionError):
        return ""
