"""Recognises the documents of a stream that differ in a few members alone, one of which is the text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

STRING = rb'"[^"\\\n]*(?:\\.[^"\\\n]*)*"'
"""Matches a JSON string."""

_decode_string = msgspec.json.Decoder(str).decode


class Members:
    """The members that vary, by name: what matches one in a document to learn, and what may stand in its place.

    There must be one of the name `text`; what stands in its place has a group around the string.
    """

    def __init__(self, members: Mapping[str, tuple[bytes, bytes]]) -> None:
        self.places = {name: place for name, (_, place) in members.items()}
        self.varying = re.compile(b"|".join(b"(?P<%b>%b)" % (name.encode(), m) for name, (m, _) in members.items()))


class TextPattern:
    """The bytes of a document, with places for the members that vary. Without them (the beginning) nothing matches."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._pattern: re.Pattern[bytes] | None = None
        self.head = self.tail = b""
        """How a document begins and ends, before the first and behind the last of the members."""

    @property
    def is_learned(self) -> bool:
        """Whether there is a pattern."""
        return self._pattern is not None

    def match(self, document: bytes) -> str | None:
        """Return the text of a document, None if it does not match; empty if it does, and its text is no string."""
        found = None if self._pattern is None else self._pattern.fullmatch(document)
        if found is None:
            return None
        try:
            return _decode_string(found[1])
        except ValueError:
            return ""

    def match_all(self, documents: Sequence[bytes]) -> list[str] | None:
        """Return the texts of documents if each of them matches and has a string, else None."""
        if self._pattern is None:
            return None
        found = list(map(self._pattern.fullmatch, documents))
        try:
            return [_decode_string(document[1]) for document in found if document is not None] if all(found) else None
        except ValueError:
            return None

    def learn(self, document: bytes) -> bool:
        """Take a document as the pattern. Returns whether that can be: one text, no member twice, and one line."""
        found = list(self._members.varying.finditer(document))
        names = [match.lastgroup for match in found]
        if names.count("text") != 1 or len(set(names)) < len(names) or b"\n" in document:
            return False
        pattern, end = list[bytes](), 0
        for match in found:
            pattern += [re.escape(document[end : match.start()]), self._members.places[match.lastgroup or "text"]]
            end = match.end()
        self._pattern = re.compile(b"".join([*pattern, re.escape(document[end:])]), re.DOTALL)
        self.head, self.tail = document[: found[0].start()], document[end:]
        return True
