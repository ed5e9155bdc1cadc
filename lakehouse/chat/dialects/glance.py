"""The chunks that nearly all of a stream consists of: those that say nothing but some more text.

Of a chunk the fields are decoded that `CompletionReader` looks at, and no others. If any but the text says something,
or has another type than usual, the chunk is the reader's to read.

Where the chunks of a stream are alike but for their text, even that is more than is needed: what is around the text is
compared with what was around it before, and only the text is decoded.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from lakehouse.chat.dialects.base import MAX_LINE

LESSONS = 8
"""How often what is around the text is learned. There are streams in which it is different in each chunk (OpenAI's
`obfuscation`), and some begin with other chunks than they go on with."""

_CONTENT = re.compile(rb'"content":\s*("(?:[^"\\]|\\.)*")')
_PROBE = "\u2318"


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    thinking: Any = None
    reasoning_details: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta
    error: Any = None
    finish_reason: Any = None
    usage: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice]
    error: Any = None
    type: Any = None
    object: Any = None
    usage: Any = None
    cost: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode
_string = msgspec.json.Decoder(str).decode


class Glance:
    """A look at the chunks of one stream of server-sent events. Where it sees nothing, they are to be read."""

    def __init__(self) -> None:
        self._lessons = LESSONS
        self._before = self._after = self._between = b""
        self._around = -1  # bytes of the first two, once there is something to compare with

    def texts(self, data: bytes) -> list[str] | None:
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
        text = text_alone(data)
        if text and self._lessons:
            self._lessons -= 1
            self._learn(data, text)
        return text

    def _learn(self, data: bytes, text: str) -> None:
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
    try:
        chunk = _decode(data)
    except (ValueError, RecursionError):
        return ""
    if (
        len(chunk.choices) != 1
        or chunk.usage
        or chunk.error
        or chunk.cost is not None
        or chunk.object == "error"
        or chunk.type == "error"
    ):
        return ""
    choice = chunk.choices[0]
    delta = choice.delta
    if (
        choice.finish_reason
        or choice.usage
        or choice.error
        or delta.reasoning_content
        or delta.reasoning
        or delta.thinking
        or delta.reasoning_details
        or delta.refusal
        or delta.tool_calls
        or delta.function_call
    ):
        return ""
    return delta.content or ""
