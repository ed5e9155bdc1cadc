"""Batches of rows for the system tables, from a worker to the services process over a Unix socket.

    worker:             Batch ──length in four bytes, msgpack, lines──> serve_batches of the services process
                        <── one byte, when the batch is durable

The lines, megabytes a second, are no part of the message in msgpack: they go from the worker's memory to the file
without being copied on the way.

A batch that was not acknowledged is sent again with the same number, and the receiver takes each number of a sender
once: a connection or a process that ends at any moment neither loses nor doubles rows.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import trio

from lakehouse.telemetry.worker_ipc import open_listener

logger = logging.getLogger("lakehouse.telemetry")

MAX_FRAME = 32 * 1024 * 1024
"""Bytes of the lines of one batch. A worker has at most half as many in its buffer."""

MAX_HEAD = 4096
"""Bytes of a batch without its lines."""

SEND_TIMEOUT = 10.0
"""Seconds until a batch is acknowledged; then the worker connects again."""

_ACKNOWLEDGED = b"\x01"
_LENGTH = 4


class Rows(msgspec.Struct, frozen=True):
    """Rows of one table as lines of JSON; `first` and `last` are their times, in seconds since 1970."""

    count: int
    first: float
    last: float
    lines: bytes | memoryview


class Batch(msgspec.Struct, frozen=True):
    """The rows that a worker sends together, by table. `sender` is unique for each start of a worker."""

    sender: str
    number: int
    tables: Mapping[str, Rows]


class _RowsHead(msgspec.Struct, frozen=True, array_like=True):
    """`Rows` without its lines; `size` are their bytes."""

    count: int
    first: float
    last: float
    size: Annotated[int, msgspec.Meta(ge=0)]


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """What is sent before the lines, which follow in the order of the tables."""

    sender: str
    number: int
    tables: dict[str, _RowsHead]


Frame = Sequence[bytes | memoryview]
"""A batch in pieces, as `BatchSender.send` takes it."""


def encode_frame(batch: Batch) -> Frame:
    """A batch as it is sent."""
    tables = {
        name: _RowsHead(rows.count, rows.first, rows.last, len(rows.lines)) for name, rows in batch.tables.items()
    }
    head = msgspec.msgpack.encode(_Head(batch.sender, batch.number, tables))
    return (len(head).to_bytes(_LENGTH, "big") + head, *(rows.lines for rows in batch.tables.values()))


AppendBatch = Callable[[Batch], Awaitable[bool]]
"""Makes a batch durable. Returns whether it is, or was before; False if it cannot be stored."""


class BatchSender:
    """The worker's end. It connects with the first batch, and again after a failure."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: trio.SocketStream | None = None

    async def send(self, frame: Frame) -> bool:
        """Send a frame. Returns whether its batch is durable; False if no process listens."""
        try:
            with trio.move_on_after(SEND_TIMEOUT):
                if self._stream is None:
                    self._stream = await trio.open_unix_socket(str(self._path))
                for piece in frame:
                    await self._stream.send_all(piece)
                if await self._stream.receive_some(1) == _ACKNOWLEDGED:
                    return True
        except (OSError, trio.BrokenResourceError):  # the process does not run, or has ended
            pass
        except BaseException:
            self.close()  # in the middle of a batch
            raise
        self.close()
        return False

    def close(self) -> None:
        """Close the connection."""
        if self._stream is not None:
            self._stream.socket.close()
            self._stream = None


async def serve_batches(
    path: Path,
    append: AppendBatch,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Receive batches on a Unix socket at `path` until cancelled."""
    with open_listener(path) as listener:
        task_status.started()
        await trio.serve_listeners(partial(_receive_batches, append), [listener])


async def _receive_batches(append: AppendBatch, stream: trio.SocketStream) -> None:
    try:
        while (batch := await _read_batch(stream)) is not None:
            if not await append(batch):
                return  # the worker connects again, and sends the batch again
            await stream.send_all(_ACKNOWLEDGED)
    except (OSError, trio.BrokenResourceError, msgspec.DecodeError) as error:
        logger.debug("the connection of a worker has ended: %s", error)


async def _read_batch(stream: trio.SocketStream) -> Batch | None:
    """The next batch, None at the end of the connection and for one that is too long."""
    length = await _read_exactly(stream, _LENGTH)
    size = 0 if length is None else int.from_bytes(length, "big")
    encoded = await _read_exactly(stream, size) if 0 < size <= MAX_HEAD else None
    if encoded is None:
        return None
    head = msgspec.msgpack.decode(encoded, type=_Head)
    size = sum(rows.size for rows in head.tables.values())
    lines = await _read_exactly(stream, size) if size <= MAX_FRAME else None
    if lines is None:
        return None
    tables = {}
    for name, rows in head.tables.items():
        tables[name] = Rows(rows.count, rows.first, rows.last, lines[: rows.size])
        lines = lines[rows.size :]
    return Batch(head.sender, head.number, tables)


async def _read_exactly(stream: trio.SocketStream, size: int) -> memoryview | None:
    """So many bytes, None if the connection ends before."""
    received = rest = memoryview(bytearray(size))
    while rest:
        count = await stream.socket.recv_into(rest)
        if not count:
            return None
        rest = rest[count:]
    return received
