"""Colour on a terminal, plain text elsewhere; https://no-color.org is respected."""

from __future__ import annotations

import os
from typing import TextIO

BOLD, DIM, GREEN, RED, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[0m"


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
