"""What an ask answers: passages, citations and claims, and the documents that carry them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from lakehouse.chat.model.answer import Answer, AnswerFacts, FinishReason
from lakehouse.core.errors import Attempt


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A text that the model is given under the number `n`: an item of a corpus, or a row of a table.

    `id` is the item's id, or the row's key. `text` is what the model is given. `distance`, `score` and `metadata` are
    those of the item; the metadata of a row says where it is.
    """

    n: int
    corpus: str | UnsetType = UNSET
    table: str | UnsetType = UNSET
    id: str
    text: str
    distance: float | UnsetType = UNSET
    score: float | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence of the answer, as it stands there, and the numbers of the passages that it cites.

    A claim without citations is one that no passage is said to support.
    """

    text: str
    citations: tuple[int, ...]


class AskFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a whole answer and the end of a stream share.

    `citations` are the passages that the answer cites. The fields from `model` on are those of a chat's answer;
    `latency_ms` is the time of the whole ask.
    """

    citations: Sequence[Passage] = ()
    claims: Sequence[Claim] = ()
    passages: Sequence[Passage] = ()
    warnings: Sequence[str] = ()
    model: str | None = None
    provider: str | None = None
    finish_reason: FinishReason | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    latency_ms: float
    attempts: Sequence[Attempt] = ()


class AskAnswer(AskFacts, frozen=True):
    """The whole answer to an ask. `answer` is None, and no model was asked, if no passage was found."""

    answer: str | None  # positional, as is `reasoning`: such fields come first in the JSON object
    reasoning: str = ""


class AskDone(AskFacts, frozen=True, tag_field="type", tag="done"):
    """The last event of a streamed answer. `answer` is given, as null, only if no passage was found."""

    answer: UnsetType | None = UNSET


FACTS = (
    "model",
    "provider",
    "finish_reason",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost_usd",
    "attempts",
)
"""The fields that a chat's answer and an ask's have in common."""


def facts_of(answer: Answer | AnswerFacts) -> dict[str, Any]:
    """The fields of a chat's answer that an ask's answer repeats."""
    return {name: getattr(answer, name) for name in FACTS}
