"""The table of all indexes."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from lakehouse.services.contracts.retrieval import IndexOptions
from lakehouse.services.contracts.vector_store import StoredIndex, make_not_found, make_taken
from lakehouse.services.postgres.session import Row, Session
from lakehouse.services.vector_stores.postgres.tables import (
    Tables,
    check_options,
    create_tables,
    drop_tables,
    has_graph,
)

_COLUMNS = "number, options, created_ms, version, length, source, documents, words, tokenized, recall, recall_length"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An index as its row has it.

    `documents` have `words` words together, `tokenized` items have tokens. `recall` was measured at `recall_length`
    items.
    """

    number: int
    options: IndexOptions
    created_ms: int
    version: int
    length: int
    source: bytes
    documents: int
    words: int
    tokenized: int
    recall: float | None
    recall_length: int

    @property
    def tables(self) -> Tables:
        return Tables(self.number)

    @property
    def identity(self) -> str:
        return str(self.number)

    @property
    def is_approximate(self) -> bool:
        """Whether searches without a filter use the graph."""
        return self.recall is not None and has_graph(self.options)

    def describe(self) -> StoredIndex:
        """The index for the engine."""
        return StoredIndex(
            options=self.options,
            identity=self.identity,
            created_ms=self.created_ms,
            length=self.length,
            version=self.version,
            source=self.source,
            exact=not self.is_approximate,
            recall=self.recall if self.is_approximate else None,
        )


def is_storable(text: str) -> bool:
    """Whether a text can be one of PostgreSQL's: no other is there."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def list_records(session: Session) -> list[Record]:
    """All indexes in the order of their names."""
    return [_read(row) for row in session.fetch(f"SELECT {_COLUMNS} FROM vector_indexes ORDER BY name")]


def find_records(session: Session, names: Sequence[str], *, lock: bool = False) -> dict[str, Record]:
    """The indexes with these names. With `lock` nobody else writes to them before the transaction ends."""
    known = [name for name in names if is_storable(name)]
    locking = " ORDER BY name FOR UPDATE" if lock else ""
    rows = session.fetch(f"SELECT {_COLUMNS} FROM vector_indexes WHERE name = ANY(%s){locking}", (known,))
    return {record.options.name: record for record in map(_read, rows)}


def find_record(session: Session, name: str, *, lock: bool = False) -> Record:
    """One index. Raises ErrNotFound."""
    found = find_records(session, [name], lock=lock).get(name)
    if found is None:
        raise make_not_found(name)
    return found


def create_record(session: Session, options: IndexOptions) -> Record:
    """Create an index. Raises ErrConflict if the name is taken, also by another service at the same moment."""
    check_options(options)
    made = session.fetch_one(
        "INSERT INTO vector_indexes (name, options, created_ms) VALUES (%s, %s, %s)"
        f" ON CONFLICT (name) DO NOTHING RETURNING {_COLUMNS}",
        (options.name, msgspec.json.encode(options), int(time.time() * 1000)),
    )
    if made is None:
        raise make_taken(options.name)
    record = _read(made)
    create_tables(session, record.tables, options)
    return record


def delete_record(session: Session, name: str) -> None:
    """Delete an index with its tables. Raises ErrNotFound."""
    record = find_record(session, name, lock=True)
    session.execute("DELETE FROM vector_indexes WHERE number = %s", (record.number,))
    drop_tables(session, record.tables)


def _read(row: Row) -> Record:
    number, options, created_ms, version, length, source, documents, words, tokenized, recall, recall_length = row
    return Record(
        number=number,
        options=msgspec.json.decode(bytes(options), type=IndexOptions),
        created_ms=created_ms,
        version=version,
        length=length,
        source=bytes(source),
        documents=documents,
        words=words,
        tokenized=tokenized,
        recall=recall,
        recall_length=recall_length,
    )
