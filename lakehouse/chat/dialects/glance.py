"""The chunks that nearly all of a stream consists of: those that say nothing but some more text.

Of a chunk the fields are decoded that `CompletionReader` looks at, and no others. If any but the text says something,
or has another type than usual, the chunk is the reader's to read.
"""

from __future__ import annotations

from typing import Any

import msgspec


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
