"""Separates a leading `<think>…</think>` block from the text of an answer."""

from __future__ import annotations

from enum import Enum, auto
from typing import Literal, NamedTuple

OPEN, CLOSE = "<think>", "</think>"

Kind = Literal["content", "reasoning"]


class Split(NamedTuple):
    """A piece of the text and its kind."""

    kind: Kind
    text: str


class _State(Enum):
    """Position in the text.

    state            input                                          next state
    START            `<think>` after white space                    OPENED
    START            `</think>`, if the opening tag may be missing  OPENED, from the beginning of the text
    START            text that cannot become a tag                  ANSWER
    OPENED           first character that is no line break          THINKING
    THINKING         `</think>`                                     CLOSED
    CLOSED           first character that is no white space         ANSWER
    any              `flush`                                        ANSWER
    """

    START = auto()
    OPENED = auto()
    THINKING = auto()
    CLOSED = auto()
    ANSWER = auto()


class ThinkSplitter:
    """Splits text that arrives in pieces.

    Tags may be cut anywhere. Without a closing tag all text is reasoning. A missing opening tag can be detected only by
    the closing one, so with `unopened` text is held back until the closing tag or the end; without it, only text that
    could be the beginning of a tag is held back.
    """

    def __init__(self, *, unopened: bool = False) -> None:
        self._unopened = unopened
        self._held = ""
        self._state = _State.START

    @property
    def held_size(self) -> int:
        """Characters that are held back."""
        return len(self._held)

    def feed(self, text: str) -> list[Split]:
        """Return the pieces that this text completes."""
        if self._state is _State.ANSWER:
            return [Split("content", text)] if text else []
        self._held += text
        splits: list[Split] = []
        if self._state is _State.START:
            splits += self._match_opening(len(text))
        if self._state is _State.OPENED:
            self._skip_line_breaks()
        if self._state is _State.THINKING:
            splits += self._match_closing()
        if self._state is _State.CLOSED:
            splits += self._skip_white_space()
        return splits

    def flush(self) -> list[Split]:
        """Return the text that was held back, at the end of the answer."""
        kind: Kind = "reasoning" if self._state in (_State.OPENED, _State.THINKING) else "content"
        rest, self._held, self._state = self._held, "", _State.ANSWER
        return [Split(kind, rest)] if rest else []

    def _match_opening(self, added: int) -> list[Split]:
        leading = self._held.lstrip()
        if leading.startswith(OPEN):
            self._held, self._state = leading[len(OPEN) :], _State.OPENED
        elif OPEN.startswith(leading):
            pass  # it may become the tag
        elif not self._unopened:
            return self._start_answer()
        elif self._held.find(CLOSE, max(0, len(self._held) - added - len(CLOSE))) >= 0:
            self._state = _State.OPENED
        return []

    def _skip_line_breaks(self) -> None:
        self._held = self._held.lstrip("\n")
        if self._held:
            self._state = _State.THINKING

    def _match_closing(self) -> list[Split]:
        thought, close, rest = self._held.partition(CLOSE)
        if close:
            self._held, self._state = rest, _State.CLOSED
            return [Split("reasoning", thought)] if thought else []
        certain = len(self._held) - _overlap(self._held, CLOSE)
        thought, self._held = self._held[:certain], self._held[certain:]
        return [Split("reasoning", thought)] if thought else []

    def _skip_white_space(self) -> list[Split]:
        self._held = self._held.lstrip()  # blank lines between the block and the answer belong to neither
        return self._start_answer() if self._held else []

    def _start_answer(self) -> list[Split]:
        text, self._held, self._state = self._held, "", _State.ANSWER
        return [Split("content", text)] if text else []


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of `text` may be the beginning of `tag`."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:size])), 0)
