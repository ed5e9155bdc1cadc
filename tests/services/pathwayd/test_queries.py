"""A search lists what its filter says, whichever condition it scans, also after the clock was set back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from random import Random

import pytest

from lakehouse.services.lake.database import connect
from lakehouse.services.pathwayd import postgres_database, scans
from lakehouse.services.pathwayd.changes import Add, Retire
from lakehouse.services.pathwayd.postgres_reads import PostgresReads
from lakehouse.services.pathwayd.sqlite_database import TraceDatabase
from lakehouse.services.pathwayd.sqlite_reads import SqliteReads
from lakehouse.services.pathwayd.trace_rows import State, TraceFilter, TraceReads, make_trace
from lakehouse.services.pathwayd.traces import Trace
from lakehouse.services.postgres.session import Session

COUNT = 300
TAGS: tuple[tuple[str, ...], ...] = ((), ("all",), ("rare",), ("all", "rare"), ("rare", "all"), ("all", "half", "none"))
STATES: tuple[State, ...] = ("active", "retired", "all")
TIMES = (None, 0, 90, 1_050, 10**9)


@pytest.fixture(scope="module", params=["folder", "postgres"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceReads]:
    if request.param == "folder":
        path = tmp_path_factory.mktemp("traces") / "pathway.db"
        database = TraceDatabase(path, clock=Clock())
        assert not any(outcome.error for outcome in database.apply(make_changes()))
        database.close()
        with closing(connect(path)) as reader:
            yield SqliteReads(reader)
    else:
        psycopg2 = pytest.importorskip("psycopg2")

        with closing(psycopg2.connect(request.getfixturevalue("postgres").create_database())) as connection:
            session = Session(connection)
            for script in postgres_database.SCRIPTS:
                session.execute(script)
            outcomes, _ = postgres_database.apply_changes(session, make_changes(), Clock())
            assert not any(outcome.error for outcome in outcomes)
            yield PostgresReads(session)


class Clock:
    """A clock that is set back once."""

    def __init__(self) -> None:
        self._times: Iterator[int] = itertools.chain(range(1_000, 1_000 + COUNT), range(COUNT))

    def __call__(self) -> int:
        return next(self._times)


def make_changes() -> list[Add | Retire]:
    draw = Random(7)
    changes: list[Add | Retire] = []
    for number in range(COUNT):
        tags = ["all", *(["half"] if draw.random() < 0.5 else []), *(["rare"] if number % 40 == 3 else [])]
        changes.append(Add(uid=f"t{number}", content=b"1", tags=tags))
        if draw.random() < 0.2:
            changes.append(Retire(uid=f"t{number}"))
    return changes


@pytest.mark.parametrize("counted", [1, 20, 2_000])
def test_a_search_lists_the_newest_that_fit(filled: TraceReads, counted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "MAX_COUNTED", counted)
    newest = [make_trace(row) for row in filled.search_rows(TraceFilter(state="all"), limit=1_000)]
    assert [trace.uid for trace in newest] == [f"t{number}" for number in reversed(range(COUNT))]
    for tags, state, first, last, before in itertools.product(TAGS, STATES, TIMES, TIMES, (None, 150)):
        wanted = TraceFilter(tags=tags, state=state, created_from=first, created_before=last)
        fitting = [trace for trace in newest[COUNT - (before or COUNT + 1) + 1 :] if _fits(trace, wanted)]
        for limit in (3, 1_000):
            rows = filled.search_rows(wanted, limit=limit, before=before)
            assert [row.uid for row in rows] == [trace.uid for trace in fitting[:limit]], (wanted, limit)


def test_traces_of_ids_are_listed_in_their_order(filled: TraceReads) -> None:
    rows = filled.select_rows(["t43", "none", "t3", "t4"], TraceFilter(tags=["rare"], state="all"))
    assert [row.uid for row in rows] == ["t43", "t3"]
    counted = filled.count_traces()
    assert (counted.total, counted.active + counted.retired) == (COUNT, COUNT)
    assert counted.retired == len(filled.search_rows(TraceFilter(state="retired"), limit=COUNT))


def _fits(trace: Trace, wanted: TraceFilter) -> bool:
    tags = trace.tags if isinstance(trace.tags, tuple) else ()
    return (
        set(wanted.tags) <= set(tags)
        and (wanted.state == "all" or trace.retired == (wanted.state == "retired"))
        and (wanted.created_from is None or trace.created_at_ns >= wanted.created_from)
        and (wanted.created_before is None or trace.created_at_ns < wanted.created_before)
    )
