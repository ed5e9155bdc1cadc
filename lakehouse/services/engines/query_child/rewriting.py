"""Changes of a statement's text, and where a position in the changed text is in the original one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Edit(NamedTuple):
    """Replace the bytes from `start` to `stop` by `text`."""

    start: int
    stop: int
    text: bytes


class Rewritten:
    """A statement with some edits. The engine counts positions in bytes, an error of ours in characters."""

    def __init__(self, original: str, edits: Sequence[Edit] = (), *, prefix: str = "", suffix: str = "") -> None:
        """The edits must not overlap. `prefix` and `suffix` are put around the edited text."""
        self._original = original.encode()
        self._edits = sorted(edits)
        self._prefix = prefix.encode()
        self._suffix = suffix.encode()
        self._body = self._apply()

    @property
    def text(self) -> str:
        """The whole text."""
        return (self._prefix + self._body + self._suffix).decode()

    def wrap(self, prefix: str, suffix: str) -> Rewritten:
        """The same edits within another text."""
        return Rewritten(self._original.decode(), self._edits, prefix=prefix, suffix=suffix)

    def position_of(self, offset: int) -> int | None:
        """The position in the original, in characters, of a byte of the whole text; None outside of it."""
        offset -= len(self._prefix)
        if not 0 <= offset <= len(self._body):
            return None
        for start, stop, text in self._edits:
            if offset < start:
                break
            if offset < start + len(text):
                offset = start
                break
            offset += (stop - start) - len(text)
        return len(self._original[:offset].decode(errors="ignore"))

    def _apply(self) -> bytes:
        parts, at = [], 0
        for start, stop, text in self._edits:
            parts += [self._original[at:start], text]
            at = stop
        return b"".join([*parts, self._original[at:]])
