"""The system tables in a lake: batches, segments, versions of traces, retention, and deletion that is real."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from lakehouse.config import Config, LakeTable, ObserveTable, SystemTablesTable
from lakehouse.services.contracts.query_engine import Query
from lakehouse.services.contracts.row_sources import RecordCount, RowSource, UnsealedRows
from lakehouse.services.host.composition import LakeParts, open_parts
from lakehouse.services.lake.directory import open_directory
from lakehouse.services.observerd.operations import Operation, complete
from lakehouse.services.system_tables import catalog, maintenance, store
from lakehouse.services.system_tables.catalog import SystemTables
from lakehouse.services.system_tables.database import SystemDatabase
from lakehouse.telemetry.traffic_ipc import Batch, Rows
from tools.kit.matrices import spread

NOW = time.time()
DAY = 86_400.0


class Lake:
    """An open lake with its system tables."""

    def __init__(self, parts: LakeParts) -> None:
        assert parts.system_tables is not None
        self.parts = parts
        self.system: SystemTables = parts.system_tables
        self._numbers = count(1)

    async def append(self, table: str, *rows: Mapping[str, object], age: float = 0.0, number: int = 0) -> None:
        """Store rows of a worker, all with the same time."""
        at = NOW - age
        lines = b"".join(json.dumps({"time": rfc3339(at), **row}).encode() + b"\n" for row in rows)
        batch = Batch("a worker", number or next(self._numbers), {table: Rows(len(rows), at, at, lines)})
        assert await self.system.store.append(batch)

    async def ask(self, sql: str) -> list[Any]:
        """The rows of a statement; only the value where a row has one."""
        async with self.parts.query_engine.run(Query(sql=sql, format="json")) as result:
            data = b"".join([piece async for piece in result])
        rows: list[list[Any]] = json.loads(b"[" + data.rstrip(b",") + b"]")
        return [row[0] if len(row) == 1 else row for row in rows]

    def files(self, pattern: str = "*") -> list[Path]:
        return sorted(self.system.store.directory.system.glob(pattern))


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def request(number: int, **members: object) -> dict[str, object]:
    return {"request_id": f"r{number}", "route": "/x", "status": 200, "outcome": "answered", "total_ms": 5.0, **members}


@asynccontextmanager
async def open_tables(path: Path, **table: Any) -> AsyncIterator[Lake]:
    config = Config(
        lake=LakeTable(engines=1, memory=str(900 * 2**20)),
        observe=ObserveTable(system_tables=SystemTablesTable(**table)),
    )
    async with open_directory(path / "lake") as directory, open_parts(directory, config) as parts:
        yield Lake(parts)


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a few rows."""
    monkeypatch.setattr(catalog, "MAX_UNSEALED", 4)
    monkeypatch.setattr(maintenance, "MAX_UNSEALED", 4)
    monkeypatch.setattr(maintenance, "MAX_SEALED", 10)
    monkeypatch.setattr(maintenance, "MAX_SMALL", 3)
    return


@pytest.mark.usefixtures("small_segments")
async def test_rows_are_there_once_as_lines_as_segments_and_after_a_restart(tmp_path: Path) -> None:
    async with open_tables(tmp_path) as lake:
        expected: list[str] = []
        for number in range(1, 31):
            await lake.append("requests", request(number), number=number)
            await lake.append("requests", request(number), number=number)  # a repeated batch has no effect
            expected.append(f"r{number}")
            if number % 3 == 0:
                assert (
                    await lake.ask("SELECT request_id FROM lakehouse.requests ORDER BY len(request_id), request_id")
                    == expected
                )
        assert lake.files("*.parquet") != []
        assert len(lake.files()) <= 5  # merged segments, and the lines of the last query
        stray = lake.system.store.directory.system / "requests-of-a-killed-process.parquet"
        stray.write_bytes(b"half")
    async with open_tables(tmp_path) as lake:
        assert not stray.exists()
        assert lake.files("*.ndjson") == []
        assert await lake.ask("SELECT count(*), count(DISTINCT request_id) FROM lakehouse.requests") == [[30, 30]]
        manifest = await lake.system.find("lakehouse/requests")
        assert manifest is not None
        assert manifest.row_count == 30


