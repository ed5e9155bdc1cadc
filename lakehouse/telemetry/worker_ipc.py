"""The workers of one service query each other over Unix sockets in a private directory.

Each request for metrics or for the list of requests reaches one worker, which collects from all. The supervisor makes
the directory (`make_private_directory`) and passes its path and a number to each worker. A worker has a socket in the
directory, on which it serves the others, and a file of its counts, which is kept after a crash: the successor continues
from the counts in the file, and until the successor runs, the other workers read the file. Counts are written to the
file before they are reported, so that counters never decrease.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from math import inf
from pathlib import Path
from typing import NamedTuple

import trio

logger = logging.getLogger("lakehouse.telemetry")

REPLY_TIMEOUT = 1.0
"""Seconds to wait for a reply: a worker that takes longer is stuck, and must not delay the others."""

REPLY_LIMIT = 64 * 1024 * 1024
"""Bytes of one reply; ten thousand requests in flight are 5 MB."""

_QUERY_LIMIT = 16 * 1024 * 1024
"""Bytes of one query; the configuration of a reload with ten thousand providers is 2 MB."""

_PIECE = 65536
_PREFIX = "lakehouse-"
_PARENT_LIMIT = 70  # the path of a Unix socket may have 107 bytes


Handler = Callable[[bytes], bytes | Awaitable[bytes]]
"""Builds the reply to a query from its argument, which is one line, and empty for most queries. One that waits has a
time limit of its own, and is for queries of another process (`send_query`)."""


class WorkerReply(NamedTuple):
    """The reply of one worker; `data` is None if the worker did not reply in time."""

    worker: int
    data: bytes | None


class WorkerIPC:
    """Queries the other workers, and serves them. Without a directory there is only this worker.

    `handlers` build the reply to each query, by its name; `register` adds one.
    """

    def __init__(self, directory: Path | None, worker: int, handlers: Mapping[str, Handler]) -> None:
        self._directory = directory
        self.worker = worker
        self._handlers = dict(handlers)

    def register(self, query: str, handler: Handler) -> None:
        """Answer a further query. Raises ValueError for a name that is taken."""
        if query in self._handlers:
            raise ValueError(f"the query {query} has a handler already")
        self._handlers[query] = handler

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the other workers until cancelled. Afterwards the socket is removed, and the file of counts stays."""
        if self._directory is None:
            task_status.started()
            await trio.sleep_forever()
        else:
            await serve_queries(worker_socket(self._directory, self.worker), self._handlers, task_status=task_status)

    async def query_workers(self, query: str, argument: bytes = b"") -> list[WorkerReply]:
        """The replies of all workers, by their numbers. Takes at most `REPLY_TIMEOUT` seconds.

        `argument` has no line break, and less than `_QUERY_LIMIT` bytes together with the query.
        """
        own = self._handlers[query](argument)
        replies: dict[int, bytes | None] = {self.worker: own if isinstance(own, bytes) else await own}

        async def collect(worker: int) -> None:
            replies[worker] = await send_query(worker_socket(self._require_directory(), worker), query, argument)

        async with trio.open_nursery() as nursery:
            for worker in self._list_workers() - {self.worker}:
                nursery.start_soon(collect, worker)
        return [WorkerReply(worker, data) for worker, data in sorted(replies.items())]

    def persist(self, counts: bytes) -> None:
        """Write this worker's counts to its file. A failure, such as a full disk, is ignored: serving goes on."""
        if self._directory is None:
            return
        draft = self._in_directory(f"{self.worker}.draft")
        with contextlib.suppress(OSError):
            draft.write_bytes(counts)
            draft.replace(self._counts_path(self.worker))

    def load_persisted(self, worker: int) -> bytes | None:
        """The counts in the file of a worker, None when there are none."""
        if self._directory is None:
            return None
        try:
            return self._counts_path(worker).read_bytes()
        except OSError:
            return None

    def persist_stops(self, stops: bytes) -> None:
        """Write the stops of sessions that this worker knows to a file of its own, for a successor and its siblings.

        A failure, such as a full disk, is ignored: this worker refuses the sessions nevertheless.
        """
        if self._directory is not None:
            draft = self._in_directory(f"{self.worker}.stops-draft")
            with contextlib.suppress(OSError):
                draft.write_bytes(stops)
                draft.replace(self._in_directory(f"{self.worker}.stops"))

    def load_stops(self) -> list[bytes]:
        """The stops in the files of all workers.

        A worker calls it once it serves queries: a stop is written before the workers that are to know it are listed.
        """
        if self._directory is None:
            return []
        return [path.read_bytes() for path in self._directory.glob("*.stops")]

    def _list_workers(self) -> set[int]:
        if self._directory is None:
            return set()
        return {int(path.stem) for path in self._directory.iterdir() if path.suffix in (".sock", ".counts")}

    def _counts_path(self, worker: int) -> Path:
        return self._in_directory(f"{worker}.counts")

    def _in_directory(self, name: str) -> Path:
        return self._require_directory() / name

    def _require_directory(self) -> Path:
        assert self._directory is not None  # noqa: S101 - checked by every caller
        return self._directory


