"""The traces of a folder, copied into PostgreSQL. All functions block, in the transaction of a session."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from lakehouse.core.errors import ErrConflict
from lakehouse.services.pathwayd.postgres_reads import make_key
from lakehouse.services.pathwayd.trace_rows import Row, decode_sources
from lakehouse.services.postgres.session import Session

_ROWS = (
    "SELECT number, uid, content, predecessor, created, updated, retired, replays, tags, sources, retirement, change"
    " FROM traces ORDER BY number"
)
_TABLES = ("pathway_traces", "pathway_tags", "pathway_sources")


def check_traces(session: Session, store: str) -> None:
    """Raise ErrConflict if the database has traces that no copy with the name `store` has made. Changes nothing."""
    if session.fetch("SELECT to_regclass('pathway_state') IS NULL")[0][0]:
        return
    ((found, number),) = session.fetch("SELECT store, number FROM pathway_state")
    if number and found != store:
        raise ErrConflict("the database has traces of other services: name another database for the records")


def has_copied_traces(session: Session, store: str) -> bool:
    """Whether the traces of the database are a copy with the name `store`."""
    if session.fetch("SELECT to_regclass('pathway_state') IS NULL")[0][0]:
        return False
    return bool(session.fetch("SELECT store = %s FROM pathway_state", (store,))[0][0])


def copy_traces(session: Session, path: Path, store: str) -> int:
    """Copy all traces of the file, in the place of those that an earlier copy with this name has made.

    Returns how many there are. Raises what `check_traces` raises.
    """
    ((present,),) = session.fetch("SELECT number FROM pathway_state FOR UPDATE")
    check_traces(session, store)
    if present > max((row.number for row in _read_rows(path)), default=0):
        raise ErrConflict("the database has traces that services have added to an earlier copy: they would be lost")
    for table in _TABLES:
        session.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
    session.execute_values(
        "INSERT INTO pathway_traces (number, uid_key, uid, content, predecessor, predecessor_key, created, updated,"
        " retired, replays, tags, sources, retirement, change) VALUES %s",
        map(_make_values, _read_rows(path)),
    )
    session.execute_values("INSERT INTO pathway_tags VALUES %s ON CONFLICT DO NOTHING", _list_tags(path))
    session.execute_values("INSERT INTO pathway_sources VALUES %s ON CONFLICT DO NOTHING", _list_sources(path))
    query = "SELECT count(*), coalesce(max(number), 0), coalesce(max(change), 0) FROM pathway_traces"
    ((count, number, change),) = session.fetch(query)
    session.execute("UPDATE pathway_state SET store = %s, number = %s, change = %s", (store, number, change))
    return int(count)


def _read_rows(path: Path) -> Iterator[Row]:
    if path.exists():
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            yield from (Row(*row) for row in database.execute(_ROWS))


def _make_values(row: Row) -> tuple[object, ...]:
    before = None if row.predecessor is None else make_key(row.predecessor)
    times = (row.created, row.updated)
    rest = (bool(row.retired), row.replays, row.tags, row.sources, row.retirement, row.change)
    return (row.number, make_key(row.uid), row.uid, row.content, row.predecessor, before, *times, *rest)


def _list_tags(path: Path) -> Iterator[tuple[object, ...]]:
    for row in _read_rows(path):
        for tag in msgspec.json.decode(row.tags, type=list[str]):
            yield make_key(tag), row.number


def _list_sources(path: Path) -> Iterator[tuple[object, ...]]:
    for row in _read_rows(path):
        for source in decode_sources(row.sources):
            name = getattr(source, source.kind).encode("utf-8", "surrogatepass")
            yield make_key(source.key), row.number, source.kind, name
