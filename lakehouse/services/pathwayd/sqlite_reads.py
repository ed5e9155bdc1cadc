"""Queries over the traces in SQLite."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from lakehouse.services.contracts.row_sources import RecordCount
from lakehouse.services.pathwayd import scans
from lakehouse.services.pathwayd.scans import Scan, Tagged, choose_scan
from lakehouse.services.pathwayd.trace_rows import Derived, Row, Statistics, TraceFilter, follow_versions
from lakehouse.services.pathwayd.traces import Source

_COLUMNS = (
    "traces.number, uid, content, predecessor, created, updated, retired, replays, tags, sources, retirement, change"
)


class SqliteReads:
    """The queries over a connection. Implements `TraceReads`; the methods raise sqlite3.Error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def find_rows(self, uids: Iterable[str]) -> Mapping[str, Row]:
        """The rows of the traces that are there, by id."""
        return {uid: row for uid in uids if (row := self._find_row(uid)) is not None}

    def read_history(self, uid: str) -> list[Row]:
        """The trace and the versions before it, the newest first. Raises ErrConflict for a circle."""
        return follow_versions(uid, lambda following: list(self.find_rows([following]).values()))

    def search_rows(self, wanted: TraceFilter, *, limit: int, before: int | None = None) -> list[Row]:
        """At most `limit` traces that fit, the newest first; `before` is the number of a row that the list continues.

        The rows of the condition that the fewest rows fulfil are read; see `choose_scan`.
        """
        numbers = self._find_numbers(wanted, before)
        if not numbers:
            return []
        scan = choose_scan(wanted, lambda found: [self._count(each, wanted, numbers) for each in found])
        conditions, values = _make_conditions(wanted, without=scan)
        if isinstance(scan, Tagged):
            tables, number = "trace_tags AS scanned CROSS JOIN traces USING (number)", "scanned.number"
            conditions, values = ["scanned.tag = ?", *conditions], [scan.tag, *values]
        else:
            tables = "traces INDEXED BY traces_by_state" if scan == "state" else "traces"
            number = "traces.number"
        conditions.append(f"{number} BETWEEN {numbers.start:d} AND {numbers.stop - 1:d}")
        return list(self._select(conditions, values, f"ORDER BY {number} DESC LIMIT {limit:d}", tables=tables))

    def select_rows(self, uids: Iterable[str], wanted: TraceFilter) -> list[Row]:
        """The traces of these ids that fit, in the order of the ids."""
        conditions, values = _make_conditions(wanted)
        names = list(uids)
        tables = "json_each(?) AS names CROSS JOIN traces ON uid = names.value"  # SQLite has room for fewer parameters
        values = [msgspec.json.encode(names).decode(), *values]
        found = {row.uid: row for row in self._select(conditions, values, "", tables=tables)}
        return [found[uid] for uid in names if uid in found]

    def read_changed(self, after: int, *, limit: int) -> list[Row]:
        """The traces that changed after a change, in the order of their last changes."""
        return list(self._select(["change > ?"], [after], f"ORDER BY change LIMIT {limit:d}"))

    def count_changed(self, after: int) -> RecordCount:
        """How many traces have changed after a change."""
        query = "SELECT (SELECT COUNT(*) FROM traces WHERE change > ?), (SELECT COALESCE(MAX(change), 0) FROM traces)"
        count, last = self.db.execute(query, (after,)).fetchone()
        return RecordCount(count, last)

    def read_all(self, wanted: TraceFilter, *, after: int, limit: int) -> list[Row]:
        """Traces that fit in the order of creation, from behind the row of a number."""
        conditions, values = _make_conditions(wanted)
        conditions.append("traces.number > ?")
        return list(self._select(conditions, [*values, after], f"ORDER BY traces.number LIMIT {limit:d}"))

    def count_traces(self) -> Statistics:
        """Count the traces."""
        query = "SELECT (SELECT COUNT(*) FROM traces), (SELECT COUNT(*) FROM traces WHERE retired = 1)"
        total, retired = self.db.execute(query).fetchone()
        return Statistics(total, total - retired, retired)

    def read_sources(self, kind: str) -> list[str]:
        """The names of the sources of a kind that traces which are not retired have, each once."""
        query = (
            "SELECT DISTINCT source FROM trace_sources JOIN traces USING (number)"
            " WHERE source >= ? AND source < ? AND NOT retired"
        )
        return [key.removeprefix(f"{kind}:") for (key,) in self.db.execute(query, (f"{kind}:", f"{kind};"))]

    def list_derived(self, sources: Sequence[Source]) -> Sequence[Sequence[Derived]]:
        """For each source what is not retired and has a source of the same key, in the order of creation."""
        query = (
            "SELECT traces.number, uid, sources FROM trace_sources JOIN traces USING (number)"
            " WHERE source = ? AND NOT retired ORDER BY traces.number"
        )
        return [[Derived(*found) for found in self.db.execute(query, (source.key,))] for source in sources]

    def _find_row(self, uid: str) -> Row | None:
        found = self.db.execute(f"SELECT {_COLUMNS} FROM traces WHERE uid = ?", (uid,)).fetchone()  # noqa: S608
        return None if found is None else Row(*found)

    def _find_numbers(self, wanted: TraceFilter, before: int | None) -> range:
        """The numbers between which all rows of the filter's span of time are.

        They ascend with the time of creation, but for a clock that was set back.
        """
        first, last = 0, sys.maxsize if before is None else before - 1
        if wanted.created_from is not None:
            query = "SELECT MIN(number) FROM traces INDEXED BY traces_by_time WHERE created >= ?"
            least = self.db.execute(query, (wanted.created_from,)).fetchone()[0]
            first = sys.maxsize if least is None else least
        if wanted.created_before is not None:
            query = "SELECT MAX(number) FROM traces INDEXED BY traces_by_time WHERE created < ?"
            last = min(last, self.db.execute(query, (wanted.created_before,)).fetchone()[0] or 0)
        return range(first, last + 1)

    def _count(self, scan: Scan, wanted: TraceFilter, numbers: range) -> int:
        """The rows of a condition between these numbers, at most `MAX_COUNTED`."""
        rows, value = "traces INDEXED BY traces_by_state WHERE retired = ?", str(int(wanted.state == "retired"))
        if isinstance(scan, Tagged):
            rows, value = "trace_tags WHERE tag = ?", scan.tag
        rows = f"SELECT 1 FROM {rows} AND number BETWEEN ? AND ? LIMIT {scans.MAX_COUNTED:d}"  # noqa: S608 - constants
        query = f"SELECT COUNT(*) FROM ({rows})"  # noqa: S608 - constants
        found: int = self.db.execute(query, (value, numbers.start, numbers.stop - 1)).fetchone()[0]
        return found

    def _select(
        self, conditions: Sequence[str], values: Sequence[object], rest: str, *, tables: str = "traces"
    ) -> Iterator[Row]:
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        query = f"SELECT {_COLUMNS} FROM {tables} {where} {rest}"  # noqa: S608 - constants and numbers
        for found in self.db.execute(query, values):
            yield Row(*found)


def _make_conditions(wanted: TraceFilter, *, without: Scan = "all") -> tuple[list[str], list[object]]:
    """The conditions of a filter, but for the tag that is scanned."""
    conditions: list[str] = []
    values: list[object] = []
    for tag in wanted.tags:
        if without != Tagged(tag):
            conditions.append("EXISTS (SELECT 1 FROM trace_tags WHERE tag = ? AND trace_tags.number = traces.number)")
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
