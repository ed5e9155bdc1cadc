"""Going on with another route's answer after a stream broke, without the client noticing.

The next route is asked the whole question again. What it says is held back as long as it is what the client already
has; it goes on from there only if it said exactly that.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.model.pieces import ContentPiece, Delta, ReasoningPiece, SupplementPiece, ToolCallPiece


class DeliveredText:
    """What the client of a stream has so far. Its size has the bound of an answer (`dialects.base.MAX_ANSWER`)."""

    def __init__(self) -> None:
        self._texts: dict[type[ContentPiece | ReasoningPiece], list[str]] = {ContentPiece: [], ReasoningPiece: []}
        self._annotations: list[JsonObject] = []
        self.calls = 0  # of tools, and images and sounds, which cannot be compared

    def add(self, deltas: Iterable[Delta]) -> None:
        """These have been handed over."""
        for delta in deltas:
            if isinstance(delta, (ContentPiece, ReasoningPiece)):
                self._texts[_kind(delta)].append(delta.text)
            elif isinstance(delta, ToolCallPiece) or delta.images or delta.audio:
                self.calls += 1
            else:
                self._annotations += delta.annotations or ()

    def repetition(self) -> PrefixMatcher | None:
        """What has to be repeated; None if that is beyond proof: another route names its tool calls differently."""
        if self.calls:
            return None
        content, reasoning = ("".join(self._texts[kind]) for kind in (ContentPiece, ReasoningPiece))
        return PrefixMatcher(content, reasoning, self._annotations)


class PrefixMismatch(Exception):
    """The other answer is not the one that the client has."""


class PrefixMatcher:
    """The part of a new answer that the client already has, text and reasoning each for itself."""

    def __init__(self, content: str, reasoning: str, annotations: Iterable[JsonObject] = ()) -> None:
        self._annotations = list(annotations)
        self._left: dict[type[ContentPiece | ReasoningPiece], str] = {ContentPiece: content, ReasoningPiece: reasoning}

    @property
    def pending(self) -> bool:
        """Whether something has not been repeated yet."""
        return any(self._left.values())

    def pass_on(self, deltas: Iterable[Delta]) -> list[Delta]:
        """What is new in these. Raises Differs as soon as the answer is another one."""
        return [new for delta in deltas for new in self._new(delta)]

    def _new(self, delta: Delta) -> list[Delta]:
        if isinstance(delta, (ContentPiece, ReasoningPiece)):
            return self._new_text(delta)
        if self.pending:
            if isinstance(delta, SupplementPiece) and not delta.images and not delta.audio:
                return []  # it is about the text that the client has
            raise PrefixMismatch  # it goes on here, and has not said what the client was told elsewhere
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
