"""Fast path for the lines of a stream that hold text only, which most lines do.

Skips: decoding of a line into a dict, and the inspection of its fields by `OllamaReader`. Lines of a stream differ in
their time and their text only: the first one of text is read by the reader and becomes a pattern, and of later lines
that match it only the text is decoded.

Equality with the reader: `test_text_line_fast_path.test_it_gives_the_same_deltas_as_the_reader` (a property over texts,
fields and cuts). Bench table: `Relayed and rebuilt chats` (`python -m tools.bench --only forms`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lakehouse.chat.dialects.base import MAX_LINE
from lakehouse.chat.dialects.decoding.text_pattern import STRING, Members, TextPattern

MAX_PATTERNS = 8
"""Patterns that are learned per stream."""

_TIME = rb'"created_at":\s*"[^"\\\n]*"'
_MEMBERS = Members(
    {
        "time": (_TIME, _TIME),
        "text": (rb'"content":\s*%b' % STRING, rb'"content":\s*(%b)' % STRING),
    }
)


class _Message(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    content: Annotated[str, Meta(min_length=1)]
    role: str = ""


class _TextLine(msgspec.Struct, gc=False):
    """A line that holds text only; its other fields may have any value."""

    message: _Message
    done: Literal[False]
    logprobs: None = None
    error: None = None
    type: None = None
    object: None = None


_decode_line = msgspec.json.Decoder(_TextLine).decode


class TextLineFastPath:
    """Decodes the text of one stream's lines, see `event_parser.FastPath`."""

    def __init__(self) -> None:
        self._patterns_left = MAX_PATTERNS
        self._pattern = TextPattern(_MEMBERS)

    def match_events(self, data: bytes) -> list[str] | None:
        """Return the texts of `data` if it is one or more whole lines that match the pattern, else None."""
        if not self._pattern.is_learned or len(data) > MAX_LINE or not data.endswith(b"\n"):
            return None
        return self._pattern.match_all(data[:-1].split(b"\n"))

    @property
    def frame(self) -> tuple[bytes, bytes] | None:
        """The bytes of the pattern before the first and behind the last of the members that vary."""
        return (self._pattern.head, self._pattern.tail + b"\n") if self._pattern.is_learned else None

    def decode_text(self, data: bytes) -> str:
        """Return the text of a line that matches the pattern. Empty: the reader must read it; the pattern of a line of
        text is learned."""
        text = self._pattern.match(data)
        if text is None and self._patterns_left and len(data) <= MAX_LINE and _is_text(data):
            self._patterns_left -= self._pattern.learn(data)
        return text or ""


def _is_text(data: bytes) -> bool:
    try:
        _decode_line(data)
    except (ValueError, RecursionError):
        return False
    return b"\r" not in data
