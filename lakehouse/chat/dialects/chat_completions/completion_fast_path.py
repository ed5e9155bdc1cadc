"""Fast path for whole completions that hold text only, which most completions do.

Skips: decoding of the body into a dict, the inspection of its fields by `CompletionReader` and the `AnswerBuilder`. A
body that does not have the documented shape exactly is left to the reader, which is lenient. In fields that neither of
them reads, this path is the more lenient one: a number there may have any size.

Equality with the reader: `test_completion_fast_path.test_it_gives_the_same_answer_as_the_reader` (a
property over documents and quirks). Budget line: `whole chat` (`python -m tools.bench.budget`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta

from lakehouse.chat.dialects.base import MAX_ANSWER
from lakehouse.chat.dialects.chat_completions.text_only_fields import (
    TextOnlyChoice,
    TextOnlyDocument,
    TextOnlyMessage,
)
from lakehouse.chat.dialects.decoding.answer_builder import FAILURE_REASONS, FINISH_REASONS
from lakehouse.chat.dialects.decoding.usage import Count, Details, select_details
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.answer import FinishReason, ProviderAnswer, Supplements
from lakehouse.chat.model.usage import Usage


class TextOnlyUsage(msgspec.Struct):
    """Counts, and the cost."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    cached_tokens: Count | None = None
    prompt_cache_hit_tokens: Count | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    cost: Annotated[float, Meta(ge=0)] | None = None


class TextOnlyAnswer(TextOnlyMessage, kw_only=True):
    """The message of a completion."""

    content: Annotated[str, Meta(min_length=1)]


class TextOnlyAnswerChoice(TextOnlyChoice, kw_only=True):
    """The first choice."""

    message: TextOnlyAnswer
    finish_reason: str | None = None
    delta: None = None


class TextOnlyCompletion(TextOnlyDocument, kw_only=True):
    """A completion."""

    choices: Annotated[Sequence[TextOnlyAnswerChoice], Meta(min_length=1)]
    usage: TextOnlyUsage | None = None
    object: str | None = None
    type: None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None


_decode_struct = msgspec.json.Decoder(TextOnlyCompletion).decode
_NO_USAGE = Usage()


def decode_text_only(
    body: bytes, quirks: Quirks, decode_struct: Callable[[bytes], TextOnlyCompletion] = _decode_struct
) -> ProviderAnswer | None:
    """Return the answer in `body` if it holds text only; None: the full reader must read it. `decode_struct` may accept
    fewer completions."""
    if len(body) > MAX_ANSWER:
        return None
    try:
        completion = decode_struct(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    choice = completion.choices[0]
    content, reason = choice.message.content, choice.finish_reason or "stop"
    if completion.object == "error" or (quirks.inline_think != "never" and "think>" in content):
        return None
    finish_reason: FinishReason = "stop"
    if reason != "stop":
        reason = reason.lower()
        if reason in FAILURE_REASONS:
            return None
        finish_reason = FINISH_REASONS.get(reason, "stop")
    tier, fingerprint = completion.service_tier, completion.system_fingerprint
    usage = _convert_usage(completion.usage)
    if not tier and not fingerprint:
        return ProviderAnswer(content=content, finish_reason=finish_reason, usage=usage)
    supplements = Supplements(service_tier=tier or UNSET, system_fingerprint=fingerprint or UNSET)
    return ProviderAnswer(content=content, finish_reason=finish_reason, usage=usage, supplements=supplements)


def _convert_usage(counts: TextOnlyUsage | None) -> Usage:
    if counts is None:
        return _NO_USAGE
    input_details, output_details = counts.prompt_tokens_details or {}, counts.completion_tokens_details or {}
    cached = input_details.get("cached_tokens")
    if cached is None:
        cached = counts.prompt_cache_hit_tokens if counts.cached_tokens is None else counts.cached_tokens
    return Usage(
        input_tokens=counts.prompt_tokens,
        output_tokens=counts.completion_tokens,
        cached_tokens=cached,
        reasoning_tokens=output_details.get("reasoning_tokens"),
        cost_usd=counts.cost,
        input_details=select_details(input_details),
        output_details=select_details(output_details),
    )