@pytest.mark.extended
async def test_the_tables_of_a_statement_have_the_same_batches(tmp_path: Path) -> None:
    at = rfc3339(NOW)
    line = json.dumps({"time": at, "request_id": "r"}).encode() + b"\n"
    rows = Rows(1, NOW, NOW, line)
    different = "SELECT (SELECT count(*) FROM lakehouse.requests) - (SELECT count(*) FROM lakehouse.dropped_rows)"
    async with open_tables(tmp_path) as lake, trio.open_nursery() as nursery:

        async def append() -> None:
            for number in count(1):
                await lake.system.store.append(Batch("another", number, {"requests": rows, "dropped_rows": rows}))
                await trio.lowlevel.checkpoint()

        nursery.start_soon(append)
        for _ in range(30):
            assert await lake.ask(different) == [0]
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("small_segments")
async def test_a_statement_writes_segments_of_the_tables_that_it_names_and_of_no_other(tmp_path: Path) -> None:
    rows = [request(number, session="s") for number in range(6)]
    async with open_tables(tmp_path) as lake:

        def sealed() -> set[str]:
            return {file.name.partition("-")[0] for file in lake.files("*.parquet")}

        for table in ("requests", "dropped_rows"):
            lines = b"".join(json.dumps({"time": rfc3339(NOW)} | row).encode() + b"\n" for row in rows)
            await lake.system.store.run(
                partial(SystemDatabase.append, batch=Batch(table, 1, {table: Rows(6, NOW, NOW, lines)}))
            )
        assert await lake.ask("SELECT count(*) FROM Lakehouse.DROPPED_ROWS") == [6]
        assert sealed() == {"dropped_rows"}
        assert await lake.ask("SELECT requests FROM memory.lakehouse.sessions") == [6]
        assert sealed() == {"dropped_rows", "requests"}


async def test_tables_are_joined_and_sessions_are_sums(tmp_path: Path) -> None:
    async with open_tables(tmp_path) as lake:
        assert await lake.ask("SELECT * FROM lakehouse.requests, lakehouse.sessions, lakehouse.dropped_rows") == []
        await lake.append(
            "requests",
            request(1, session="s", agent="a", input_tokens=10, cost_usd=0.5, attempt_count=2, left_out=["top_k"]),
            request(2, session="s", agent="b", status=500, input_tokens=5, attempt_count=1),
            request(3, level="info", event="request"),  # members of the log line that are no columns
        )
        attempts = [
            {"upstream": "kimi", "model": "k2", "started": 100.001, "ended": 100.0025, "error": "timeout"},
            {"upstream": "kimi", "model": "k2", "started": 100.003, "ended": 100.0045},
        ]
        await lake.append("requests", request(4, attempts={"began": 100.0, "records": attempts}))
        sums = "SELECT session, requests, failed, attempts, agents, input_tokens, cost_usd FROM lakehouse.sessions"
        assert await lake.ask(sums) == [["s", 2, 1, 3, 2, 15, 0.5]]
        assert await lake.ask(
            "SELECT r.request_id, a.number, a.result FROM lakehouse.requests r JOIN lakehouse.attempts a USING (request_id) "
            "ORDER BY number"
        ) == [["r4", 1, "timeout"], ["r4", 2, "ok"]]
        assert await lake.ask("SELECT left_out FROM lakehouse.requests WHERE request_id = 'r1'") == [["top_k"]]
        listed = await lake.ask("SELECT table_name FROM information_schema.tables WHERE table_schema = 'lakehouse'")
        assert sorted(listed) == sorted(manifest.name.partition("/")[2] for manifest in await lake.system.list())
        for manifest in await lake.system.list():
            described = await lake.ask(f"DESCRIBE SELECT * FROM {manifest.name.replace('/', '.')}")
            assert [row[:2] for row in described] == [[column.name, column.type] for column in manifest.columns]


