"""The parts of results that are the same in every answer: id and metadata as JSON, text, tokens, by row number.

A row never changes, so what was read stays valid for as long as it is kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from lakehouse.services.retrieval.child.store import select_by_rows

MAX_BYTES = 64 * 2**20
"""Bytes of pieces that are kept; beyond them all are dropped."""
OVERHEAD = 200


class Piece(NamedTuple):
    """The beginning of a result up to its distance, and its metadata with its name; both are JSON."""

    head: bytes
    metadata: bytes


class Pieces:
    """Reads pieces from the database, and keeps those of recent results."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._pieces: dict[int, Piece] = {}
        self._tokens: dict[int, NDArray[np.uint16]] = {}
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        """The memory of what is kept."""
        return self._bytes

    def read(self, rows: Iterable[int]) -> dict[int, Piece]:
        """The pieces of rows; one that is deleted is left out."""
        kept = self._pieces
        found = {row: kept[row] for row in rows if row in kept}
        missing = [row for row in dict.fromkeys(rows) if row not in kept]
        if missing:
            self._make_room()
            for row, own, metadata in select_by_rows(self._connection, "row, id, meta", missing):
                named = b',"metadata":' + metadata if metadata else b""
                piece = Piece(b'{"id":%b,"distance":' % msgspec.json.encode(own), named)
                found[row] = self._pieces[row] = piece
                self._bytes += OVERHEAD + len(piece.head) + len(metadata)
        return found

    def read_tokens(self, rows: Sequence[int]) -> list[NDArray[np.uint16]]:
        """The distinct tokens of the texts of rows; none for a row that is deleted."""
        missing = [row for row in rows if row not in self._tokens]
        if missing:
            self._make_room()
            for row, tokens in select_by_rows(self._connection, "row, toks", missing):
                self._tokens[row] = np.frombuffer(tokens, "<u2")
                self._bytes += OVERHEAD + len(tokens)
        nothing = np.empty(0, np.uint16)
        return [self._tokens.get(row, nothing) for row in rows]

    def read_texts(self, rows: Sequence[int]) -> dict[int, bytes]:
        """The texts of rows as JSON."""
        return {
            row: msgspec.json.encode(text)
            for row, text in select_by_rows(self._connection, "row, text", rows)
            if text is not None
        }

    def _make_room(self) -> None:
        if self._bytes > MAX_BYTES:
            self._pieces, self._tokens, self._bytes = {}, {}, 0
