"""Colour on a terminal, plain text elsewhere; https://no-color.org is respected."""

from __future__ import annotations

import os
from typing import TextIO

BOLD, DIM, GREEN, RED, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[0m"


# Control characters but for newline and tab, each shown as one that does nothing: no model may speak to a terminal.
_VISIBLE = {code: 0x2400 + code if code < 0x20 else 0xFFFD for code in (*range(0x20), *range(0x7F, 0xA0))}
del _VISIBLE[ord("\n")], _VISIBLE[ord("\t")]


def escape_control_chars(text: str, stream: TextIO) -> str:
    """Text of a stranger's: on a terminal without what a terminal would obey, elsewhere as it is."""
    return text.translate(_VISIBLE) if stream.isatty() else text


class Style:
    """How words look on one stream."""

    def __init__(self, stream: TextIO) -> None:
        self.colour = stream.isatty() and "NO_COLOR" not in os.environ

    def title(self, text: str) -> str:
        """A heading."""
        return self._in(BOLD, text)

    def dim(self, text: str) -> str:
        """What matters less."""
        return self._in(DIM, text)

    def mark(self, good: bool) -> str:
        """A sign that needs no colour to be understood."""
        return self._in(GREEN, "+") if good else self._in(RED, "-")

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{PLAIN}" if self.colour else text
