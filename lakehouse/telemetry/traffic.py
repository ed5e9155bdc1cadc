"""The rows of the system tables that a worker makes of the requests that have ended, and their way out.

    on_end ──> a bounded buffer of encoded rows ──once a second──> services process (`traffic_ipc`)

Nothing waits for it: while the services process does not run, or is slow, the newest rows are kept in the buffer, and
the number of those that were dropped becomes a row itself. The row of a request is its line of the JSON log, with its
attempts at providers as they were recorded: a query makes rows of them (`system_tables.definitions`).
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Sequence
from math import inf
from pathlib import Path

import msgspec
import trio
from msgspec.structs import replace

from lakehouse.core.attempts import AttemptRecord
from lakehouse.core.context import RequestContext
from lakehouse.telemetry.access_log import Clock, shorten_and_escape
from lakehouse.telemetry.traffic_ipc import MAX_FRAME, Batch, BatchSender, Rows

REQUESTS, CONTENTS, DROPPED = "requests", "contents", "dropped_rows"
"""The names of the tables."""

FLUSH_INTERVAL = 1.0
"""Seconds for which rows are collected at most. A killed worker loses those that were not sent."""

MAX_ROWS = 16_384
"""Rows of a table in the buffer, about 6 MB. Half as many are sent before the second is over; a worker makes fewer."""

MAX_BYTES = MAX_FRAME // 2
"""Bytes of all rows in the buffer, which one batch takes."""

MAX_TEXT = 512 * 1024
"""Characters of the messages or the answer in a row of contents; more are cut."""

LAST_FLUSH_TIMEOUT = 1.0
"""Seconds that the end of a worker waits for its last rows to be stored."""


class RecordedAttempts(msgspec.Struct, gc=False):
    """The attempts of a request. `began` is its beginning; all times are of trio's clock, in seconds."""

    began: float
    records: Sequence[AttemptRecord]


class ContentRow(msgspec.Struct, omit_defaults=True, gc=False):
    """Messages and answer of a chat, as JSON texts."""

    time: str
    request_id: str
    messages: str | None = None
    answer: str | None = None


class DroppedRow(msgspec.Struct, gc=False):
    """How many rows of a worker were dropped, because they could not be sent in time."""

    time: str
    worker: int
    rows: int


class _Buffer:
    """Rows of one table, and the times of the oldest and the newest, in seconds since 1970.

    They are pieces of many lines, each with the number of its rows: a line would be an object of its own until it is
    sent, for up to a second.
    """

    __slots__ = ("first", "last", "pieces", "rows")

    def __init__(self) -> None:
        self.pieces: deque[tuple[int, bytes]] = deque()
        self.rows = 0
        self.first, self.last = inf, 0.0