@pytest.mark.parametrize("sealed", [False, True], ids=["lines", "a segment"])
async def test_attempts_are_rows_with_their_times(tmp_path: Path, *, sealed: bool) -> None:
    records = [
        {
            "upstream": "kimi",
            "model": "k2",
            "started": 100.001,
            "ended": 100.0025,
            "status": 529,
            "error": "overloaded",
        },
        {"upstream": "ollama", "model": "m", "started": 100.003, "why": "fallback", "first_piece": 100.0041},
    ]
    async with open_tables(tmp_path) as lake:
        await lake.append("requests", request(1, attempts={"began": 100.0, "records": records}), request(2))
        await lake.append("requests", request(3, attempts={"began": 7.5, "records": [records[0] | {"started": 7.5}]}))
        if sealed:
            for table in lake.system.maintenance.list_stored():
                await lake.system.maintenance.seal(table, above=0)
            assert [path.suffix for path in lake.files("requests*")] == [".parquet"]
        columns = "request_id, number, provider, model, reason, result, status, first_piece_ms, total_ms"
        assert await lake.ask(f"SELECT {columns} FROM lakehouse.attempts WHERE request_id = 'r1' ORDER BY number") == [
            ["r1", 1, "kimi", "k2", "first", "overloaded", 529, None, 1.5],
            ["r1", 2, "ollama", "m", "fallback", "cancelled", None, 1.1, 2.0],  # it ran to the end of the request
        ]
        began = "a.time - (r.time - INTERVAL 5 MILLISECOND)"  # a request takes 5 ms
        assert await lake.ask(
            f"SELECT request_id, date_part('microseconds', {began}) FROM lakehouse.attempts a "
            "JOIN lakehouse.requests r USING (request_id) ORDER BY request_id, number"
        ) == [["r1", 1000], ["r1", 3000], ["r3", 0]]
        assert await lake.ask("SELECT count(*) FROM lakehouse.attempts") == [3]
        assert "attempts" not in [row[0] for row in await lake.ask("DESCRIBE lakehouse.requests")]


@pytest.mark.usefixtures("small_segments")
async def test_traces_are_as_they_are_now_and_operations_all_there(tmp_path: Path) -> None:
    newest = "SELECT uid, content, retired, replay_count FROM lakehouse.pathway_traces ORDER BY uid"
    async with open_tables(tmp_path) as lake:
        traces = lake.parts.traces.store
        for uid in "abcdefgh":
            await traces.add(b'{"old":1}', uid=uid, tags=["t"])
        assert len(await lake.ask(newest)) == 8
        assert lake.files("pathway_traces-*.parquet") != []
        await traces.update("a", b'{"new":1}')
        await traces.retire("b", reason="wrong")
        assert (await lake.ask(newest))[:3] == [
            ["a", '{"new":1}', False, 0],
            ["b", '{"old":1}', True, 0],
            ["c", '{"old":1}', False, 0],
        ]
        assert await lake.ask("SELECT retired_because FROM lakehouse.pathway_traces WHERE retired") == ["wrong"]
        for _ in range(40):
            await traces.add(b"{}", uid="c", replay=True)
            await lake.ask(newest)
        assert (await lake.ask(newest))[2] == ["c", '{"old":1}', False, 40]
        status = await lake.system.store.read_status(lake.system.store.tables["pathway_traces"])
        assert sum(segment.rows for segment in status.segments) < 40  # former versions do not pile up

        times = ["2026-11-28T10:00:00Z", "yesterday", "0001-01-01T00:00:00+14:00"]
        operations: Sequence[Operation] = [
            complete(Operation(endpoint="/x", timestamp=at, count=2**70)) for at in times
        ]
        await lake.parts.operations.record(operations)
        found = "SELECT number, CAST(time AS VARCHAR), count FROM lakehouse.observer_ops ORDER BY number"
        assert await lake.ask(found) == [[1, "2026-11-28 10:00:00+00", None], [2, None, None], [3, None, None]]


