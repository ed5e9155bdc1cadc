"""What the tests of the tables share: a lake with its tables process, and data files as an engine writes them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Self

import duckdb
import trio

from lakehouse.config import LakeTable
from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.tables import Commit, StagedFile, TablePlan, WriteMode, WritePlan
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.tables.catalog_reader import CatalogReader
from lakehouse.services.tables.client import LakeTables, open_tables

DAY = 86_400.0


@dataclass
class ScratchLake:
    """A lake, its tables, and a DuckDB that writes and reads their files."""

    path: Path
    tables: LakeTables
    connection: duckdb.DuckDBPyConnection
    numbers: Any = field(default_factory=count)

    def stage(self, plan: WritePlan, *selects: str) -> list[StagedFile]:
        """Write a file with the columns and ids of a plan for each SELECT."""
        staged = []
        for select in selects:
            path = self.path / "staging" / f"{next(self.numbers)}.parquet"
            given = {column.name for column in self.columns_of(select)}
            columns = ", ".join(
                f"{f'x.{quote(column.name)}' if column.name in given else 'NULL'}::{column.type} AS {quote(column.name)}"
                for column in plan.columns
            )
            self.connection.execute(
                f"COPY (SELECT {columns} FROM ({select}) x) TO '{path}' (FORMAT parquet, FIELD_IDS {plan.field_ids})"
            )
            rows = self.connection.execute(f"SELECT count(*) FROM '{path}'").fetchall()[0][0]
            staged.append(StagedFile(path=path, rows=rows))
        return staged

    async def write(self, name: str, select: str, *, mode: WriteMode = "append", **options: Any) -> Commit:
        """Write the rows of a SELECT into a table, with the types that they have."""
        async with self.tables.lock(name):
            plan = await self.tables.prepare(name, self.columns_of(select), mode=mode, **options)
            return await self.tables.commit(plan, self.stage(plan, select))

    def columns_of(self, select: str) -> list[Column]:
        """The columns of a SELECT."""
        described = self.connection.execute(f"DESCRIBE {select}").fetchall()
        return [Column(name=row[0], type=row[1]) for row in described]

    def read(self, plan: TablePlan, query: str = "FROM t ORDER BY ALL") -> list[tuple[Any, ...]]:
        """The rows of a planned read, as the query engine reads them: the files with the map of the schema."""
        fields = ", ".join(
            f"{column.id}: {{name: '{column.name}', type: '{column.type}', default_value: NULL}}"
            for column in plan.fields
        )
        if not plan.files:
            return []
        files = [str(self.path / file.path) for file in plan.files]
        source = f"read_parquet({files}, schema = MAP {{{fields}}})"
        return self.connection.execute(f"WITH t AS (SELECT * FROM {source}) {query}").fetchall()

    async def rows(self, name: str, query: str = "FROM t ORDER BY ALL", **options: Any) -> list[tuple[Any, ...]]:
        """The rows of a table."""
        return self.read(await self.tables.plan(name, **options), query)

    def files(self) -> list[str]:
        """The files of all tables, relative to the folder."""
        return sorted(
            str(path.relative_to(self.path)) for path in (self.path / "datasets").rglob("*") if path.is_file()
        )


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@asynccontextmanager
async def open_lake(path: Path, *, retention: float = 7 * DAY, **options: Any) -> AsyncIterator[ScratchLake]:
    """A lake in this folder, which is made if it is missing."""
    for name in ("", "datasets", "staging"):
        (path / name).mkdir(exist_ok=True)
    with duckdb.connect() as connection:
        async with open_tables(LakeDirectory(path), LakeTable(retention=retention), **options) as tables:
            yield ScratchLake(path, tables, connection)


Story = Callable[[ScratchLake], Awaitable[None]]


class SharedLake:
    """A lake for several tests, in a thread of its own: its tables process is started once for all of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._serve,))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_error: object) -> None:
        trio.from_thread.run_sync(self._stop.set, trio_token=self._token)
        self._thread.join()

    def run(self, story: Story) -> None:
        """Run a test; afterwards the lake has no table and no file."""
        trio.from_thread.run(self._run, story, trio_token=self._token)

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        async with open_lake(self.path) as self._lake:
            self._ready.set()
            await self._stop.wait()

    async def _run(self, story: Story) -> None:
        with trio.fail_after(60):
            try:
                await story(self._lake)
            finally:
                with closing(CatalogReader(self.path / "catalog.db")) as catalog:
                    names = await catalog.list()
                for name in names:
                    await self._lake.tables.drop(name)
                await self._lake.tables.expire(datetime.now(UTC) + timedelta(seconds=1))
                shutil.rmtree(self.path / "datasets")
                (self.path / "datasets").mkdir()


def in_shared_lake(story: Story) -> Callable[[SharedLake], None]:
    """Make a test of a story that is run in the shared lake of its module, the fixture `shared_lake`."""

    def test(shared_lake: SharedLake) -> None:
        shared_lake.run(story)

    test.__doc__ = story.__doc__
    return test
