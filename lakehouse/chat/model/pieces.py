"""The pieces of a streamed answer."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from lakehouse.chat.model.answer import AnswerFacts
from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.model.tool_calls import AnyToolCall


class ContentPiece(msgspec.Struct, frozen=True, tag_field="type", tag="content"):
    """The next text of the answer."""

    text: str


class DetailedContentPiece(ContentPiece, frozen=True, tag_field="type", tag="content"):
    """Text with the log probabilities of its tokens, or text of a refusal."""

    logprobs: JsonObject | UnsetType = UNSET
    refusal: bool | UnsetType = UNSET


class SupplementPiece(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="supplement"):
    """Optional fields of the answer (`Supplements`). `audio` holds the next part of the audio."""

    annotations: tuple[JsonObject, ...] | UnsetType = UNSET
    images: tuple[JsonObject, ...] | UnsetType = UNSET
    audio: JsonObject | UnsetType = UNSET
    logprobs: JsonObject | UnsetType = UNSET


class ReasoningPiece(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning"):
    """The next text of the reasoning."""

    text: str


class ReasoningDetailsPiece(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning_details"):
    """Signed or encrypted reasoning, complete, after the pieces of its text and before what follows it.

    `entries` are those of `reasoning_details` in `Done`, in the order of the stream. Unsigned entries come with the
    signed one that follows them, or not at all: their text has come as `ReasoningPiece`. The native form and chat
    completions send no event for this piece, because `Done` has all entries.
    """

    entries: tuple[JsonObject, ...]


class ToolCallPiece(msgspec.Struct, frozen=True, tag_field="type", tag="tool_call"):
    """A complete tool call."""

    tool_call: AnyToolCall


class Done(AnswerFacts, frozen=True, kw_only=True, tag_field="type", tag="done"):
    """The last piece of a complete stream: the facts of the answer, without what was already streamed."""


class RelayedPiece(msgspec.Struct, frozen=True, tag_field="type", tag="relayed"):
    """Whole events of a stream in the client's own form, as the provider sent them. Only a request with a `RawRequest`
    is answered so."""

    data: bytes


VisibleDelta = ContentPiece | ReasoningPiece | ToolCallPiece | SupplementPiece
"""The deltas for which the native form and chat completions have events."""

Delta = VisibleDelta | ReasoningDetailsPiece | RelayedPiece
"""What a dialect's stream parser yields."""

Piece = Delta | Done
"""What a caller of `stream` receives: deltas, then exactly one `Done`. A failure is raised instead."""
