"""What the tests of SQL share: tables of Parquet files, and queryd over HTTP as the services process has it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, cast

import duckdb
import httpx
import trio

from lakehouse.config import LakeTable, QuerydTable
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.errors import ErrNotFound
from lakehouse.services.contracts.catalog import Column, Manifest, Snapshot
from lakehouse.services.contracts.tables import DataFile, TableField, TablePlan, Tables
from lakehouse.services.engines.query import DuckdbQueryEngine, open_query_engine
from lakehouse.services.host.app import make_host_app
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.queryd.app import make_queryd_app
from lakehouse.services.tables.names import check_name
from tools.kit.gateway_services import serve_ours
from tools.kit.http_stream import HttpStream

PEOPLE = """
    SELECT * FROM (VALUES (1, 'Alice', 'Chicago', 'engineer', 90), (2, 'Bob', 'Houston', 'engineer', 84),
    (3, 'Barbara', 'Houston', 'safety', 95), (4, 'Dan', 'Chicago', 'manager', 78), (5, 'Eve', 'Boston', 'analyst', 88))
    AS people(id, name, city, role, score)
"""


@dataclass
class FileTables:
    """Tables (the reading half of the contract) over Parquet files that the test has written."""

    path: Path
    plans: dict[str, list[TablePlan]] = field(default_factory=dict)
    numbers: Any = field(default_factory=lambda: count(1))

    def write(self, name: str, *selects: str, deletes: Sequence[int] = ()) -> TablePlan:
        """Make a new snapshot of a table with a file for each SELECT; `deletes` are positions in the last file."""
        with duckdb.connect() as connection:
            described = connection.execute(f"DESCRIBE {selects[0]}").fetchall()
            fields = [TableField(id=i, name=row[0], type=row[1]) for i, row in enumerate(described, 1)]
            files = [self._write_file(connection, name, fields, select) for select in selects]
            if deletes:
                last = files.pop()
                rows = ", ".join(f"('{last.path}', {position}::BIGINT)" for position in deletes)
                marks = self._new_path(name)
                connection.execute(
                    f"COPY (FROM (VALUES {rows}) t(file_path, pos)) TO '{self.path / marks}' (FORMAT parquet)"
                )
                files.append(
                    DataFile(path=last.path, size=last.size, rows=last.rows, deletes=[marks], recorded_path=last.path)
                )
        return self.publish(name, fields, files)

    def publish(self, name: str, fields: Sequence[TableField], files: Sequence[DataFile]) -> TablePlan:
        """Make a new snapshot of a table out of given files."""
        plan = TablePlan(
            name=name,
            snapshot_id=str(9_000_000_000_000_000_000 + next(self.numbers)),
            fields=fields,
            files=files,
            row_count=sum(file.rows for file in files),
        )
        self.plans.setdefault(name, []).append(plan)
        return plan

    def _new_path(self, name: str) -> str:
        path = f"datasets/{name}/data/{next(self.numbers)}.parquet"
        (self.path / path).parent.mkdir(parents=True, exist_ok=True)
        return path

    def _write_file(
        self, connection: duckdb.DuckDBPyConnection, name: str, fields: Sequence[TableField], select: str
    ) -> DataFile:
        path = self._new_path(name)
        ids = ", ".join(
            f'"{column.name}": {column.id}'
            for column in fields
            if "STRUCT" not in column.type and "[" not in column.type
        )
        connection.execute(f"COPY ({select}) TO '{self.path / path}' (FORMAT parquet, FIELD_IDS {{{ids}}})")
        rows = connection.execute(f"SELECT count(*) FROM '{self.path / path}'").fetchall()[0][0]
        return DataFile(path=path, size=(self.path / path).stat().st_size, rows=rows)

    async def plan(self, name: str, *, snapshot_id: str | None = None) -> TablePlan:
        """The contract's `plan`."""
        await trio.lowlevel.checkpoint()
        check_name(name)
        if name not in self.plans:
            raise ErrNotFound(f"there is no table {name!r}")
        for plan in reversed(self.plans[name]):
            if snapshot_id in (None, plan.snapshot_id):
                return plan
        raise ErrNotFound(f"the table {name!r} has no snapshot {snapshot_id}")

    async def find(self, name: str, *, snapshot_id: str | None = None) -> Manifest | None:
        """The contract's `find`."""
        await trio.lowlevel.checkpoint()
        check_name(name)
        return _manifest(self.plans[name][-1]) if name in self.plans else None

    async def snapshots(self, name: str) -> Sequence[Snapshot]:
        """The contract's `snapshots`."""
        await trio.lowlevel.checkpoint()
        return [
            Snapshot(
                snapshot_id=plan.snapshot_id,
                committed_at=datetime.now(UTC),
                operation="overwrite",
                row_count=plan.row_count,
            )
            for plan in reversed(self.plans[name])
        ]

    async def list(self) -> Sequence[Manifest]:
        """The contract's `list`."""
        await trio.lowlevel.checkpoint()
        return [_manifest(plans[-1]) for _, plans in sorted(self.plans.items())]


