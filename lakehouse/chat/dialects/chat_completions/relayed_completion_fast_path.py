"""Fast path for whole completions that are relayed and hold text only.

Skips: the second decode of a body, by which `checks.is_well_formed` finds whether clients can read it.

Equality with reader and check: `test_relayed_answers.test_it_reads_the_answers_of_reader_and_check` (a property over
documents and quirks). Bench table: `Relayed and rebuilt chats` (`python -m tools.bench --only forms`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lakehouse.chat.dialects.chat_completions.completion_fast_path import (
    TextOnlyAnswer,
    TextOnlyAnswerChoice,
    TextOnlyCompletion,
    TextOnlyUsage,
    decode_text_only,
)
from lakehouse.chat.dialects.decoding.usage import Count
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.answer import ProviderAnswer

_Empty = Literal[""] | None


class _Usage(TextOnlyUsage, kw_only=True):
    total_tokens: int
    prompt_tokens: Count
    completion_tokens: Count


class _Message(TextOnlyAnswer, kw_only=True):
    role: Literal["assistant"]
    refusal: _Empty = None
    reasoning: _Empty = None
    thinking: _Empty = None
    tool_calls: None = None


class _Choice(TextOnlyAnswerChoice, kw_only=True):
    index: Literal[0]
    message: _Message
    finish_reason: Literal["stop", "length", "content_filter"]


class _Completion(TextOnlyCompletion, kw_only=True):
    id: Annotated[str, Meta(min_length=1)]
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: Annotated[Sequence[_Choice], Meta(min_length=1, max_length=1)]
    usage: _Usage | None = None


_decode_struct = msgspec.json.Decoder(_Completion).decode


def decode_relayed_text(body: bytes, quirks: Quirks) -> ProviderAnswer | None:
    """Return the answer in `body` if it holds text only and is well-formed; None: reader and check must read it."""
    return decode_text_only(body, quirks, _decode_struct)
