"""Batches of rows for the system tables, from a worker to the services process over a Unix socket.

    worker:             Batch ──length in four bytes, msgpack; a file in memory──> serve_batches of the services process
                        <── one byte, when the batch is durable

The lines, megabytes a second, are in a file without a name, whose descriptor is sent. A socket takes them in pieces of
200 KB, each of which wakes both processes: that doubled the CPU time of the receiver.

A batch that was not acknowledged is sent again with the same number, and the receiver takes each number of a sender
once: a connection or a process that ends at any moment neither loses nor doubles rows.
"""

from __future__ import annotations

import logging
import mmap
import os
import socket
import tempfile
from array import array
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import FileIO
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
_PIECE = 1024 * 1024
"""Bytes that are copied in one step, which blocks other tasks for less than a millisecond."""


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
    """What is sent of a batch. The lines are in the file, in the order of the tables."""

    sender: str
    number: int
    tables: dict[str, _RowsHead]


AppendBatch = Callable[[Batch], Awaitable[bool]]
"""Makes a batch durable. Returns whether it is, or was before; False if it cannot be stored."""


class BatchSender:
    """The worker's end. It connects with the first batch, and again after a failure."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: trio.SocketStream | None = None

    async def send(self, batch: Batch) -> bool:
        """Send a batch. Returns whether it is durable; False if no process listens."""
        try:
            with trio.move_on_after(SEND_TIMEOUT):
                if self._stream is None:
                    self._stream = await trio.open_unix_socket(str(self._path))
                await _send_batch(self._stream, batch)
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


async def _send_batch(stream: trio.SocketStream, batch: Batch) -> None:
    tables = {
        name: _RowsHead(rows.count, rows.first, rows.last, len(rows.lines)) for name, rows in batch.tables.items()
    }
    head = msgspec.msgpack.encode(_Head(batch.sender, batch.number, tables))
    message = len(head).to_bytes(_LENGTH, "big") + head
    with _open_unnamed_file() as file:
        for rows in batch.tables.values():
            await _write(file, memoryview(rows.lines))
        descriptors = array("i", [file.fileno()])
        sent = await stream.socket.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
    await stream.send_all(message[sent:])


def _open_unnamed_file() -> FileIO:
    """Open a file in memory, or on the disk where the system has or permits none in memory."""
    try:
        return os.fdopen(os.memfd_create("lakehouse-rows"), "wb", buffering=0)
    except (AttributeError, OSError):
        return tempfile.TemporaryFile(buffering=0)


async def _write(file: FileIO, rest: memoryview) -> None:
    while rest:
        rest = rest[file.write(rest[:_PIECE]) :]
        await trio.lowlevel.checkpoint()


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
        while await _receive_batch(append, stream):
            await stream.send_all(_ACKNOWLEDGED)
    except (OSError, trio.BrokenResourceError, msgspec.DecodeError) as error:
        logger.debug("the connection of a worker has ended: %s", error)


async def _receive_batch(append: AppendBatch, stream: trio.SocketStream) -> bool:
    """Whether the next batch is durable. If it is not, the worker connects again and sends it again.

    Its lines are no longer in memory at return.
    """
    batch = await _read_batch(stream)
    return batch is not None and await append(batch)


async def _read_batch(stream: trio.SocketStream) -> Batch | None:
    """The next batch, None at the end of the connection and for what is none."""
    prefix, ancillary, _, _ = await stream.socket.recvmsg(_LENGTH, socket.CMSG_SPACE(array("i").itemsize))
    with _receive_descriptors(ancillary) as descriptors:
        if not prefix or len(descriptors) != 1:
            return None
        length = prefix + await _read_exactly(stream, _LENGTH - len(prefix))
        size = int.from_bytes(length, "big")
        encoded = await _read_exactly(stream, size) if len(length) == _LENGTH and size <= MAX_HEAD else b""
        head = msgspec.msgpack.decode(encoded, type=_Head)
        lines = _map_file(descriptors[0], sum(rows.size for rows in head.tables.values()))
    if lines is None:
        return None
    tables = {}
    for name, rows in head.tables.items():
        tables[name] = Rows(rows.count, rows.first, rows.last, lines[: rows.size])
        lines = lines[rows.size :]
    return Batch(head.sender, head.number, tables)


@contextmanager
def _receive_descriptors(ancillary: Iterable[tuple[int, int, bytes]]) -> Iterator[list[int]]:
    """The descriptors that came with a message, closed at the end of the block."""
    received = array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            received.frombytes(data[: len(data) - len(data) % received.itemsize])
    try:
        for descriptor in received:
            os.set_inheritable(descriptor, False)  # as all that Python opens
        yield received.tolist()
    finally:
        for descriptor in received:
            os.close(descriptor)


def _map_file(descriptor: int, size: int) -> memoryview | None:
    """The bytes of a file, None if it has another size or is too long."""
    if not 0 < size <= MAX_FRAME or os.fstat(descriptor).st_size != size:
        return None
    return memoryview(mmap.mmap(descriptor, size, prot=mmap.PROT_READ))


async def _read_exactly(stream: trio.SocketStream, size: int) -> bytes:
    """So many bytes, fewer if the connection ends before."""
    received = b""
    while len(received) < size and (piece := await stream.receive_some(size - len(received))):
        received += piece
    return received
