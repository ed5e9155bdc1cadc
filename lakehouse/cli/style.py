"""Colour on a terminal, plain text elsewhere; https://no-color.org is respected."""

from __future__ import annotations

import os
from typing import TextIO

BOLD, DIM, GREEN, RED, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[0m"


# Control characters, except newline and tab, become visible symbols: a model must not control the terminal.
_VISIBLE = {code: 0x2400 + code if code < 0x20 else 0xFFFD for code in (*range(0x20), *range(0x7F, 0xA0))}
del _VISIBLE[ord("\n")], _VISIBLE[ord("\t")]


def escape_control_chars(text: str, stream: TextIO) -> str:
    """Untrusted text: without control sequences if `stream` is a terminal, unchanged if not."""
    return text.translate(_VISIBLE) if stream.isatty() else text


class Style:
    """Formats text for one stream: with colours on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.colour = stream.isatty() and "NO_COLOR" not in os.environ

    def title(self, text: str) -> str:
        """A heading."""
        return self._in(BOLD, text)

    def dim(self, text: str) -> str:
        """Less important text."""
        return self._in(DIM, text)

    def mark(self, good: bool) -> str:
        """A plus or minus sign, so that they differ without colour."""
        return self._in(GREEN, "+") if good else self._in(RED, "-")

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{PLAIN}" if self.colour else text
