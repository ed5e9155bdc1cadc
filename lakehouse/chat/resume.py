"""Going on with another route's answer after a stream broke, without the client noticing.

The next route is asked the whole question again. What it says is held back as long as it is what the client already
has; it goes on from there only if it said exactly that.
"""

from __future__ import annotations

from collections.abc import Iterable

from lakehouse.chat.request import ContentPiece, Delta, ReasoningPiece, ToolCallPiece


class Handed:
    """What the client of a stream has so far. Its size has the bound of an answer (`dialects.base.MAX_ANSWER`)."""

    def __init__(self) -> None:
        self._texts: dict[type[Delta], list[str]] = {ContentPiece: [], ReasoningPiece: []}
        self.calls = 0

    def add(self, deltas: Iterable[Delta]) -> None:
        """These have been handed over."""
        for delta in deltas:
            if isinstance(delta, ToolCallPiece):
                self.calls += 1
            else:
                self._texts[type(delta)].append(delta.text)

    def repetition(self) -> Repetition | None:
        """What has to be repeated; None if that is beyond proof: another route names its tool calls differently."""
        if self.calls:
            return None
        return Repetition(*("".join(self._texts[kind]) for kind in (ContentPiece, ReasoningPiece)))


class Differs(Exception):
    """The other answer is not the one that the client has."""


class Repetition:
    """The part of a new answer that the client already has, text and reasoning each for itself."""

    def __init__(self, content: str, reasoning: str) -> None:
        self._left: dict[type[Delta], str] = {ContentPiece: content, ReasoningPiece: reasoning}

    @property
    def pending(self) -> bool:
        """Whether something has not been repeated yet."""
        return any(self._left.values())

    def pass_on(self, deltas: Iterable[Delta]) -> list[Delta]:
        """What is new in these. Raises Differs as soon as the answer is another one."""
        return [new for delta in deltas for new in self._new(delta)]

    def _new(self, delta: Delta) -> list[Delta]:
        if isinstance(delta, ToolCallPiece):
            text, repeated = "", 0
        else:
            text, left = delta.text, self._left[type(delta)]
            repeated = min(len(text), len(left))
            if text[:repeated] != left[:repeated]:
                raise Differs
            self._left[type(delta)] = left[repeated:]
            if repeated == len(text):
                return []
        if self.pending:
            raise Differs  # it goes on here, and has not said what the client was told elsewhere
        return [delta] if isinstance(delta, ToolCallPiece) else [type(delta)(text[repeated:])]
