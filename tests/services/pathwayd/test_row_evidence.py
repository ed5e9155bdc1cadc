"""A trace ends with the rows of a table that it was derived from, whatever has removed them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.config import Config, LakeTable
from lakehouse.services.contracts.traces import end_rows
from lakehouse.services.host.composition import LakeParts, make_apps, open_parts
from lakehouse.services.lake.directory import open_directory
from lakehouse.services.pathwayd.records import open_local_records
from lakehouse.services.pathwayd.service import Traces
from lakehouse.services.pathwayd.store import TraceStore
from lakehouse.services.pathwayd.table_rows import TableRows, group_rows
from lakehouse.services.pathwayd.traces import RowValues, Source
from tools.kit.raw_http import serve_app

CSV = b"id,shop,sold\n1,north,10\n2,south,20\n3,south,30\n"
SERVICES = {"pathway": "pathwayd", "catalog": "catalogd", "ingest": "ingestd"}


class Lake:
    """The services of a lake over HTTP."""

    def __init__(self, parts: LakeParts, http: httpx.AsyncClient) -> None:
        self.store = parts.traces.store
        self.rows = TableRows(parts.query_engine)
        self._http = http

    async def post(self, path: str, document: object = None, *, body: bytes | None = None, status: int = 200) -> Any:
        sent = {"content": body} if body is not None else {"json": document}
        answer = await self._http.post(path, timeout=60, **sent)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def derive(self, uid: str, row: object, status: int = 200) -> Any:
        """Add a trace that was derived from a row of the table `sales`."""
        source = {"table": "sales", "snapshot": "1", "row": row}
        return await self.post("/pathway/add", {"uid": uid, "content": uid, "sources": [source]}, status=status)

    async def list_active(self) -> list[str]:
        found = await self.post("/pathway/search", {})
        return sorted(trace["uid"] for trace in found["traces"])


@asynccontextmanager
async def open_lake(path: Path) -> AsyncIterator[Lake]:
    config = Config(lake=LakeTable(engines=1, memory=str(900 * 2**20)))
    async with open_directory(path / "lake") as directory, open_parts(directory, config) as parts:
        apps = make_apps(parts)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await apps[SERVICES[scope["path"].split("/")[1]]](scope, receive, send)

        async with (
            serve_app(app, lifetime=True) as server,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as http,
        ):
            yield Lake(parts, http)


async def test_a_trace_ends_with_its_rows_and_says_which(tmp_path: Path) -> None:
    async with open_lake(tmp_path) as lake:
        first = await lake.post("/ingest?name=sales", body=CSV, status=201)
        await lake.derive("one", {"id": 1})
        await lake.derive("two", {"shop": "south", "sold": 20})
        await lake.derive("shop", {"shop": "south"})
        await lake.derive("label", "row 2")
        await lake.post("/pathway/add", {"uid": "leaf", "content": 1, "sources": [{"trace": "two"}]})
        # One transaction for the rows that are gone and all that is derived from them; another row of the shop is left.
        deleted = await lake.post("/catalog/tables/sales/delete", {"where": "sold = 20"})
        assert (deleted["rows_deleted"], deleted["retired"]) == (1, ["two", "leaf"])
        trace = (await lake.store.get("two")).retirement
        assert (trace.reason, trace.source.row) == ("the row was deleted", {"shop": "south", "sold": 20})  # type: ignore[union-attr]
        assert "retired" not in await lake.post("/catalog/tables/sales/delete", {"where": "sold = 20"})
        replaced = await lake.post("/ingest?name=sales", body=b"id,shop,sold\n1,north,10\n")
        assert replaced["retired"] == ["shop"]
        assert await lake.list_active() == ["label", "one"]
        await lake.post("/catalog/tables/sales/restore", {"snapshot_id": first["snapshot_id"]})
        assert await lake.list_active() == ["label", "one"]  # what is retired stays retired
        upserted = await lake.post("/ingest?name=sales&mode=upsert&key=sold", body=b"id,shop,sold\n7,north,10\n")
        assert upserted["retired"] == ["one"]
        retired = await lake.post("/pathway/retire", {"source": {"table": "sales", "row": "another"}})
        assert retired == {"retired": []}
        assert await lake.post("/pathway/retire", {"source": {"table": "sales", "row": "row 2"}}) == {
            "retired": ["label"]
        }


async def test_rows_that_are_not_there_are_no_source(tmp_path: Path) -> None:
    async with open_lake(tmp_path) as lake:
        await lake.post("/ingest?name=sales", body=CSV, status=201)
        for row, status in (({"id": 9}, 404), ({"nothing": 1}, 400), ({}, 400), ({"id": "many"}, 400)):
            error = (await lake.derive("a", row, status))["error"]
            assert "`sources[0].row`" in error["message"]
        await lake.derive("a", {"id": 3, "shop": "south"})


@pytest.mark.extended
async def test_many_rows_are_looked_for_at_once_and_compared_by_their_columns_types(tmp_path: Path) -> None:
    async with open_lake(tmp_path) as lake:
        csv = b"id,wanted,position,day\n1,north,0.5,2026-01-02\n9007199254740993,south,,2026-01-03\n"
        await lake.post("/ingest?name=wanted", body=csv, status=201)
        rows = lake.rows
        numbers: list[RowValues] = [{"id": number, "wanted": "north"} for number in range(2000)]
        assert await rows.find_missing("wanted", numbers) == [*numbers[:1], *numbers[2:]]
        there: list[RowValues] = [
            {"day": "2026-01-02"},
            {"position": None},
            {"position": 0.5},
            {"id": 2**53 + 1},
            {"id": "1"},
        ]
        gone: list[RowValues] = [
            {"day": "2026-01-04"},
            {"wanted": None},
            {"position": 0},
            {"id": 2**53},
            {"id": 1.5},
            {"id": "2"},
        ]
        missing = [row for group in group_rows([*there, *gone]) for row in await rows.find_missing("wanted", group)]
        assert sorted(missing, key=gone.index) == gone


class SlowTraces(Traces):
    """Compares rows until it is cancelled."""

    def __init__(self) -> None: ...

    async def end_rows(self, name: str) -> Sequence[str]:
        await trio.sleep_forever()


async def test_a_comparison_that_takes_too_long_is_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    assert await end_rows(SlowTraces(), "sales") == ()
    assert [record.getMessage() for record in caplog.records] == [
        "traces were not compared with the rows of sales within 10 s: the next start compares the rest"
    ]


class FakeRows(TableRows):
    """Rows that all are there, but for those in `gone`."""

    def __init__(self) -> None:
        self.gone: list[RowValues] = []
        self.asked = 0

    async def find_missing(self, table: str, rows: Sequence[RowValues]) -> list[RowValues]:
        self.asked += len(rows)
        return [row for row in rows if row in self.gone]


async def test_a_trace_asks_for_its_own_rows_and_all_are_retired_in_one_pass(tmp_path: Path) -> None:
    count, rows = 100, FakeRows()
    async with open_directory(tmp_path / "lake") as directory, open_local_records(directory) as records:
        store = TraceStore(records, {}, rows)
        for number in range(count):
            await store.add(b"1", uid=str(number), sources=[Source(table="sales", row={"id": number, "shop": "a"})])
        assert rows.asked == 2 * count, "before and after each is written"
        await store.add(b"1", uid="leaf", sources=[Source(trace="0")])
        rows.gone = [{"shop": "a", "id": number} for number in range(1, count)]
        assert await store.retire_missing_rows("sales") == [str(number) for number in range(1, count)]
        rows.gone.append({"shop": "a", "id": 0})
        assert await store.retire_missing_rows("sales") == ["0", "leaf"]


async def test_rows_that_ended_before_a_crash_are_found_at_the_start(tmp_path: Path) -> None:
    rows = FakeRows()

    async def exists(_: str) -> bool:
        return True

    async with open_directory(tmp_path / "lake") as directory, open_local_records(directory) as records:
        store = TraceStore(records, {"table": exists}, rows)
        for number in (1, 2):
            await store.add(b"1", uid=str(number), sources=[Source(table="sales", row={"id": number})])
    rows.gone = [{"id": 1}]  # the process ended before it told the store
    async with open_directory(tmp_path / "lake") as directory, open_local_records(directory) as records:
        store = TraceStore(records, {"table": exists}, rows)
        assert await store.retire_orphans() == ["1"]
        assert await store.retire_orphans() == []


@pytest.mark.extended
async def test_a_crash_behind_a_deletion_is_found_at_the_start(tmp_path: Path) -> None:
    async with open_lake(tmp_path) as lake:
        await lake.post("/ingest?name=sales", body=CSV, status=201)
        await lake.derive("one", {"id": 1})
        await lake.derive("two", {"id": 2})
        lake.store.retire_missing_rows = _forget  # type: ignore[method-assign,assignment] # as if the process ended here
        await lake.post("/catalog/tables/sales/delete", {"where": "id = 1"})
    async with open_lake(tmp_path) as again:
        with trio.fail_after(20):
            while await again.list_active() != ["two"]:
                await trio.sleep(0.02)


async def _forget(*_args: object) -> list[str]:
    return []