def _manifest(plan: TablePlan) -> Manifest:
    now = datetime.now(UTC)
    return Manifest(
        dataset_id="",
        name=plan.name,
        schema_fingerprint="",
        snapshot_id=plan.snapshot_id,
        columns=[Column(name=column.name, type=column.type) for column in plan.fields],
        objects=[],
        row_count=plan.row_count,
        created_at=now,
        updated_at=now,
    )


@dataclass
class Sql:
    """queryd over HTTP, and the engine behind it."""

    client: httpx.AsyncClient
    engine: DuckdbQueryEngine
    tables: FileTables
    address: tuple[str, int]

    @asynccontextmanager
    async def begin(self, sql: str, accept: str) -> AsyncIterator[HttpStream]:
        """A connection on which a statement was sent and the head of its response, 200, has come."""
        async with HttpStream(await trio.open_tcp_stream(*self.address)) as stream:
            await stream.send(_raw_request(sql, accept))
            start, _ = await stream.head()
            assert b" 200 " in start, start
            yield stream

    async def leave(self, sql: str, accept: str, *, after: float) -> None:
        """Send a statement, and close the connection after some seconds."""
        async with HttpStream(await trio.open_tcp_stream(*self.address)) as stream:
            await stream.send(_raw_request(sql, accept))
            await trio.sleep(after)

    async def post(self, sql: str, accept: str = "application/json", **more: object) -> httpx.Response:
        """The response to a statement."""
        return await self.client.post("/sql", json={"sql": sql, **more}, headers={"accept": accept})

    async def rows(self, sql: str, **more: Any) -> list[list[Any]]:
        """The rows of a statement that succeeds."""
        response = await self.post(sql, **more)
        assert response.status_code == 200, response.text
        return cast("list[list[Any]]", response.json()["rows"])

    async def error(self, sql: str, **more: Any) -> tuple[int, str, dict[str, Any]]:
        """Status, message and details of a statement that fails."""
        response = await self.post(sql, **more)
        error = response.json()["error"]
        assert error["status"] == response.status_code
        return response.status_code, error["message"], error.get("details") or {}


def _raw_request(sql: str, accept: str) -> bytes:
    body = json.dumps({"sql": sql}).encode()
    head = f"POST /sql HTTP/1.1\r\nhost: lake\r\naccept: {accept}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def make_folder(path: Path) -> LakeDirectory:
    """The folder of a lake."""
    for name in ("datasets", "spill", "staging"):
        (path / name).mkdir(parents=True, exist_ok=True)
    return LakeDirectory(path)


@asynccontextmanager
async def open_sql(tables: FileTables, **lake: Any) -> AsyncIterator[Sql]:
    """Serve the tables with `[lake]` as given; by default with one engine of 600 MB."""
    table = LakeTable(**{"engines": 1, "memory": str(900 * 2**20), **lake})
    directory = make_folder(tables.path)
    async with trio.open_nursery() as nursery:
        async with open_query_engine(directory, cast("Tables", tables), table) as engine:
            app = make_queryd_app({"duckdb": engine}, table, QuerydTable())
            host = make_host_app({"queryd": app}, name="queryd", active_requests=ActiveRequests())
            async with serve_ours(host, nursery) as (address, port):
                async with httpx.AsyncClient(base_url=f"http://{address}:{port}", timeout=30) as client:
                    yield Sql(client, engine, tables, (address, port))
        nursery.cancel_scope.cancel()
