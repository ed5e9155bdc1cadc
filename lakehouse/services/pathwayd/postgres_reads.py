"""Queries over the traces in PostgreSQL.

Ids, tags and sources are found by digests: an index of PostgreSQL takes keys of 2,700 bytes at most, and its `text` has
no NUL.
"""

from __future__ import annotations

import hashlib
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lakehouse.services.contracts.row_sources import RecordCount
from lakehouse.services.pathwayd import scans
from lakehouse.services.pathwayd.scans import Scan, Tagged, choose_scan
from lakehouse.services.pathwayd.trace_rows import Derived, Row, Statistics, TraceFilter, follow_versions
from lakehouse.services.pathwayd.traces import Source
from lakehouse.services.postgres.session import Session

_COLUMNS = "number, uid, content, predecessor, created, updated, retired, replays, tags, sources, retirement, change"
HISTORY_PAGE = 200
"""Versions that one statement reads."""
MIN_PAGE, MAX_PAGE = 500, 20_000
"""Rows of a scan that one statement of a search reads; more with each further one."""


def make_key(text: str) -> bytes:
    """The digest by which a text is found."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:20]


class Condition(NamedTuple):
    """A condition of a statement with the values that it has."""

    sql: str
    values: tuple[object, ...] = ()


class PostgresReads:
    """The queries in a transaction. Implements `TraceReads`; the methods raise psycopg2.Error."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def fetch(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        return self._session.fetch(statement, values)

    def find_rows(self, uids: Iterable[str]) -> Mapping[str, Row]:
        """The rows of the traces that are there, by id."""
        keys = [make_key(uid) for uid in uids]
        found = self.fetch(f"SELECT {_COLUMNS} FROM pathway_traces WHERE uid_key = ANY(%s::bytea[])", (keys,))  # noqa: S608
        return {row.uid: row for row in map(_make_row, found)}

    def read_history(self, uid: str) -> list[Row]:
        """The trace and the versions before it, the newest first. Raises ErrConflict for a circle."""
        return follow_versions(uid, self._read_versions)

    def search_rows(self, wanted: TraceFilter, *, limit: int, before: int | None = None) -> list[Row]:
        """At most `limit` traces that fit, the newest first; `before` is the number of a row to continue behind.

        The rows of the condition that the fewest rows fulfil are read; see `choose_scan`.
        """
        numbers = self._find_numbers(wanted, before)
        if not numbers:
            return []
        scan = choose_scan(wanted, lambda found: self._count(found, wanted, numbers))
        found: list[Row] = []
        first, last, page = numbers.start, numbers.stop - 1, max(MIN_PAGE, limit)
        while True:
            lowest, count, fitting = self._read_page(scan, wanted, (first, last), page=page, limit=limit - len(found))
            found += fitting
            if count < page or len(found) >= limit:
                return found
            last, page = lowest - 1, min(4 * page, MAX_PAGE)

    def select_rows(self, uids: Iterable[str], wanted: TraceFilter) -> list[Row]:
        """The traces of these ids that fit, in the order of the ids."""
        names = list(uids)
        conditions = [Condition("uid_key = ANY(%s::bytea[])", (list(map(make_key, names)),)), *_list_conditions(wanted)]
        found = {row.uid: row for row in self._select(conditions, "")}
        return [found[uid] for uid in names if uid in found]

    def read_changed(self, after: int, *, limit: int) -> list[Row]:
        """The traces that changed after a change, in the order of their last changes."""
        return self._select([Condition("change > %s", (after,))], f"ORDER BY change LIMIT {limit:d}")

    def count_changed(self, after: int) -> RecordCount:
        """How many traces have changed after a change."""
        query = "SELECT (SELECT count(*) FROM pathway_traces WHERE change > %s), change, store FROM pathway_state"
        (found,) = self.fetch(query, (after,))
        return RecordCount(*found)

    def read_all(self, wanted: TraceFilter, *, after: int, limit: int) -> list[Row]:
        """Traces that fit in the order of creation, from behind the row of a number."""
        conditions = [*_list_conditions(wanted), Condition("number > %s", (after,))]
        return self._select(conditions, f"ORDER BY number LIMIT {limit:d}")

    def count_traces(self) -> Statistics:
        """Count the traces."""
        ((total, retired),) = self.fetch("SELECT count(*), count(*) FILTER (WHERE retired) FROM pathway_traces")
        return Statistics(total, total - retired, retired)

    def read_sources(self, kind: str) -> list[str]:
        """The names of the sources of a kind that traces which are not retired have, each once."""
        query = (
            "SELECT DISTINCT name FROM pathway_sources JOIN pathway_traces USING (number)"
            " WHERE kind = %s AND NOT retired"
        )
        return [bytes(name).decode("utf-8", "surrogatepass") for (name,) in self.fetch(query, (kind,))]

    def list_derived(self, sources: Sequence[Source]) -> Sequence[Sequence[Derived]]:
        """For each source what is not retired and has a source of the same key, in the order of creation."""
        query = (
            "SELECT source_key, number, uid, sources FROM pathway_sources JOIN pathway_traces USING (number)"
            " WHERE source_key = ANY(%s::bytea[]) AND NOT retired ORDER BY number"
        )
        keys = [make_key(source.key) for source in sources]
        found: defaultdict[bytes, list[Derived]] = defaultdict(list)
        for key, number, uid, encoded in self.fetch(query, (keys,)) if keys else ():
            found[bytes(key)].append(Derived(number, uid, bytes(encoded)))
        return [found[key] for key in keys]

    def _read_versions(self, uid: str) -> list[Row]:
        """The trace and some of the versions before it, the newest first."""
        query = (
            "WITH RECURSIVE chain AS ("  # noqa: S608 - constants
            " SELECT traces.*, 1 AS depth FROM pathway_traces AS traces WHERE uid_key = %s"
            " UNION ALL SELECT traces.*, depth + 1 FROM chain"
            " JOIN pathway_traces AS traces ON traces.uid_key = chain.predecessor_key WHERE depth < %s)"
            f" SELECT {_COLUMNS} FROM chain ORDER BY depth"
        )
        return list(map(_make_row, self.fetch(query, (make_key(uid), HISTORY_PAGE))))

    def _find_numbers(self, wanted: TraceFilter, before: int | None) -> range:
        """The numbers between which all rows of the filter's span of time are.

        They ascend with the time of creation, but for clocks that differ. Without the offset the numbers would be read
        in their order, from the first one on.
        """
        first, last = 0, sys.maxsize if before is None else before - 1
        rows = "(SELECT number FROM pathway_traces WHERE created {} %s OFFSET 0) AS spanned"
        if wanted.created_from is not None:
            ((least,),) = self.fetch(f"SELECT min(number) FROM {rows.format('>=')}", (wanted.created_from,))  # noqa: S608
            first = sys.maxsize if least is None else least
        if wanted.created_before is not None:
            ((most,),) = self.fetch(f"SELECT max(number) FROM {rows.format('<')}", (wanted.created_before,))  # noqa: S608
            last = min(last, most or 0)
        return range(first, last + 1)

    def _count(self, found: Sequence[Scan], wanted: TraceFilter, numbers: range) -> Sequence[int]:
        """The rows of each condition between these numbers, at most `MAX_COUNTED`."""
        rows = [_make_scan(scan, wanted, (numbers.start, numbers.stop - 1)) for scan in found]
        counts = (f"(SELECT count(*) FROM ({each.sql} LIMIT {scans.MAX_COUNTED:d}) AS scanned)" for each in rows)  # noqa: S608
        (counted,) = self.fetch(f"SELECT {', '.join(counts)}", [value for each in rows for value in each.values])
        return counted

    def _read_page(
        self, scan: Scan, wanted: TraceFilter, numbers: tuple[int, int], *, page: int, limit: int
    ) -> tuple[int, int, list[Row]]:
        """The newest rows of a scan: the lowest number among them, how many they are, and those that fit."""
        rows = _make_scan(scan, wanted, numbers)
        conditions = _list_conditions(wanted, without=scan)
        where, values = _join(conditions)
        query = (
            f"WITH scanned AS MATERIALIZED ({rows.sql} ORDER BY number DESC LIMIT {page:d}),"  # noqa: S608 - constants
            " page AS (SELECT min(number) AS lowest, count(*) AS length FROM scanned),"
            f" found AS (SELECT {_COLUMNS} FROM scanned JOIN pathway_traces USING (number) {where}"
            f" ORDER BY number DESC LIMIT {limit:d})"
            " SELECT lowest, length, found.* FROM page LEFT JOIN found ON true ORDER BY number DESC"
        )
        found = self.fetch(query, (*rows.values, *values))
        lowest, count = found[0][:2]
        return lowest or 0, count, [_make_row(row[2:]) for row in found if row[2] is not None]

    def _select(self, conditions: Sequence[Condition], rest: str) -> list[Row]:
        where, values = _join(conditions)
        query = f"SELECT {_COLUMNS} FROM pathway_traces {where} {rest}"  # noqa: S608 - constants and numbers
        return list(map(_make_row, self.fetch(query, values)))


