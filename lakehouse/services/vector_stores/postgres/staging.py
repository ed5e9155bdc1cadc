"""A batch of items as binary COPY, into a temporary table of the connection."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence

from lakehouse.services.contracts.vector_store import StoreItem
from lakehouse.services.postgres.session import Session
from lakehouse.services.vector_stores.postgres.filter_sql import make_fields

CREATE = """
CREATE TEMPORARY TABLE IF NOT EXISTS staged_items (
    position integer, id text COLLATE "C" PRIMARY KEY, source text, digest bytea, fields jsonb, vec vector, text bytea,
    metadata bytea, tokens bytea, words text, counts text, length integer, norm integer, given bytea
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS staged_gone (row bigint PRIMARY KEY, whole boolean) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS staged_copies (old bigint, new bigint) ON COMMIT DELETE ROWS
"""
_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_END = struct.pack(">h", -1)
_NULL = struct.pack(">i", -1)
COLUMNS = "position, id, source, digest, fields, vec, text, metadata, tokens, words, counts, length, norm"
FREE_NORMS = 24
"""Lengths that are kept as they are, before those of four bits begin."""


def prepare(session: Session) -> None:
    """Make the temporary tables of the connection; they are empty at the begin of each transaction.

    What is joined with them is looked up by its index, for each of their rows: a write costs what it writes.
    """
    session.execute(f"{CREATE}; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")


def stage(session: Session, items: Sequence[StoreItem]) -> None:
    """Fill `staged_items`."""
    rows = [_HEADER]
    for position, item in enumerate(items):
        rows.append(_encode(position, item))
    rows.append(_END)
    session.copy(f"COPY staged_items ({COLUMNS}) FROM STDIN (FORMAT binary)", b"".join(rows))
    session.execute("ANALYZE staged_items (id)")  # its size, from which the order of joins follows


def _encode(position: int, item: StoreItem) -> bytes:
    parts = [
        struct.pack(">h", 13),
        struct.pack(">ii", 4, position),
        _bytes(item.id.encode()),
        _bytes(item.source.encode()),
        _bytes(item.digest),
        _bytes(b"\1" + make_fields(item.metadata)),
        _bytes(encode_vector(item.vector)) if item.vector else _NULL,
        _NULL if item.text is None else _bytes(item.text.encode()),
        _bytes(item.metadata),
        _bytes(item.tokens),
        _bytes(item.words.encode()),
        _bytes(item.counts.encode()),
        struct.pack(">ii", 4, item.length),
        struct.pack(">ii", 4, make_norm(item.length)),
    ]
    return b"".join(parts)


def _bytes(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


def encode_vector(vector: bytes) -> bytes:
    """A vector in the binary form of pgvector."""
    return struct.pack(">hh", len(vector) // 4, 0) + _swap(vector)


def decode_vector(sent: bytes) -> bytes:
    """A vector from the binary form of pgvector."""
    return _swap(sent[4:])


def write_vector(vector: bytes) -> str:
    """A vector as a literal."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return f"[{','.join(map(repr, numbers))}]"


def _swap(vector: bytes) -> bytes:
    """Little-endian to big-endian, or back."""
    numbers = array("f", vector)
    numbers.byteswap()
    return numbers.tobytes()


def make_norm(length: int) -> int:
    """The number of words of a text as BM25 takes it: as in the keyword index of the folder, with four bits."""
    if length < FREE_NORMS:
        return length
    rest = length - FREE_NORMS
    shift = max(rest.bit_length() - 4, 0)
    return FREE_NORMS + ((rest >> shift) << shift)
