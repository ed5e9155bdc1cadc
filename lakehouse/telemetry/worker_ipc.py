"""Workers that answer for each other: whichever is asked collects from all, over sockets in a private directory.

The supervisor makes the directory (`private_directory`) and tells each worker its path and the worker's place. In it a
worker has a socket, on which it answers the others, and a file of its counts, which stays when it crashes: its
successor goes on from there, and until then the others read it. What a worker has shown is in its file before it is
shown, so that a counter never runs backwards.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import trio

logger = logging.getLogger("lakehouse.telemetry")

ANSWER_TIMEOUT = 1.0
"""Seconds that an answer is waited for: a worker that takes longer is stuck, and must not hold up the others."""

ANSWER_LIMIT = 64 * 1024 * 1024
"""Bytes of one answer; ten thousand requests in flight are 5 MB."""

_QUESTION_LIMIT = 64
_PARENT_LIMIT = 70  # a Unix socket's name may have 107 bytes


class WorkerAnswer(NamedTuple):
    """What one worker answered; None when it did not."""

    worker: int
    data: bytes | None


class WorkerIPC:
    """This worker's place among the workers of a service. Without a directory it is the only one."""

    def __init__(self, directory: Path | None, worker: int, answers: Mapping[str, Callable[[], bytes]]) -> None:
        self._directory = directory
        self.worker = worker
        self._answers = answers

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer the others until cancelled. When it ends the socket is gone and the file of counts stays."""
        if self._directory is None:
            task_status.started()
            await trio.sleep_forever()
        else:
            with _listening(self._socket(self.worker)) as listener:
                task_status.started()  # it listens: what comes now waits in its backlog
                await trio.serve_listeners(self._answer, [listener])

    async def ask(self, question: str) -> list[WorkerAnswer]:
        """Every worker's answer, in the order of their places; takes `ANSWER_TIMEOUT` seconds at the most."""
        answers: dict[int, bytes | None] = {self.worker: self._answers[question]()}

        async def collect(worker: int) -> None:
            answers[worker] = await self._ask(worker, question)

        async with trio.open_nursery() as nursery:
            for worker in self._known() - {self.worker}:
                nursery.start_soon(collect, worker)
        return [WorkerAnswer(worker, data) for worker, data in sorted(answers.items())]

    def persist(self, counts: bytes) -> None:
        """Put this worker's counts where they outlive it. A full disk is no reason to stop serving."""
        if self._directory is None:
            return
        draft = self._in_directory(f"{self.worker}.draft")
        with contextlib.suppress(OSError):
            draft.write_bytes(counts)
            draft.replace(self._counts(self.worker))

    def load_persisted(self, worker: int) -> bytes | None:
        """The counts that a worker of this place left behind, or None."""
        if self._directory is None:
            return None
        try:
            return self._counts(worker).read_bytes()
        except OSError:
            return None

    def _known(self) -> set[int]:
        if self._directory is None:
            return set()
        return {int(path.stem) for path in self._directory.iterdir() if path.suffix in (".sock", ".counts")}

    def _socket(self, worker: int) -> Path:
        return self._in_directory(f"{worker}.sock")

    def _counts(self, worker: int) -> Path:
        return self._in_directory(f"{worker}.counts")

    def _in_directory(self, name: str) -> Path:
        assert self._directory is not None  # noqa: S101 - every caller has looked
        return self._directory / name

    async def _ask(self, worker: int, question: str) -> bytes | None:
        with trio.move_on_after(ANSWER_TIMEOUT):
            try:
                async with await trio.open_unix_socket(str(self._socket(worker))) as stream:
                    await stream.send_all(question.encode() + b"\n")
                    return await _read_answer(stream)
            except (OSError, trio.BrokenResourceError):  # it is gone, or going
                return None
        return None

    async def _answer(self, stream: trio.SocketStream) -> None:
        # Bounded both ways: a sibling that asks and does not read gives up after ANSWER_TIMEOUT itself.
        with trio.move_on_after(2 * ANSWER_TIMEOUT), contextlib.suppress(trio.BrokenResourceError):
            question = b""
            while not question.endswith(b"\n") and len(question) < _QUESTION_LIMIT:
                if not (data := await stream.receive_some(_QUESTION_LIMIT)):
                    return
                question += data
            answer = self._answers.get(question.decode("ascii", "replace").strip())
            if answer is not None:
                try:
                    data = answer()
                except Exception:  # out of files, say: the sibling reads what was kept, and this worker goes on
                    logger.exception("a sibling could not be answered")
                    return
                await stream.send_all(len(data).to_bytes(4, "big") + data)


async def _read_answer(stream: trio.SocketStream) -> bytes | None:
    """An answer in full, or None: it says its length first, so that half of one is not taken for the whole."""
    received = bytearray()
    while data := await stream.receive_some(65536):
        received += data
        length = int.from_bytes(received[:4], "big")
        if length > ANSWER_LIMIT:
            return None
        if len(received) >= 4 + length:
            return bytes(received[4 : 4 + length])
    return None


@contextlib.contextmanager
def private_directory() -> Iterator[Path]:
    """A directory that only this user can enter, for the workers' sockets and counts; removed at the end."""
    parent = tempfile.gettempdir()
    if len(os.fsencode(parent)) > _PARENT_LIMIT:
        parent = "/tmp"  # noqa: S108 - the directory that is made in it has a random name and is ours alone
    with tempfile.TemporaryDirectory(prefix="lakehouse-", dir=parent, ignore_cleanup_errors=True) as name:
        yield Path(name)


def remove_if_unused(directory: Path) -> None:
    """Remove the directory if no worker listens in it any more: for workers whose supervisor was killed."""
    if not any(directory.glob("*.sock")):
        shutil.rmtree(directory, ignore_errors=True)  # or a sibling that leaves at the same time has done it


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[trio.SocketListener]:
    path.unlink(missing_ok=True)  # a worker that crashed here before us could not
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(128)
        try:
            yield trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        finally:
            path.unlink(missing_ok=True)
