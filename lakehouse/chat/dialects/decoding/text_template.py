"""Recognises the events of a stream that differ in their text alone, by the bytes around it."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from lakehouse.chat.dialects.base import MAX_LINE

_PROBE = "\u2318"
_PROBE_STRING = msgspec.json.encode(_PROBE)

_decode_string = msgspec.json.Decoder(str).decode


class TextTemplate:
    """The bytes before and after the text of an event. Without them (the beginning) no event matches.

    `name`: what stands before the data of an event. `text_member`: finds the text in the data, the string as its group.
    `decode_text`: returns the text of the data; empty for those of another event.
    """

    def __init__(self, name: bytes, text_member: re.Pattern[bytes], decode_text: Callable[[bytes], str]) -> None:
        self._name = name
        self._text_member = text_member
        self._decode_text = decode_text
        self._before = self._after = self._between = b""
        self._size = -1  # bytes of `_before` and `_after`; -1: there is no template yet

    def learn(self, data: bytes, text: str) -> bool:
        """Take the bytes around the text of an event as the template, if replacing the text by another replaces what is
        decoded. Returns whether it does."""
        found = self._text_member.search(data)
        if found is None or b"\n" in data or b"\r" in data or text == _PROBE:
            return False
        before, after = data[: found.start(1)], data[found.end(1) :]
        if self._decode_text(before + _PROBE_STRING + after) != _PROBE:
            return False
        self._before, self._after = self._name + before, after + b"\n\n"
        self._between = self._after + self._before
        self._size = len(self._between)
        return True

    def match_events(self, data: bytes) -> list[str] | None:
        """Return the texts of `data` if it is one or more whole events that match the template, else None."""
        middle = data.removeprefix(self._before).removesuffix(self._after)
        if len(data) - len(middle) != self._size or len(data) > MAX_LINE:
            return None
        texts = middle.split(self._between)
        if middle.count(b"\n") != self._between.count(b"\n") * (len(texts) - 1):
            return None  # JSON strings contain no line break, and one outside a string ends the line of the event
        try:
            return list(map(_decode_string, texts))
        except ValueError:
            return None

    @property
    def frame(self) -> tuple[bytes, bytes] | None:
        """The bytes before and after the text; None without a template."""
        return None if self._size < 0 else (self._before, self._after)
