"""Where log lines go: a bounded buffer, written by a thread in whole lines, so that a slow reader slows nobody down.

One write for each request costs several microseconds on a pipe, and a pipe whose reader has stopped would stop the
whole worker. So lines are gathered for a moment and written together. What does not fit is dropped, counted, and said
in the next line that does.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import trio

FLUSH_INTERVAL = 0.05
"""Seconds that a line may wait for company: unnoticeable to a reader, and at 10,000 lines/s one write for 500."""

MAX_LINES = 20_000
"""Lines kept for a reader that is slow: two seconds of a busy worker, about 8 MB."""

CHUNK = 4096
"""Bytes of one write. Up to PIPE_BUF a write to a pipe is atomic: lines of several workers never mix."""

CLOSE_TIMEOUT = 1.0
"""Seconds that the end of the service waits for a reader to take the last lines."""


class Writer(Protocol):
    """What a sink writes to; `structlog.BytesLogger` is one."""

    def msg(self, message: bytes) -> None:
        """Write the message and a newline."""


class Sink:
    """Takes lines at any time, from any thread; without `run` it writes each at once.

    `sources` are called before lines are gathered: each may `write` what it had announced by `wake`.
    """

    def __init__(self, writer: Writer, *, report: Callable[[int], bytes], max_lines: int = MAX_LINES) -> None:
        self._writer = writer
        self._report = report
        self._max_lines = max_lines
        self._lines: deque[bytes] = deque()
        self._token: trio.lowlevel.TrioToken | None = None
        self._some = trio.Event()
        self._writing = threading.Lock()  # a thread that was abandoned at a stuck write must not be overtaken
        self._unreported = 0
        self.dropped = 0
        self.sources: set[Callable[[], None]] = set()

    def write(self, line: bytes) -> None:
        """Take a line from the thread that `run` runs in, or from a program that has none."""
        if self._token is None:
            self._write_now([line])
        elif len(self._lines) < self._max_lines:
            self._lines.append(line)
            if len(self._lines) == 1:
                self._some.set()
        else:
            self._drop(1)

    def wake(self) -> None:
        """Say that a source has something. Nobody needs to know while it does not run."""
        self._some.set()

    def write_from_thread(self, line: bytes) -> None:
        """Take a line from whatever thread it comes from."""
        token = self._token
        if token is not None:
            try:
                token.run_sync_soon(self.write, line)
                return
            except trio.RunFinishedError:
                pass
        self._write_now([line])

    async def run(self) -> None:
        """Write what comes until cancelled; then what is left, waiting `CLOSE_TIMEOUT` seconds for it at most."""
        self._token = trio.lowlevel.current_trio_token()
        try:
            while True:
                await self._some.wait()
                await trio.sleep(FLUSH_INTERVAL)
                self._some = trio.Event()
                await self._flush()
        finally:
            for source in tuple(self.sources):
                source()
            self._token = None
            # Bounded, because whoever reads the log may be stuck for good.
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await self._flush()

    async def _flush(self) -> None:
        for source in tuple(self.sources):
            source()
        lines = list(self._lines)
        self._lines.clear()
        if self._unreported:
            lines.append(self._report(self._unreported))
            self._unreported = 0
        if lines:
            # Abandoned on cancellation: a write to a stuck pipe cannot be taken back, its thread ends with the process.
            try:
                await trio.to_thread.run_sync(self._write_now, lines, abandon_on_cancel=True)
            except RuntimeError:  # no thread can be started: too many processes, and the service must go on
                self._drop(len(lines))

    def _write_now(self, lines: list[bytes]) -> None:
        if not self._writing.acquire(timeout=CLOSE_TIMEOUT):
            self._drop(len(lines))
            return
        try:
            for chunk, count in chunks(lines):
                try:
                    self._writer.msg(chunk)
                except (OSError, ValueError):  # nobody reads any more; ValueError: the file is closed
                    self._drop(count)
        finally:
            self._writing.release()

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._unreported += count


def chunks(lines: list[bytes], size: int = CHUNK) -> Iterator[tuple[bytes, int]]:
    """The lines joined into writes of at most `size` bytes, a longer line alone, each with how many lines it has."""
    batch: list[bytes] = []
    length = 0
    for line in lines:
        if batch and length + len(line) + 1 > size:
            yield b"\n".join(batch), len(batch)
            batch, length = [], 0
        batch.append(line)
        length += len(line) + 1
    if batch:
        yield b"\n".join(batch), len(batch)