class TrafficRecorder:
    """The rows of one worker. `path` is the socket of the services process, `worker` the number of this worker.

    With `contents`, messages and answers of chats are recorded.
    """

    def __init__(self, path: Path, *, worker: int = 0, contents: bool = False) -> None:
        self.contents = contents
        self.dropped = 0
        self._worker = worker
        self._unreported = 0
        self._buffers = {table: _Buffer() for table in (REQUESTS, CONTENTS)}
        self._requests = self._buffers[REQUESTS]
        self._size = 0
        self._awake = False
        self._pending, self._half_full = trio.Event(), trio.Event()
        self._never = trio.Event()
        encoder = msgspec.json.Encoder()
        self._encode, self._encode_lines = encoder.encode, encoder.encode_lines
        self._clock = Clock()
        self._sender = BatchSender(path)
        self._name, self._number = secrets.token_hex(8), 0
        self._unacknowledged: Batch | None = None

    def add(self, ended: Sequence[RequestContext], lines: Sequence[bytes], *, epoch: float) -> None:
        """Add the rows of requests that have ended, the oldest first, each with its line of the log.

        `epoch` is the zero of trio's clock in seconds since 1970.
        """
        newest = epoch + (ended[-1].ended or 0.0)
        oldest = epoch + (ended[0].ended or 0.0)
        rows = [
            line if not context.attempts else self._add_attempts(line, context)
            for context, line in zip(ended, lines, strict=True)
        ]
        self._extend(self._requests, len(rows), b"\n".join([*rows, b""]), oldest, newest)
        if self.contents:
            for context in ended:
                if context.content is not None and context.content.input is not None:
                    self._add_content(context, epoch + (context.ended or 0.0))

    def _add_attempts(self, line: bytes, context: RequestContext) -> bytes:
        """The line of a request with a member for its attempts."""
        records = [
            record if (model := shorten_and_escape(record.model)) is record.model else replace(record, model=model)
            for record in context.attempts
        ]
        encoded = self._encode(RecordedAttempts(context.started, records))
        return b"".join((line[:-1], b',"attempts":', encoded, b"}"))

    def _add_content(self, context: RequestContext, time: float) -> None:
        row = _make_content_row(context, self._clock(time))
        self._extend(self._buffers[CONTENTS], 1, self._encode_lines([row]), time, time)

    async def run(self) -> None:
        """Send rows once a second, or when the buffer is half full, until cancelled."""
        failed = False
        while True:
            await self._pending.wait()
            with trio.move_on_after(FLUSH_INTERVAL):
                await (self._never if failed else self._half_full).wait()
            failed = not await self.flush()
            if not failed:
                self._awake = False
                self._pending, self._half_full = trio.Event(), trio.Event()

    async def flush(self) -> bool:
        """Send all rows. Returns whether all of them are durable."""
        while self._size or self._unacknowledged is not None:
            if self._unacknowledged is None:
                self._unacknowledged = self._take_batch()
            if not await self._sender.send(self._unacknowledged):
                return False
            self._unacknowledged = None
        return True

    async def close(self) -> None:
        """Send the last rows, for at most `LAST_FLUSH_TIMEOUT` seconds, also if the caller is cancelled."""
        with trio.move_on_after(LAST_FLUSH_TIMEOUT, shield=True):
            await self.flush()
        self._sender.close()

    def _extend(self, buffer: _Buffer, rows: int, lines: bytes, first: float, last: float) -> None:
        buffer.pieces.append((rows, lines))
        buffer.rows += rows
        self._size += len(lines)
        buffer.first, buffer.last = min(buffer.first, first), last
        if buffer.rows > MAX_ROWS or self._size > MAX_BYTES:
            self._drop(buffer)
        if not self._awake:
            self._awake = True
            self._pending.set()
        elif buffer.rows >= MAX_ROWS // 2:
            self._half_full.set()

    def _drop(self, buffer: _Buffer) -> None:
        """Drop the oldest rows of a table until the newest ones have a place."""
        while len(buffer.pieces) > 1 and (buffer.rows > MAX_ROWS or self._size > MAX_BYTES):
            rows, lines = buffer.pieces.popleft()
            buffer.rows -= rows
            self._size -= len(lines)
            self.dropped += rows
            self._unreported += rows

    def _take_batch(self) -> Batch:
        """Take all rows out of the buffers."""
        tables = {}
        for table, buffer in self._buffers.items():
            if buffer.rows:
                lines = b"".join([piece for _, piece in buffer.pieces])
                tables[table] = Rows(buffer.rows, buffer.first, buffer.last, lines)
                self._buffers[table] = _Buffer()
        self._requests, self._size = self._buffers[REQUESTS], 0
        if self._unreported:
            # There are rows that took the place of the dropped ones.
            newest = max(rows.last for rows in tables.values())
            row = DroppedRow(self._clock(newest), self._worker, self._unreported)
            tables[DROPPED] = Rows(1, newest, newest, self._encode_lines([row]))
            self._unreported = 0
        self._number += 1
        return Batch(self._name, self._number, tables)


def _make_content_row(context: RequestContext, time: str) -> ContentRow:
    from lakehouse.telemetry.genai_messages import (  # only where contents are recorded
        encode_input_messages,
        encode_output_messages,
    )

    content = context.content
    row = ContentRow(time, context.id)
    if content is not None:
        row.messages = _cut(encode_input_messages(content.input))
        row.answer = _cut(encode_output_messages(content.output))
    return row


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"
