"""Continuing a broken stream with the answer of another route (`[chatd.policy] on_cut = "resume"`).

The next route gets the whole request again. Its answer is held back while it repeats what the client already has, and
is continued from there. If it differs, the stream fails.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.model.pieces import (
    ContentPiece,
    Delta,
    ReasoningDetailsPiece,
    ReasoningPiece,
    RelayedPiece,
    SupplementPiece,
    ToolCallPiece,
)


class DeliveredText:
    """What the client of a stream has received so far, at most `dialects.base.MAX_ANSWER` bytes."""

    def __init__(self) -> None:
        self._texts: dict[type[ContentPiece | ReasoningPiece], list[str]] = {ContentPiece: [], ReasoningPiece: []}
        self._annotations: list[JsonObject] = []
        self._signed = False  # signed reasoning has been delivered
        self._incomparable = False  # tool calls, images and audio differ from route to route

    def add(self, deltas: Iterable[Delta]) -> None:
        """Add what has been delivered."""
        for delta in deltas:
            if isinstance(delta, (ContentPiece, ReasoningPiece)):
                self._texts[_kind(delta)].append(delta.text)
            elif isinstance(delta, ReasoningDetailsPiece):
                self._signed = True
            elif isinstance(delta, ToolCallPiece | RelayedPiece) or delta.images or delta.audio:
                self._incomparable = True
            else:
                self._annotations += delta.annotations or ()

    def prefix_matcher(self) -> PrefixMatcher | None:
        """A matcher for the delivered text. None if another answer cannot be compared with what was delivered."""
        if self._incomparable:
            return None
        content, reasoning = ("".join(self._texts[kind]) for kind in (ContentPiece, ReasoningPiece))
        return PrefixMatcher(content, reasoning, self._annotations, signed=self._signed)


class PrefixMismatch(Exception):
    """The new answer does not begin with the delivered one."""


class PrefixMatcher:
    """Removes the text that the client already has from a new answer. Content and reasoning are matched separately."""

    def __init__(
        self, content: str, reasoning: str, annotations: Iterable[JsonObject] = (), *, signed: bool = False
    ) -> None:
        self._annotations = list(annotations)
        self._signed = signed
        self._left: dict[type[ContentPiece | ReasoningPiece], str] = {ContentPiece: content, ReasoningPiece: reasoning}

    @property
    def pending(self) -> bool:
        """Whether the new answer has not repeated all of the delivered text yet."""
        return any(self._left.values())

    def remove_delivered(self, deltas: Iterable[Delta]) -> list[Delta]:
        """The deltas without what was delivered. Raises PrefixMismatch as soon as the answers differ."""
        return [new for delta in deltas for new in self._new(delta)]

    def _new(self, delta: Delta) -> list[Delta]:
        if isinstance(delta, (ContentPiece, ReasoningPiece)):
            return self._new_text(delta)
        if isinstance(delta, ReasoningDetailsPiece):
            # The signature of reasoning that the client has from the other route belongs to that route's text.
            return [] if self._signed or self.pending else [delta]
        if self.pending:
            if isinstance(delta, SupplementPiece) and not delta.images and not delta.audio:
                return []  # about text that the client has
            raise PrefixMismatch  # the new answer continues here without having repeated the delivered text
        if isinstance(delta, SupplementPiece) and delta.annotations:
            new = tuple(found for found in delta.annotations if found not in self._annotations)
            return [msgspec.structs.replace(delta, annotations=new)] if new else []
        return [delta]

    def _new_text(self, delta: ContentPiece | ReasoningPiece) -> list[Delta]:
        kind, text = _kind(delta), delta.text
        left = self._left[kind]
        repeated = min(len(text), len(left))
        if text[:repeated] != left[:repeated]:
            raise PrefixMismatch
        self._left[kind] = left[repeated:]
        if repeated == len(text):
            return []
        if self.pending:
            raise PrefixMismatch
        return [kind(text[repeated:])] if repeated else [delta]


def _kind(delta: ContentPiece | ReasoningPiece) -> type[ContentPiece | ReasoningPiece]:
    return ContentPiece if isinstance(delta, ContentPiece) else ReasoningPiece
