"""What the tests of the tables share: a lake with its tables process, and data files as an engine writes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import duckdb

from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.tables import Commit, StagedFile, TablePlan, WriteMode, WritePlan
from lakehouse.services.tables.client import LakeTables, open_tables

DAY = 86_400.0


@dataclass(frozen=True)
class Folder:
    """The folder of a lake, as far as the tables know it."""

    path: Path

    @property
    def catalog_db(self) -> Path:
        return self.path / "catalog.db"


@dataclass(frozen=True)
class Settings:
    retention: float = 7 * DAY


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
async def open_lake(path: Path, *, retention: float = 7 * DAY) -> AsyncIterator[ScratchLake]:
    """A lake in this folder, which is made if it is missing."""
    for name in ("", "datasets", "staging"):
        (path / name).mkdir(exist_ok=True)
    with duckdb.connect() as connection:
        async with open_tables(Folder(path), Settings(retention)) as tables:
            yield ScratchLake(path, tables, connection)
