"""The rows of traces, and the protocols of the databases that keep them: SQLite in the folder, PostgreSQL beyond it.

What a change does is in `changes`, in the terms of `TraceWrites`; the SQL of each database is in modules of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import msgspec

from lakehouse.core.errors import ErrConflict
from lakehouse.services.contracts.row_sources import RecordCount
from lakehouse.services.pathwayd.traces import Retirement, RowValues, Source, Trace, encode_row

State = Literal["active", "retired", "all"]

_NO_ITEMS = b"[]"
_tags = msgspec.json.Decoder(tuple[str, ...])
decode_sources = msgspec.json.Decoder(tuple[Source, ...]).decode
_retirement = msgspec.json.Decoder(Retirement)


class Row(NamedTuple):
    """A row of the table of traces. `number` ascends with the creation, `change` with each change of any trace."""

    number: int
    uid: str
    content: bytes
    predecessor: str | None
    created: int
    updated: int
    retired: int
    replays: int
    tags: bytes
    sources: bytes
    retirement: bytes | None
    change: int


class Derived(NamedTuple):
    """A trace that is derived from a source: its number, its id, and all its sources as JSON."""

    number: int
    uid: str
    sources: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTrace:
    """A trace that is not there yet. Times are nanoseconds since 1970."""

    uid: str
    content: bytes
    predecessor: str | None
    created: int
    tags: Sequence[str]
    sources: Sequence[Source]

    def make_row(self, number: int, change: int) -> Row:
        """Its row."""
        tags, sources = msgspec.json.encode(self.tags), msgspec.json.encode(self.sources)
        times = self.created, self.created
        return Row(number, self.uid, self.content, self.predecessor, *times, 0, 0, tags, sources, None, change)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFilter:
    """Which traces a search lists: those with all of `tags`, of a state, created in a span of time (nanoseconds)."""

    tags: Sequence[str] = ()
    state: State = "active"
    created_from: int | None = None
    created_before: int | None = None


class Statistics(msgspec.Struct, frozen=True):
    """The number of traces."""

    total: int
    active: int
    retired: int


class TracesState(NamedTuple):
    """Which traces these are, and the number of the last change. `store` is empty for those in the folder."""

    store: str
    change: int


class TraceReads(Protocol):
    """What can be asked of the traces. The methods block, write nothing, and raise what the database does."""

    def find_rows(self, uids: Iterable[str]) -> Mapping[str, Row]:
        """The rows of the traces that are there, by id."""

    def read_history(self, uid: str) -> list[Row]:
        """The trace and the versions before it, the newest first; empty for an unknown id.

        The chain ends where a predecessor is missing. Raises ErrConflict for a chain that leads into itself.
        """

    def search_rows(self, wanted: TraceFilter, *, limit: int, before: int | None = None) -> list[Row]:
        """At most `limit` traces that fit, the newest first; `before` is the number of a row to continue behind."""

    def select_rows(self, uids: Iterable[str], wanted: TraceFilter) -> list[Row]:
        """The traces of these ids that fit, in the order of the ids."""

    def read_changed(self, after: int, *, limit: int) -> list[Row]:
        """The traces that changed after a change, in the order of their last changes."""

    def count_changed(self, after: int) -> RecordCount:
        """How many traces have changed after a change."""

    def read_all(self, wanted: TraceFilter, *, after: int, limit: int) -> list[Row]:
        """Traces that fit in the order of creation, from behind the row of a number."""

    def count_traces(self) -> Statistics:
        """Count the traces."""

    def read_sources(self, kind: str) -> list[str]:
        """The names of the sources of a kind that traces which are not retired have, each once."""

    def list_derived(self, sources: Sequence[Source]) -> Sequence[Sequence[Derived]]:
        """For each source what is not retired and has a source of the same key, in the order of creation."""


class TraceWrites(TraceReads, Protocol):
    """What a transaction can change. It is the only one that writes at its time."""

    def attempt(self) -> AbstractContextManager[None]:
        """A block whose changes are taken back if it refuses one of them, by raising a LakehouseError."""

    def insert(self, new: NewTrace) -> Row:
        """Add a trace, whose id is not there."""

    def count_replay(self, row: Row, now: int) -> Row:
        """Count a replay of a trace."""

    def update(self, row: Row, content: bytes, tags: Sequence[str] | None, now: int) -> Row:
        """Replace the content of a trace, and its tags if some are given."""

    def list_sources(self, source: Source) -> Sequence[tuple[int, bytes]]:
        """Numbers and sources of the traces, retired or not, that have a source of the key of this one."""

    def mark_retired(self, retirements: Sequence[tuple[int, Retirement]]) -> None:
        """Retire traces, by their numbers."""

    def rename_source(self, old: Source, new: Source, traces: Sequence[tuple[int, bytes]]) -> None:
        """Put one source in the place of another; `traces` are numbers, with all sources that they have then."""


def make_trace(row: Row) -> Trace:
    """The trace in a row."""
    unset = msgspec.UNSET
    return Trace(
        uid=row.uid,
        content=msgspec.Raw(row.content),
        created_at_ns=row.created,
        updated_at_ns=row.updated,
        retired=bool(row.retired),
        replay_count=row.replays,
        predecessor_uid=unset if row.predecessor is None else row.predecessor,
        tags=unset if row.tags == _NO_ITEMS else _tags.decode(row.tags),
        sources=unset if row.sources == _NO_ITEMS else decode_sources(row.sources),
        retirement=unset if row.retirement is None else _retirement.decode(row.retirement),
    )


def follow_versions(uid: str, read: Callable[[str], Sequence[Row]]) -> list[Row]:
    """A trace and the versions before it, the newest first, as `read_history` has them.

    `read` reads a trace and any number of the versions before it, none for an unknown id. Raises ErrConflict.
    """
    chain: dict[str, Row] = {}
    following: str | None = uid
    while following is not None and (page := read(following)):
        for row in page:
            if row.uid in chain:
                raise ErrConflict(f"the versions of the trace {uid!r} lead back to {row.uid!r}")
            chain[row.uid] = row
        following = page[-1].predecessor
    return list(chain.values())


def read_table_rows(reads: TraceReads, table: str) -> list[RowValues]:
    """The rows of a table, by values, that are sources of traces which are not retired; each once."""
    (derived,) = reads.list_derived([Source(table=table)])
    found: dict[bytes, RowValues] = {}
    for each in derived:
        for source in decode_sources(each.sources):
            if source.table == table and isinstance(source.row, dict):
                found[encode_row(source.row)] = source.row
    return list(found.values())
