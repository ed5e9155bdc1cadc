"""A bounded buffer of log lines, which a thread writes in whole lines, so that a slow reader does not slow requests.

One write for each request costs several microseconds on a pipe, and a pipe whose reader has stopped would block the
whole worker. Lines are therefore collected for a moment and written together. Lines that do not fit are dropped and
counted, and the next line that is written reports their number.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import trio

FLUSH_INTERVAL = 0.05
"""Seconds for which lines are collected before a write: at 10,000 lines/s one write has 500 lines."""

MAX_LINES = 20_000
"""Lines that are buffered for a slow reader: two seconds of a busy worker, about 8 MB."""

CHUNK_SIZE = 4096
"""Bytes of one write. Up to PIPE_BUF a write to a pipe is atomic: lines of several workers never mix."""

LAST_FLUSH_TIMEOUT = 1.0
"""Seconds that the end of the service waits for the last lines to be written."""


class Writer(Protocol):
    """The destination of a sink; `structlog.BytesLogger` is one."""

    def msg(self, message: bytes) -> None:
        """Write the message and a newline."""


class LogSink:
    """Buffers lines and writes them. While `run` is not running, each line is written at once.

    `sources` are called before the buffer is written: each may `write` the lines that it announced with `wake`.
    """

    def __init__(self, writer: Writer, *, report: Callable[[int], bytes], max_lines: int = MAX_LINES) -> None:
        self._writer = writer
        self._report = report
        self._max_lines = max_lines
        self._lines: deque[bytes] = deque()
        self._token: trio.lowlevel.TrioToken | None = None
        self._pending = trio.Event()
        self._writing = threading.Lock()  # an abandoned thread may still be writing
        self._unreported = 0
        self.dropped = 0
        self.sources: set[Callable[[], None]] = set()

    def write(self, line: bytes) -> None:
        """Add a line, from the thread in which `run` runs, or from any thread while it does not run."""
        if self._token is None:
            self._write_now([line])
        elif len(self._lines) < self._max_lines:
            self._lines.append(line)
            if len(self._lines) == 1:
                self._pending.set()
        else:
            self._drop(1)

    def wake(self) -> None:
        """Announce that a source has lines. Without effect while `run` is not running."""
        self._pending.set()

    def write_from_thread(self, line: bytes) -> None:
        """Add a line from any thread."""
        token = self._token
        if token is not None:
            try:
                token.run_sync_soon(self.write, line)
                return
            except trio.RunFinishedError:
                pass
        self._write_now([line])

    async def run(self) -> None:
        """Write lines until cancelled, and then those that are left, for at most `LAST_FLUSH_TIMEOUT` seconds."""
        self._token = trio.lowlevel.current_trio_token()
        try:
            while True:
                await self._pending.wait()
                await trio.sleep(FLUSH_INTERVAL)
                self._pending = trio.Event()
                await self._flush(self._take_lines())
        finally:
            for source in tuple(self.sources):
                source()
            self._token = None
            # Bounded, because the reader of the log may never read again.
            with trio.move_on_after(LAST_FLUSH_TIMEOUT, shield=True):
                await self._write_in_thread(self._take_lines())  # also without lines: it waits for an abandoned write

    def _take_lines(self) -> list[bytes]:
        for source in tuple(self.sources):
            source()
        lines = list(self._lines)
        self._lines.clear()
        if self._unreported:
            lines.append(self._report(self._unreported))
            self._unreported = 0
        return lines

    async def _flush(self, lines: list[bytes]) -> None:
        """Write the lines. After a cancellation, either the thread is writing them or they are in the buffer again."""
        claim = threading.Lock()  # whoever acquires it, the thread or this task, has the lines
        try:
            if lines:
                await self._write_in_thread(lines, claim)
        except trio.Cancelled:
            if claim.acquire(blocking=False):
                self._lines.extendleft(reversed(lines))
            raise

    async def _write_in_thread(self, lines: list[bytes], claim: threading.Lock | None = None) -> None:
        # Abandoned on cancellation: a write to a full pipe cannot be interrupted; its thread ends with the process.
        try:
            await trio.to_thread.run_sync(self._write_now, lines, claim, abandon_on_cancel=True)
        except RuntimeError:  # no thread can be started (process limit); the service goes on
            self._drop(len(lines))

    def _write_now(self, lines: list[bytes], claim: threading.Lock | None = None) -> None:
        """Write the lines, unless another has the `claim` to them."""
        if not self._writing.acquire(timeout=LAST_FLUSH_TIMEOUT):
            if claim is None or claim.acquire(blocking=False):
                self._drop(len(lines))
            return
        try:
            if claim is not None and not claim.acquire(blocking=False):
                return
            for chunk, count in split_chunks(lines):
                try:
                    self._writer.msg(chunk)
                except (OSError, ValueError):  # the reader is gone; ValueError: the file is closed
                    self._drop(count)
        finally:
            self._writing.release()

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._unreported += count


def split_chunks(lines: list[bytes], size: int = CHUNK_SIZE) -> Iterator[tuple[bytes, int]]:
    """Join lines into writes of at most `size` bytes, a longer line alone; yields each with its number of lines."""
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