class Moved:
    """Records that are kept elsewhere now, and had fewer changes before."""

    def __init__(self, source: RowSource, store: str, last: int) -> None:
        self._source = source
        self._state = RecordCount(1, last, store)

    async def count(self, after: int) -> RecordCount:
        return self._state._replace(newer=1 if after < self._state.last else 0)

    async def read(self, after: int, *, limit: int) -> UnsealedRows:
        return replace(await self._source.read(after, limit=1), mark=self._state.last)


@pytest.mark.extended
@pytest.mark.usefixtures("small_segments")
async def test_segments_of_other_records_are_forgotten(tmp_path: Path) -> None:
    found = "SELECT uid FROM lakehouse.pathway_traces ORDER BY uid"
    async with open_tables(tmp_path) as lake:
        for uid in "abcdef":
            await lake.parts.traces.store.add(b"{}", uid=uid)
        assert await lake.ask(found) == list("abcdef")
        assert lake.files("pathway_traces-*.parquet") != []
        sources = lake.system.store._sources
        assert isinstance(sources, dict)
        local = sources["pathwayd"]
        for store, last in (("another", 6), ("another", 3), ("", 6)):
            sources["pathwayd"] = Moved(local, store, last)
            assert await lake.ask(found) == ["a"]
            assert lake.files("pathway_traces-*.parquet") == []
            await lake.system.maintenance.seal(lake.system.store.tables["pathway_traces"], above=0)
            assert await lake.ask(found) == ["a"]
            assert lake.files("pathway_traces-*.parquet") != []
        sources["pathwayd"] = local


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("sealed", spread([True, False], 2), ids=["segments", "batches"])
async def test_the_contents_of_old_rows_are_nowhere_in_the_folder(tmp_path: Path, *, sealed: bool) -> None:
    secret, kept = "a secret of yesterday", "a text of today"
    async with open_tables(tmp_path, contents=True, contents_retention=DAY, retention=2 * DAY) as lake:
        old = [{"request_id": f"r{number}", "messages": f"{secret} {number}"} for number in range(6 if sealed else 2)]
        await lake.append("contents", *old, age=0.5 * DAY)
        await lake.append("contents", {"request_id": "new", "messages": kept})
        await lake.append("requests", request(1), age=0.5 * DAY)
        await lake.append("requests", request(2), age=1.5 * DAY)
        assert await lake.ask("SELECT count(*) FROM lakehouse.contents") == [len(old) + 1]
        assert (lake.files("contents-*.parquet") != []) is sealed
        assert sealed or find_text(tmp_path, secret)  # a segment is compressed
        await lake.system.maintenance.expire(NOW + 0.6 * DAY)
        assert await lake.ask("SELECT request_id FROM lakehouse.contents") == ["new"]
        assert await lake.ask("SELECT request_id FROM lakehouse.requests") == ["r1"]
        remaining = "SELECT messages FROM lakehouse.contents WHERE messages LIKE '%secret%'"
        assert await lake.ask(remaining) == []
        assert len(lake.files("contents-*.parquet")) <= 1
        assert not find_text(tmp_path, secret)
    async with open_tables(tmp_path, contents=False):
        assert not find_text(tmp_path, kept)
        assert list((tmp_path / "lake/system").glob("contents-*")) == []


