"""A whole completion that is text and nothing else, as most are: read at once, with the shape that is documented.

Whatever does not have that shape to the letter is left to the reader that streams have too, which forgives. In fields
that nobody reads this one forgives more: a number there may be beyond all bounds.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta

from lakehouse.chat.dialects.answer import BROKEN, FINISH_REASONS
from lakehouse.chat.dialects.base import MAX_ANSWER, Quirks
from lakehouse.chat.dialects.lenient_json import MAX_COUNT
from lakehouse.chat.dialects.text_only_fields import ChoiceBeside, DocumentBeside, MessageBeside
from lakehouse.chat.dialects.usage import OWN_FIELDS
from lakehouse.chat.model.answer import FinishReason, ProviderAnswer, Supplements
from lakehouse.chat.model.usage import Usage

Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Details = dict[str, Count | None]


class _Usage(msgspec.Struct):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    cached_tokens: Count | None = None
    prompt_cache_hit_tokens: Count | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    cost: Annotated[float, Meta(ge=0)] | None = None


class _Message(MessageBeside, kw_only=True):
    """What is empty beside the content may be said in other answers: then it takes the other reader to put the two
    together."""

    content: Annotated[str, Meta(min_length=1)]


class _Choice(ChoiceBeside, kw_only=True):
    message: _Message
    finish_reason: str | None = None
    delta: None = None


class _Completion(DocumentBeside, kw_only=True):
    choices: Annotated[list[_Choice], Meta(min_length=1)]
    usage: _Usage | None = None
    object: str | None = None
    type: None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None


_decode = msgspec.json.Decoder(_Completion).decode
_UNCOUNTED = Usage()


def decode_text_only(body: bytes, quirks: Quirks) -> ProviderAnswer | None:
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
    tier, fingerprint = completion.service_tier, completion.system_fingerprint
    if not tier and not fingerprint:
        return ProviderAnswer(content=content, finish_reason=ended, usage=_usage(completion.usage))
    facts = Supplements(service_tier=tier or UNSET, system_fingerprint=fingerprint or UNSET)
    return ProviderAnswer(content=content, finish_reason=ended, usage=_usage(completion.usage), supplements=facts)


def _usage(counted: _Usage | None) -> Usage:
    if counted is None:
        return _UNCOUNTED
    read, written = counted.prompt_tokens_details or {}, counted.completion_tokens_details or {}
    cached = read.get("cached_tokens")
    if cached is None:
        cached = counted.prompt_cache_hit_tokens if counted.cached_tokens is None else counted.cached_tokens
    return Usage(
        input_tokens=counted.prompt_tokens,
        output_tokens=counted.completion_tokens,
        cached_tokens=cached,
        reasoning_tokens=written.get("reasoning_tokens"),
        cost_usd=counted.cost,
        input_details=_others(read),
        output_details=_others(written),
    )


def _others(given: Details) -> dict[str, int] | None:
    if not given:
        return None
    others = {name: tokens for name, tokens in given.items() if tokens is not None and name not in OWN_FIELDS}
    return others or None
