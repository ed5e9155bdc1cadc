"""Queries over the traces. All functions block, and none of them writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from lakehouse.core.errors import ErrConflict
from lakehouse.services.pathwayd.traces import Retirement, Source, Trace

State = Literal["active", "retired", "all"]

_COLUMNS = (
    "traces.number, uid, content, predecessor, created, updated, retired, replays, tags, sources, retirement, change"
)
_NO_ITEMS = b"[]"
_tags = msgspec.json.Decoder(tuple[str, ...])
_sources = msgspec.json.Decoder(tuple[Source, ...])
_retirement = msgspec.json.Decoder(Retirement)


class Row(NamedTuple):
    """A row of the table `traces`."""

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
        sources=unset if row.sources == _NO_ITEMS else _sources.decode(row.sources),
        retirement=unset if row.retirement is None else _retirement.decode(row.retirement),
    )


def find_row(db: sqlite3.Connection, uid: str) -> Row | None:
    """The row of a trace."""
    found = db.execute(f"SELECT {_COLUMNS} FROM traces WHERE uid = ?", (uid,)).fetchone()  # noqa: S608 - constants
    return None if found is None else Row(*found)


def read_history(db: sqlite3.Connection, uid: str) -> list[Row]:
    """The trace and the versions before it, the newest first; empty for an unknown id.

    The chain ends where a predecessor is missing. Raises ErrConflict for a chain that leads into itself.
    """
    chain: list[Row] = []
    seen: set[str] = set()
    following: str | None = uid
    while following is not None and (row := find_row(db, following)) is not None:
        if row.uid in seen:
            raise ErrConflict(f"the versions of the trace {uid!r} lead back to {row.uid!r}")
        seen.add(row.uid)
        chain.append(row)
        following = row.predecessor
    return chain


def search_rows(db: sqlite3.Connection, wanted: TraceFilter, *, limit: int, before: int | None = None) -> list[Row]:
    """At most `limit` traces that fit, the newest first; `before` is the number of a row that the list continues."""
    conditions, values = _make_conditions(wanted)
    if before is not None:
        conditions.append("traces.number < ?")
        values.append(before)
    return list(_select(db, conditions, values, f"ORDER BY traces.number DESC LIMIT {limit:d}"))


def select_rows(db: sqlite3.Connection, uids: Iterable[str], wanted: TraceFilter) -> list[Row]:
    """The traces of these ids that fit, in the order of the ids."""
    conditions, values = _make_conditions(wanted)
    names = list(uids)
    conditions.append("traces.uid IN (SELECT value FROM json_each(?))")  # there may be more than SQLite has parameters
    found = {row.uid: row for row in _select(db, conditions, [*values, msgspec.json.encode(names).decode()], "")}
    return [found[uid] for uid in names if uid in found]


def read_changed(db: sqlite3.Connection, after: int, *, limit: int) -> list[Row]:
    """The traces that changed after a change, in the order of their last changes."""
    return list(_select(db, ["change > ?"], [after], f"ORDER BY change LIMIT {limit:d}"))


def read_all(db: sqlite3.Connection, wanted: TraceFilter, *, after: int, limit: int) -> list[Row]:
    """Traces that fit in the order of creation, from behind the row of a number."""
    conditions, values = _make_conditions(wanted)
    conditions.append("traces.number > ?")
    return list(_select(db, conditions, [*values, after], f"ORDER BY traces.number LIMIT {limit:d}"))


def count_traces(db: sqlite3.Connection) -> Statistics:
    """Count the traces."""
    total, retired = db.execute("SELECT COUNT(*), COALESCE(SUM(retired), 0) FROM traces").fetchone()
    return Statistics(total, total - retired, retired)


def read_sources(db: sqlite3.Connection, kind: str) -> list[str]:
    """The names of the sources of a kind that traces which are not retired have."""
    query = (
        "SELECT DISTINCT source FROM trace_sources JOIN traces USING (number)"
        " WHERE source >= ? AND source < ? AND NOT retired"
    )
    return [key.removeprefix(f"{kind}:") for (key,) in db.execute(query, (f"{kind}:", f"{kind};"))]


def _make_conditions(wanted: TraceFilter) -> tuple[list[str], list[object]]:
    conditions: list[str] = []
    values: list[object] = []
    for number, tag in enumerate(wanted.tags):
        if number:
            conditions.append("EXISTS (SELECT 1 FROM trace_tags WHERE tag = ? AND trace_tags.number = traces.number)")
        else:  # read in the order of the index: a limit ends the scan, and a rare tag has few rows
            conditions.append("tagged.tag = ?")
        values.append(tag)
    if wanted.state != "all":
        conditions.append("retired = ?")
        values.append(int(wanted.state == "retired"))
    if wanted.created_from is not None:
        conditions.append("created >= ?")
        values.append(wanted.created_from)
    if wanted.created_before is not None:
        conditions.append("created < ?")
        values.append(wanted.created_before)
    return conditions, values


def _select(db: sqlite3.Connection, conditions: Sequence[str], values: Sequence[object], rest: str) -> Iterator[Row]:
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    tables = "traces"
    if "tagged.tag = ?" in conditions:
        tables, rest = "trace_tags AS tagged CROSS JOIN traces USING (number)", rest.replace("traces.", "tagged.")
    for found in db.execute(f"SELECT {_COLUMNS} FROM {tables} {where} {rest}", values):  # noqa: S608 - constants and numbers
        yield Row(*found)