def find_text(folder: Path, text: str) -> bool:
    """Whether any file below a folder has a text, as it is."""
    return any(text.encode() in file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.usefixtures("small_segments")
async def test_the_oldest_rows_beyond_the_limit_go(tmp_path: Path) -> None:
    async with open_tables(tmp_path, max_rows=12) as lake:
        for number in range(1, 26):
            await lake.append("requests", request(number), age=100.0 - number)
            await lake.ask("SELECT count(*) FROM lakehouse.requests")
        await lake.system.maintenance.expire(NOW)
        found = await lake.ask("SELECT CAST(substr(request_id, 2) AS INTEGER) AS n FROM lakehouse.requests ORDER BY n")
        assert 1 <= len(found) <= 12
        assert found == list(range(26 - len(found), 26))


@pytest.mark.usefixtures("small_segments")
async def test_a_file_stays_until_the_queries_that_may_read_it_have_ended(tmp_path: Path) -> None:
    async with open_tables(tmp_path) as lake:
        await lake.append("requests", request(1))
        with lake.system.hold_files():
            plan = await lake.system.plan("lakehouse/requests")
            path = tmp_path / "lake" / plan.files[0].path
            await lake.append("requests", *map(request, range(2, 7)))
            with trio.fail_after(20):
                assert await lake.ask("SELECT count(*) FROM lakehouse.requests") == [6]
            assert path.exists()
        assert not path.exists()
        assert len(lake.files()) == 1


@pytest.mark.extended
async def test_rows_that_no_query_reads_become_a_segment_and_so_do_many_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_FILES", 3)
    monkeypatch.setattr(store, "MAX_SEALED", 10)
    monkeypatch.setattr(maintenance, "MAX_SEALED", 10)
    async with open_tables(tmp_path) as lake:
        await lake.append("requests", *map(request, range(11)))
        with trio.fail_after(20):
            while not lake.files("*.parquet"):
                await trio.sleep(0.01)
        for number in range(11, 20):
            await lake.append("requests", request(number))
            assert await lake.ask("SELECT count(*) FROM lakehouse.requests") == [number + 1]
            assert len(lake.files("*.ndjson")) <= 4


def fail(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_half(descriptor: int, data: memoryview) -> int:
    if len(data) < 100:
        fail()
    return os.pwrite(descriptor, data[:-50], 0)  # the file is opened to append


@pytest.mark.parametrize(
    ("place", "name", "replacement"),
    spread([(os, "write", write_half), (os, "fdatasync", fail), (SystemDatabase, "_record_rows", fail)], 3),
    ids=["a part is written", "it is not synced", "it is not recorded"],
)
async def test_a_batch_that_could_not_be_stored_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: object, name: str, replacement: object
) -> None:
    ask = "SELECT request_id FROM lakehouse.requests ORDER BY request_id"
    async with open_tables(tmp_path) as lake:
        await lake.append("requests", request(1), number=1)
        for number, before in ((2, ["r1"]), (3, ["r1", "r2"])):
            with monkeypatch.context() as full_disk:
                full_disk.setattr(place, name, replacement)
                with pytest.raises(AssertionError):
                    await lake.append("requests", request(number), number=number)
            assert await lake.ask(ask) == before
            await lake.append("requests", request(number), number=number)
        assert await lake.ask(ask) == ["r1", "r2", "r3"]


async def test_half_a_batch_of_a_killed_process_does_not_count(tmp_path: Path) -> None:
    async with open_tables(tmp_path) as lake:
        await lake.append("requests", request(1))
        [file] = lake.files("*.ndjson")
    with file.open("ab") as left:
        left.write(b'{"request_id": "r2"}\n{"request')
    async with open_tables(tmp_path) as lake:
        assert await lake.ask("SELECT request_id FROM lakehouse.requests") == ["r1"]
        await lake.append("requests", request(3), number=2)
        assert sorted(await lake.ask("SELECT request_id FROM lakehouse.requests")) == ["r1", "r3"]


@pytest.mark.extended
async def test_a_copy_that_lacks_files_has_the_rows_of_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ask = "SELECT request_id FROM lakehouse.requests"
    async with open_tables(tmp_path) as lake:
        files: dict[str, Path] = {}
        for number in (1, 2, 3):
            await lake.append("requests", request(number))
            [files[f"r{number}"]] = set(lake.files("*.ndjson")) - set(files.values())
            assert f"r{number}" in await lake.ask(ask)  # which ends the growth of the file
    files["r1"].unlink()
    os.truncate(files["r2"], files["r2"].stat().st_size - 1)
    async with open_tables(tmp_path) as lake:
        assert await lake.ask(ask) == ["r3"]
        assert caplog.text.count("1 rows of requests are lost") == 2
