"""Fast path for the text deltas of a streamed response, which most of its events are.

Skips: decoding of an event into a dict, and the inspection of its fields by `ResponseReader`. The events of one text
part differ in their number, their text and a padding only: the first one is read by the reader and becomes a pattern,
and of later events that match it only the text is decoded.

Equality with the reader: `test_text_event_fast_path.test_it_gives_the_same_deltas_as_the_reader` (a property over
texts, fields and cuts). Budget line: `streamed chat of 200 pieces` (`python -m tools.bench.budget`) has the same path.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from lakehouse.chat.dialects.base import MAX_LINE
from lakehouse.chat.dialects.decoding.text_pattern import STRING, Members, TextPattern

MAX_PATTERNS = 64
"""Patterns that are learned per stream: one for each part of the text."""

_NAME = b"event: response.output_text.delta\ndata: "
KIND = b'"response.output_text.delta"'

_PADDING = rb'"obfuscation":\s*"[^"\\\n]*"'
_MEMBERS = Members(
    {
        "number": (rb'"sequence_number":\s*\d+', rb'"sequence_number":\s*(?:0|[1-9]\d*)'),
        "text": (rb'"delta":\s*%b' % STRING, rb'"delta":\s*(%b)' % STRING),
        "padding": (_PADDING, _PADDING),
    }
)


class _Event(msgspec.Struct, gc=False):
    """An event that holds text only; its parts beside the text may have any value."""

    type: str
    delta: Annotated[str, Meta(min_length=1)]
    logprobs: Annotated[list[None], Meta(max_length=0)] | None = None
    error: None = None


_decode_event = msgspec.json.Decoder(_Event).decode


class TextEventFastPath:
    """Decodes the text of one stream's events, see `event_parser.FastPath`."""

    def __init__(self) -> None:
        self._patterns_left = MAX_PATTERNS
        self._pattern = TextPattern(_MEMBERS)

    def match_events(self, data: bytes) -> list[str] | None:
        """Return the texts of `data` if it is one or more whole events that match the pattern, else None."""
        if not self._pattern.is_learned or len(data) > MAX_LINE or not data.endswith(b"\n\n"):
            return None
        events = data[:-2].split(b"\n\n" + _NAME)
        if not events[0].startswith(_NAME):
            return None
        events[0] = events[0][len(_NAME) :]
        return self._pattern.match_all(events)

    @property
    def frame(self) -> tuple[bytes, bytes] | None:
        """The name of a text event; the end of its data may be a number that varies."""
        return (_NAME, b"") if self._pattern.is_learned else None

    def decode_text(self, data: bytes) -> str:
        """Return the text of an event that matches the pattern. Empty: the reader must read it; the pattern of a text
        event is learned."""
        text = self._pattern.match(data)
        if text is None and self._patterns_left and KIND in data[:MAX_LINE] and _is_text(data):
            self._patterns_left -= self._pattern.learn(data)
        return text or ""


def _is_text(data: bytes) -> bool:
    try:
        return _decode_event(data).type.encode() == KIND.strip(b'"')
    except (ValueError, RecursionError):
        return False
