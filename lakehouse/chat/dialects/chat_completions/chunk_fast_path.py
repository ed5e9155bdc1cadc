"""The chunks that nearly all of a stream consists of: those that say nothing but some more text.

Of a chunk the fields are decoded that `CompletionReader` looks at, and no others. If any but the text says something,
or has another type than usual, the chunk is the reader's to read.

Where the chunks of a stream are alike but for their text, even that is more than is needed: what is around the text is
compared with what was around it before, and only the text is decoded.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from lakehouse.chat.dialects.base import MAX_LINE
from lakehouse.chat.dialects.text_only_fields import ChoiceBeside, DocumentBeside, Empty, MessageBeside

MAX_TEMPLATES = 8
"""How often what is around the text is learned. There are streams in which it is different in each chunk (OpenAI's
`obfuscation`), and some begin with other chunks than they go on with."""

_CONTENT = re.compile(rb'"content":\s*("(?:[^"\\]|\\.)*")')
_PROBE = "\u2318"


class _Delta(MessageBeside, gc=False, kw_only=True):
    content: str | None = None


class _Choice(ChoiceBeside, gc=False, kw_only=True):
    delta: _Delta
    finish_reason: Literal[""] | None = None


class _Chunk(DocumentBeside, gc=False, kw_only=True):
    choices: list[_Choice]
    type: Any = None
    object: Any = None
    usage: Empty = None
    service_tier: str | None = None
    system_fingerprint: str | None = None


_decode = msgspec.json.Decoder(_Chunk).decode
_string = msgspec.json.Decoder(str).decode


class ChunkFastPath:
    """A look at the chunks of one stream of server-sent events. Where it sees nothing, they are to be read."""

    def __init__(self) -> None:
        self._lessons = MAX_TEMPLATES
        self._tier = self._fingerprint = False  # whether the reader was given them
        self._before = self._after = self._between = b""
        self._around = -1  # bytes of the first two, once there is something to compare with

    def match_events(self, data: bytes) -> list[str] | None:
        """The texts of these bytes, if they are whole events like the one that was learned from."""
        middle = data.removeprefix(self._before).removesuffix(self._after)
        if len(data) - len(middle) != self._around or len(data) > MAX_LINE:
            return None
        found = middle.split(self._between)
        if middle.count(b"\n") != 2 * (len(found) - 1):  # two are in what is between
            return None  # no string of JSON has a line break within, but one beside it ends the line of the event
        try:
            return list(map(_string, found))
        except ValueError:
            return None

    def text(self, data: bytes) -> str:
        """The text of a chunk that says nothing else; empty for any other."""
        chunk = _look(data)
        text = "" if chunk is None else chunk.choices[0].delta.content
        if not text or chunk is None:
            return ""
        if (chunk.service_tier or chunk.system_fingerprint) and self._new(chunk):
            return ""
        if self._lessons:
            self._lessons -= 1
            self._learn_template(data, text)
        return text

    def _new(self, chunk: _Chunk) -> bool:
        """Whether the chunk carries a fact about the answer that the reader does not have: it keeps the first of
        each."""
        tier, fingerprint = bool(chunk.service_tier), bool(chunk.system_fingerprint)
        if tier <= self._tier and fingerprint <= self._fingerprint:
            return False
        self._tier, self._fingerprint = self._tier or tier, self._fingerprint or fingerprint
        return True

    def _learn_template(self, data: bytes, text: str) -> None:
        """Where the text is in the chunk is found out by putting another into its place."""
        found = _CONTENT.search(data)
        if found is None or b"\n" in data or b"\r" in data or text == _PROBE:
            return
        before, after = data[: found.start(1)], data[found.end(1) :]
        if text_alone(before + msgspec.json.encode(_PROBE) + after) == _PROBE:
            self._before, self._after = b"data: " + before, after + b"\n\n"
            self._between = self._after + self._before
            self._around = len(self._between)


def text_alone(data: bytes) -> str:
    """The text of a chunk that says nothing else; empty for any other."""
    chunk = _look(data)
    return "" if chunk is None else chunk.choices[0].delta.content or ""


def _look(data: bytes) -> _Chunk | None:
    """A chunk that says nothing but text, and what it says about itself."""
    try:
        chunk = _decode(data)
    except (ValueError, RecursionError):
        return None
    return None if len(chunk.choices) != 1 or "error" in (chunk.object, chunk.type) else chunk
