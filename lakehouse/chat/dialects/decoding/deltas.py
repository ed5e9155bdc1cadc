"""Conversion of a whole answer to the deltas of a stream."""

from __future__ import annotations

from msgspec import UNSET

from lakehouse.chat.dialects.decoding.reasoning import is_signed
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import (
    ContentPiece,
    Delta,
    DetailedContentPiece,
    ReasoningDetailsPiece,
    ReasoningPiece,
    SupplementPiece,
    ToolCallPiece,
)


def build_deltas(answer: ProviderAnswer) -> list[Delta]:
    """Return the deltas with which a stream would have delivered `answer`."""
    supplements = {name: getattr(answer.supplements, name) for name in ("annotations", "images", "audio")}
    return [
        *([ReasoningPiece(answer.reasoning)] if answer.reasoning else []),
        *_build_details(answer),
        *build_text_deltas(answer),
        *map(ToolCallPiece, answer.tool_calls),
        *([SupplementPiece(**supplements)] if any(value is not UNSET for value in supplements.values()) else []),
    ]


def _build_details(answer: ProviderAnswer) -> list[Delta]:
    entries = answer.reasoning_details
    signed = [place for place, entry in enumerate(entries, 1) if is_signed(entry)]
    return [ReasoningDetailsPiece(entries[: signed[-1]])] if signed else []


def build_text_deltas(answer: ProviderAnswer) -> list[Delta]:
    """Return the deltas of an answer's text, its refusal, and the probabilities of their tokens."""
    logprobs, refusal = answer.supplements.logprobs, answer.supplements.refusal or ""
    text = answer.content.removesuffix(refusal)
    deltas: list[Delta] = [ContentPiece(text)] if text else []
    if refusal:
        deltas.append(DetailedContentPiece(refusal, refusal=True))
    if logprobs is UNSET:
        return deltas
    if text and not refusal:
        return [DetailedContentPiece(text, logprobs=logprobs)]
    return [*deltas, SupplementPiece(logprobs=logprobs)]


def is_text_delta(delta: Delta) -> bool:
    """Return whether a delta is text, or the probabilities of its tokens."""
    return isinstance(delta, ContentPiece) or (isinstance(delta, SupplementPiece) and delta.logprobs is not UNSET)
