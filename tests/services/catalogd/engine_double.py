"""A write engine in the process of the test: the same statements as the real one, without its sandbox and its children."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import duckdb

from lakehouse.core.errors import ErrBadRequest, ErrUnprocessable
from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.tables import DataFile, StagedFile, TablePlan, WritePlan
from lakehouse.services.contracts.write_engine import Inspection, ParseOptions, Rewritten


class DuckdbWriteEngine:
    """Reads Parquet files, and writes the files of a table again."""

    def __init__(self, lake: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self._lake = lake
        self._connection = connection
        self._numbers = count()

    async def inspect(self, upload: Path, options: ParseOptions) -> Inspection:
        assert options.format == "parquet"
        try:
            described = self._run(f"DESCRIBE FROM read_parquet('{upload}')")
        except duckdb.Error:
            raise ErrUnprocessable("this is no Parquet file") from None
        columns = [Column(name=str(row[0]), type=str(row[1])) for row in described]
        rows = self._count(f"FROM read_parquet('{upload}')")
        return Inspection(format="parquet", columns=columns, row_count=rows, warnings=(), source=upload, recipe=b"")

    async def convert(self, inspection: Inspection, plan: WritePlan) -> Sequence[StagedFile]:
        return [self._copy(f"FROM read_parquet('{inspection.source}')", plan)]

    async def upsert(self, inspection: Inspection, plan: WritePlan, table: TablePlan, key: Sequence[str]) -> tuple[Sequence[StagedFile], Sequence[str]]:  # fmt: skip
        raise NotImplementedError

    async def describe_parquet(self, file: Path) -> tuple[Sequence[Column], int]:
        raise NotImplementedError

    async def rewrite(
        self, table: TablePlan, plan: WritePlan, files: Sequence[DataFile], *, where: str = ""
    ) -> Rewritten:
        if not where:
            staged = [self._copy(self._read(table, files), plan)]
            return Rewritten(files=staged, replaced=[file.path for file in files])
        staged, replaced, left_out = [], [], 0
        for file in files:
            source = self._read(table, [file])
            try:
                matching = self._count(f"FROM ({source}) WHERE ({where})")
            except duckdb.Error as error:
                raise ErrBadRequest(f"`where`: {error}") from None
            if matching:
                replaced.append(file.path)
                left_out += matching
                if matching < file.rows:
                    staged.append(self._copy(f"FROM ({source}) WHERE ({where}) IS NOT TRUE", plan))
        return Rewritten(files=staged, replaced=replaced, rows_left_out=left_out)

    def _read(self, table: TablePlan, files: Sequence[DataFile]) -> str:
        fields = ", ".join(
            f"{field.id}: {{name: '{field.name}', type: '{field.type}', default_value: NULL}}" for field in table.fields
        )
        return f"FROM read_parquet({[str(self._lake / file.path) for file in files]}, schema = MAP {{{fields}}})"

    def _copy(self, source: str, plan: WritePlan) -> StagedFile:
        path = self._lake / "staging" / f"engine-{next(self._numbers)}.parquet"
        columns = ", ".join(f'"{column.name}"::{column.type} AS "{column.name}"' for column in plan.columns)
        self._run(f"COPY (SELECT {columns} {source}) TO '{path}' (FORMAT parquet, FIELD_IDS {plan.field_ids})")
        return StagedFile(path=path, rows=self._count(f"FROM read_parquet('{path}')"))

    def _count(self, source: str) -> int:
        return int(str(self._run(f"SELECT count(*) {source}")[0][0]))

    def _run(self, statement: str) -> list[tuple[object, ...]]:
        return self._connection.execute(statement).fetchall()
