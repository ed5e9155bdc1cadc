"""The write engine of a lake in a temporary folder, and a DuckDB that reads what it writes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import duckdb

from lakehouse.config.lake_tables import LakeTable
from lakehouse.core.errors import LakehouseError
from lakehouse.services.contracts.tables import StagedFile, WritePlan
from lakehouse.services.contracts.write_engine import Inspection, ParseOptions
from lakehouse.services.engines.writer import EngineWriter, open_write_engine
from lakehouse.services.lake.directory import LakeDirectory, open_lake_directory
from tests.services.ingest.case_kit import Answer


@dataclass
class Engine:
    """An open write engine."""

    directory: LakeDirectory
    writer: EngineWriter
    reader: duckdb.DuckDBPyConnection
    numbers: Any = field(default_factory=count)

    def stage(self, body: bytes) -> Path:
        """Put an upload into a folder of its own."""
        folder = self.directory.staging / f"upload-{next(self.numbers)}"
        folder.mkdir()
        (folder / "upload").write_bytes(body)
        return folder / "upload"

    async def load(self, body: bytes, options: ParseOptions) -> tuple[Inspection, Sequence[StagedFile]]:
        """Inspect and convert an upload into files of a new table."""
        inspection = await self.writer.inspect(self.stage(body), options)
        return inspection, await self.writer.convert(inspection, make_plan(inspection))

    async def answer(self, body: bytes, options: ParseOptions) -> Answer:
        """Inspect and convert an upload, and answer as the service does."""
        try:
            inspection, files = await self.load(body, options)
        except LakehouseError as error:
            return Answer(error.status, error.document(), self.ask_nothing)
        document = {
            "row_count": sum(file.rows for file in files),
            "columns": [{"name": column.name, "type": column.type} for column in inspection.columns],
            "warnings": [
                {"column": one.column, "line": one.line, "message": one.message} for one in inspection.warnings
            ],
        }
        return Answer(201, document, lambda sql: self.ask(sql, inspection, files))

    def ask(self, sql: str, inspection: Inspection, files: Sequence[StagedFile]) -> Sequence[Sequence[Any]]:
        """Ask SQL about the written files."""
        paths = json.dumps([str(file.path) for file in files]).replace('"', "'")
        source = f"read_parquet({paths})" if files else empty_table(inspection)
        self.reader.execute(f"CREATE OR REPLACE TEMP VIEW t AS SELECT * FROM {source}")
        return self.reader.execute(sql.replace("{t}", "t")).fetchall()

    def ask_nothing(self, sql: str) -> Sequence[Sequence[Any]]:
        raise AssertionError("nothing was stored")


def empty_table(inspection: Inspection) -> str:
    columns = ", ".join(f"CAST(NULL AS {column.type}) AS {quote_name(column.name)}" for column in inspection.columns)
    return f"(SELECT {columns} WHERE false)"


def make_plan(inspection: Inspection) -> WritePlan:
    """The plan of a new table, as far as files without nested columns need one."""
    nested = any("(" in column.type and not column.type.startswith("DECIMAL") for column in inspection.columns)
    nested |= any(column.type.endswith("[]") for column in inspection.columns)
    ids = ", ".join(f"{quote_name(column.name)}: {number}" for number, column in enumerate(inspection.columns, 1))
    return WritePlan(
        name="t",
        mode="create",
        existing=False,
        columns=inspection.columns,
        field_ids="'auto'" if nested else f"{{{ids}}}",
        token=b"",
    )


def quote_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@asynccontextmanager
async def open_engine(path: Path, *, memory: int = 1500 * 2**20) -> AsyncIterator[Engine]:
    """A write engine for a new lake in this folder."""
    with open_lake_directory(path) as directory, duckdb.connect(config={"threads": 1}) as reader:
        reader.execute("SET TimeZone = 'UTC'")
        async with open_write_engine(directory, LakeTable(memory=str(memory))) as writer:
            yield Engine(directory, writer, reader)
