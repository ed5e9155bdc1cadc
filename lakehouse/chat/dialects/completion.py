"""A whole completion that is text and nothing else, as most are: read at once, with the shape that is documented.

Whatever does not have that shape to the letter is left to the reader that streams have too, which forgives. In fields
that nobody reads this one forgives more: a number there may be beyond all bounds.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lakehouse.chat.dialects.answer import BROKEN, FINISH_REASONS
from lakehouse.chat.dialects.base import MAX_ANSWER, Quirks
from lakehouse.chat.request import FinishReason, Reply, Usage

Count = Annotated[int, Meta(ge=0)]
NoText = Literal[""] | None
Nothing = Annotated[list[None], Meta(max_length=0)] | None


class _InputDetails(msgspec.Struct):
    cached_tokens: Count | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: Count | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    cached_tokens: Count | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    cost: Annotated[float, Meta(ge=0)] | None = None


class _Message(msgspec.Struct):
    """What is empty here may be said beside the content: then it takes the other reader to put the two together."""

    content: Annotated[str, Meta(min_length=1)]
    reasoning_content: NoText = None
    reasoning: NoText = None
    thinking: NoText = None
    reasoning_details: Nothing = None
    refusal: NoText = None
    tool_calls: Nothing = None
    function_call: None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None
    delta: None = None
    error: None = None
    usage: None = None


class _Completion(msgspec.Struct):
    choices: Annotated[list[_Choice], Meta(min_length=1)]
    usage: _Usage | None = None
    object: str | None = None
    type: None = None
    error: None = None
    cost: None = None


_decode = msgspec.json.Decoder(_Completion).decode
_UNCOUNTED = Usage()


def plain_text(body: bytes, quirks: Quirks) -> Reply | None:
    """The answer in `body`, or None if it is for the other reader."""
    if len(body) > MAX_ANSWER:
        return None
    try:
        completion = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    choice = completion.choices[0]
    content, reason = choice.message.content, choice.finish_reason or "stop"
    if completion.object == "error" or (quirks.inline_think != "never" and "think>" in content):
        return None
    ended: FinishReason = "stop"
    if reason != "stop":
        reason = reason.lower()
        if reason in BROKEN:
            return None
        ended = FINISH_REASONS.get(reason, "stop")
    return Reply(content=content, finish_reason=ended, usage=_usage(completion.usage))


def _usage(counted: _Usage | None) -> Usage:
    if counted is None:
        return _UNCOUNTED
    read, written = counted.prompt_tokens_details, counted.completion_tokens_details
    cached = None if read is None else read.cached_tokens
    return Usage(
        input_tokens=counted.prompt_tokens,
        output_tokens=counted.completion_tokens,
        cached_tokens=counted.cached_tokens if cached is None else cached,
        reasoning_tokens=None if written is None else written.reasoning_tokens,
        cost_usd=counted.cost,
    )