def worker_socket(directory: Path, worker: int) -> Path:
    """The socket on which a worker serves queries."""
    return directory / f"{worker}.sock"


async def serve_queries(
    path: Path,
    handlers: Mapping[str, Handler],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `send_query` of other processes on a Unix socket until cancelled; it is removed afterwards."""
    with open_listener(path) as listener:
        task_status.started()  # the socket listens: connections wait in its backlog
        await trio.serve_listeners(partial(_handle_query, handlers), [listener])


async def send_query(path: Path, query: str, argument: bytes = b"", *, timeout: float = REPLY_TIMEOUT) -> bytes | None:
    """The reply of the process that serves queries at `path`; None if there is none within `timeout` seconds."""
    with trio.move_on_after(timeout):
        try:
            async with await trio.open_unix_socket(str(path)) as stream:
                await stream.send_all(query.encode() + b" " + argument + b"\n")
                return await _read_reply(stream)
        except (OSError, trio.BrokenResourceError):  # the process has ended, or is ending
            return None
    return None


async def _handle_query(handlers: Mapping[str, Handler], stream: trio.SocketStream) -> None:
    # Bounded both ways: a process that queries and does not read gives up after REPLY_TIMEOUT itself.
    with trio.move_on_after(2 * REPLY_TIMEOUT) as transfer, contextlib.suppress(trio.BrokenResourceError):
        query = bytearray()
        while not query.endswith(b"\n") and len(query) < _QUERY_LIMIT:
            if not (data := await stream.receive_some(_PIECE)):
                return
            query += data
        name, _, argument = bytes(query).removesuffix(b"\n").partition(b" ")
        handler = handlers.get(name.decode("ascii", "replace"))
        if handler is not None:
            try:
                reply = handler(argument)
                if not isinstance(reply, bytes):
                    transfer.deadline = inf
                    reply = await reply
                    transfer.deadline = trio.current_time() + 2 * REPLY_TIMEOUT
            except Exception:  # such as too many open files; the other worker then reads the file of counts
                logger.exception("a query of another process was not answered")
                return
            await stream.send_all(len(reply).to_bytes(4, "big") + reply)


async def _read_reply(stream: trio.SocketStream) -> bytes | None:
    """Read a reply, which begins with its length in four bytes; None when it is incomplete or too long."""
    received = bytearray()
    while data := await stream.receive_some(65536):
        received += data
        length = int.from_bytes(received[:4], "big")
        if length > REPLY_LIMIT:
            return None
        if len(received) >= 4 + length:
            return bytes(received[4 : 4 + length])
    return None


@contextlib.contextmanager
def make_private_directory() -> Iterator[Path]:
    """Make a directory that only this user can enter, for sockets and counts; removed at the end.

    Those that killed processes of this user left behind are removed first.
    """
    parent = tempfile.gettempdir()
    if len(os.fsencode(parent)) > _PARENT_LIMIT:
        parent = "/tmp"  # noqa: S108 - the directory in it has a random name and is private
    _remove_abandoned(Path(parent))
    prefix = f"{_PREFIX}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as name:
        yield Path(name)


def _remove_abandoned(parent: Path) -> None:
    """Remove private directories whose maker has ended and in which no process listens."""
    for directory in parent.glob(f"{_PREFIX}*-*"):
        maker = directory.name.removeprefix(_PREFIX).partition("-")[0]
        with contextlib.suppress(OSError):
            ended = maker.isdecimal() and not Path(f"/proc/{maker}").exists()
            if ended and directory.stat().st_uid == os.getuid() and not any(map(_accepts, directory.iterdir())):
                shutil.rmtree(directory, ignore_errors=True)


def _accepts(path: Path) -> bool:
    """Whether a process listens on the path. Another process namespace may hide its number."""
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) != errno.ECONNREFUSED


def remove_if_unused(directory: Path) -> None:
    """Remove the directory if no worker listens in it any more; for workers whose supervisor was killed."""
    if not any(directory.glob("*.sock")):
        shutil.rmtree(directory, ignore_errors=True)  # another worker that ends at the same time may have removed it


@contextlib.contextmanager
def open_listener(path: Path) -> Iterator[trio.SocketListener]:
    """Listen on a Unix socket for the length of the block; it is removed afterwards."""
    path.unlink(missing_ok=True)  # left behind by a worker that crashed
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(128)
        try:
            yield trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        finally:
            path.unlink(missing_ok=True)