def _make_row(found: tuple[Any, ...]) -> Row:
    number, uid, content, predecessor, created, updated, retired, replays, tags, sources, retirement, change = found
    return Row(
        number,
        uid,
        bytes(content),
        predecessor,
        created,
        updated,
        int(retired),
        replays,
        bytes(tags),
        bytes(sources),
        None if retirement is None else bytes(retirement),
        change,
    )


def _make_scan(scan: Scan, wanted: TraceFilter, numbers: tuple[int, int]) -> Condition:
    """The statement that selects the numbers of the rows of a condition between two numbers."""
    if isinstance(scan, Tagged):
        query = "SELECT number FROM pathway_tags WHERE tag_key = %s AND number BETWEEN %s AND %s"
        return Condition(query, (make_key(scan.tag), *numbers))
    state = f"{_make_state(wanted)} AND " if scan == "state" else ""
    return Condition(f"SELECT number FROM pathway_traces WHERE {state}number BETWEEN %s AND %s", numbers)  # noqa: S608


def _make_state(wanted: TraceFilter) -> str:
    return "retired" if wanted.state == "retired" else "NOT retired"


def _list_conditions(wanted: TraceFilter, *, without: Scan = "all") -> list[Condition]:
    """The conditions of a filter, but for the one that is scanned."""
    has_tag = "EXISTS (SELECT 1 FROM pathway_tags WHERE tag_key = %s AND pathway_tags.number = pathway_traces.number)"
    conditions = [Condition(has_tag, (make_key(tag),)) for tag in wanted.tags if without != Tagged(tag)]
    if wanted.state != "all" and without != "state":
        conditions.append(Condition(_make_state(wanted)))
    if wanted.created_from is not None:
        conditions.append(Condition("created >= %s", (wanted.created_from,)))
    if wanted.created_before is not None:
        conditions.append(Condition("created < %s", (wanted.created_before,)))
    return conditions


def _join(conditions: Sequence[Condition]) -> tuple[str, list[object]]:
    """The clause WHERE, and its values."""
    where = f"WHERE {' AND '.join(each.sql for each in conditions)}" if conditions else ""
    return where, [value for each in conditions for value in each.values]
