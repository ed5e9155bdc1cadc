"""The standard error of a child: written to the log of the parent; the last lines are kept for error messages."""

from __future__ import annotations

import logging
import re
from collections import deque

import trio

LINES_KEPT = 40  # enough to find the cause of an exit
LINE_LIMIT = 500  # bytes of each line; the rest of a longer line is dropped


class LogTail:
    """Logs the lines of a pipe and keeps the last `LINES_KEPT`."""

    def __init__(self, logger: logging.Logger, name: str) -> None:
        self._logger = logger
        self._name = name
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self.ended = trio.Event()
        """Set at the end of the pipe, when the last process with a descriptor of it has ended."""

    async def follow(self, pipe: trio.abc.ReceiveStream) -> None:
        """Read the pipe until its end, then set `ended`."""
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
        """The kept lines, the oldest first."""
        return tuple(self._lines)

    def find_cause(self, pattern: str = "") -> str:
        """Return the group `cause` of the first line that matches the pattern: the first one is the most specific.

        Without a match, the last line that is not empty, or an empty string.
        """
        found = (re.search(pattern, line) for line in self._lines) if pattern else ()
        if (first := next(filter(None, found), None)) is not None:
            return str(first["cause"])
        return next((line for line in reversed(self._lines) if line.strip()), "")

    def _add(self, line: bytes) -> None:
        self._lines.append(line[:LINE_LIMIT].decode(errors="replace"))
        self._logger.debug("%s: %s", self._name, self._lines[-1])
