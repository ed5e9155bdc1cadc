"""The last lines that a child wrote to standard error: into the parent's log, and kept for error messages."""

from __future__ import annotations

import logging
import re
from collections import deque

import trio

LINES_KEPT = 40  # enough to say why a child ended
LINE_LIMIT = 500  # bytes of each; the rest of a longer one is dropped


class LogTail:
    """Reads a pipe until its end."""

    def __init__(self, logger: logging.Logger, name: str) -> None:
        self._logger = logger
        self._name = name
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self.ended = trio.Event()
        """Set when the pipe has ended, which is when the last process that holds it has."""

    async def follow(self, pipe: trio.abc.ReceiveStream) -> None:
        """Read until the end of file."""
        line = b""
        async for received in pipe:
            *whole, line = (line + received).split(b"\n")
            for text in whole:
                self._add(text)
            line = line[:LINE_LIMIT]
        if line:
            self._add(line)
        self.ended.set()

    @property
    def lines(self) -> tuple[str, ...]:
        """What is kept, the oldest first."""
        return tuple(self._lines)

    def find_cause(self, pattern: str = "") -> str:
        """What the group `find_cause` of the pattern has in the first line that fits it, which is the most exact one.

        Else the last line that is not empty, or an empty string.
        """
        found = (re.search(pattern, line) for line in self._lines) if pattern else ()
        if (first := next(filter(None, found), None)) is not None:
            return str(first["cause"])
        return next((line for line in reversed(self._lines) if line.strip()), "")

    def _add(self, line: bytes) -> None:
        self._lines.append(line[:LINE_LIMIT].decode(errors="replace"))
        self._logger.debug("%s: %s", self._name, self._lines[-1])
