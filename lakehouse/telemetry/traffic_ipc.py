"""Batches of rows for the system tables, from a worker to the services process over a Unix socket.

    worker:             Batch ──length in four bytes, msgpack──> serve_batches of the services process
                        <── one byte, when the batch is durable

A batch that was not acknowledged is sent again with the same number, and the receiver takes each number of a sender
once: a connection or a process that ends at any moment neither loses nor doubles rows.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec
import trio

from lakehouse.telemetry.worker_ipc import open_listener

logger = logging.getLogger("lakehouse.telemetry")

MAX_FRAME = 32 * 1024 * 1024
"""Bytes of one batch. A worker has at most half as many in its buffer."""

SEND_TIMEOUT = 10.0
"""Seconds until a batch is acknowledged; then the worker connects again."""

_ACKNOWLEDGED = b"\x01"
_LENGTH = 4


class Rows(msgspec.Struct, frozen=True, array_like=True):
    """Rows of one table as lines of JSON; `first` and `last` are their times, in seconds since 1970."""

    count: int
    first: float
    last: float
    lines: bytes


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """The rows that a worker sends together, by table. `sender` is unique for each start of a worker."""

    sender: str
    number: int
    tables: Mapping[str, Rows]


def encode_frame(batch: Batch) -> bytearray:
    """A batch with its length before it, as `BatchSender.send` takes it."""
    frame = bytearray(_LENGTH)
    msgspec.msgpack.Encoder().encode_into(batch, frame, _LENGTH)
    frame[:_LENGTH] = (len(frame) - _LENGTH).to_bytes(_LENGTH, "big")
    return frame


AppendBatch = Callable[[Batch], Awaitable[bool]]
"""Makes a batch durable. Returns whether it is, or was before; False if it cannot be stored."""


class BatchSender:
    """The worker's end. It connects with the first batch, and again after a failure."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: trio.SocketStream | None = None

    async def send(self, frame: bytearray) -> bool:
        """Send a frame. Returns whether its batch is durable; False if no process listens."""
        try:
            with trio.move_on_after(SEND_TIMEOUT):
                if self._stream is None:
                    self._stream = await trio.open_unix_socket(str(self._path))
                await self._stream.send_all(frame)
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
        while (frame := await _read_frame(stream)) is not None:
            if not await append(msgspec.msgpack.decode(frame, type=Batch)):
                return  # the worker connects again, and sends the batch again
            await stream.send_all(_ACKNOWLEDGED)
    except (trio.BrokenResourceError, msgspec.DecodeError) as error:
        logger.debug("the connection of a worker has ended: %s", error)


async def _read_frame(stream: trio.SocketStream) -> memoryview | None:
    """The next batch, None at the end of the connection and for one that is too long."""
    received = bytearray()
    wanted = _LENGTH
    while len(received) < wanted:
        data = await stream.receive_some(2**18)
        if not data:
            return None
        received += data
        if wanted == _LENGTH and len(received) >= _LENGTH:
            wanted += int.from_bytes(received[:_LENGTH], "big")
            if wanted > MAX_FRAME:
                return None
    return memoryview(received)[_LENGTH:wanted]
