"""The process that writes a keyword index on tantivy, as the engine has it: started with a change, and killed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from lakehouse.services.retrieval.child.fork_server import Forked, ForkServer
from lakehouse.services.retrieval.child.keyword import MAX_LISTED_ROWS, KeywordWriterEnded
from lakehouse.services.retrieval.child.keyword_child import (
    AddTexts,
    AnyMessage,
    Commit,
    Committed,
    DeleteRows,
    DeleteTexts,
    serve,
)
from lakehouse.services.retrieval.messages import ONE_WAY, FrameDecoder, encode_frame

ADDED_AT_ONCE = 256
"""Texts of one message: so many are held twice."""
STALLED_AFTER = 120.0
"""Seconds without progress after which the process is killed."""
READ_SIZE = 4096


class KeywordProcess:
    """The process and its successors. Changes are lost with it if they are not committed.

    For one thread at a time; `__init__` as for `ForkServer`. What cannot be written raises KeywordWriterEnded or
    ValueError.
    """

    def __init__(self, folder: Path) -> None:
        self._forks = ForkServer(partial(serve, folder=folder))
        self._forked: Forked | None = None
        self._frames = FrameDecoder()
        self._encoder = msgspec.msgpack.Encoder()

    def add(self, rows: Sequence[int], index: int, texts: Sequence[str]) -> None:
        """Add the texts of new rows of an index."""
        for start in range(0, len(rows), ADDED_AT_ONCE):
            part = slice(start, start + ADDED_AT_ONCE)
            self._send(AddTexts(index, list(rows[part]), list(texts[part])))

    def delete(self, rows: Sequence[int]) -> None:
        """Delete rows."""
        for start in range(0, len(rows), MAX_LISTED_ROWS):
            self._send(DeleteRows(list(rows[start : start + MAX_LISTED_ROWS])))

    def delete_index(self, index: int) -> None:
        """Delete all rows of an index."""
        self._send(DeleteTexts(index))

    def commit(self, version: int) -> None:
        """Make all changes durable."""
        self._send(Commit(version))
        reply = msgspec.msgpack.decode(self._receive(), type=Committed)
        if reply.error:
            raise ValueError(reply.error)

    def kill(self) -> None:
        """End the process with all that goes on in it. It has ended, and released its lock, at return."""
        if self._forked is not None:
            self._kill(self._forked)

    def close(self) -> None:
        """End the process, and the one that forks it."""
        self.kill()
        self._forks.close()

    def _send(self, message: AnyMessage) -> None:
        forked = self._forked or self._start()
        try:
            forked.socket.sendall(encode_frame(ONE_WAY, self._encoder.encode(message)))
        except OSError as error:
            raise self._end(forked, error) from None

    def _start(self) -> Forked:
        try:
            self._forked = self._forks.fork()
        except OSError as error:
            raise KeywordWriterEnded(f"its writer cannot be started: {error}") from None
        self._forked.socket.settimeout(STALLED_AFTER)
        self._frames = FrameDecoder()
        return self._forked

    def _receive(self) -> bytes:
        forked = self._forked
        if forked is None:
            raise RuntimeError("nothing was sent")
        try:
            while data := forked.socket.recv(READ_SIZE):
                if bodies := [body for _, body in self._frames.feed(data)]:
                    return bodies[0]  # one reply is under way at a time
        except OSError as error:
            raise self._end(forked, error) from None
        raise self._end(forked, None)

    def _end(self, forked: Forked, error: OSError | None) -> KeywordWriterEnded:
        """End a process that has ended itself, or does not go on. Returns what is to be raised."""
        status = os.waitstatus_to_exitcode(self._kill(forked))
        if isinstance(error, TimeoutError):
            return KeywordWriterEnded(f"its writer made no progress for {STALLED_AFTER:g} s and was killed")
        how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
        return KeywordWriterEnded(f"its writer {how}")

    def _kill(self, forked: Forked) -> int:
        self._forked = None
        return self._forks.kill(forked)
