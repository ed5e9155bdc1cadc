"""What the tests of the formats share: a file is inspected as the engine's child does it, and its SELECT is run."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.contracts.write_engine import ParseOptions
from lakehouse.services.engines.writer_child.formats import inspect_other
from lakehouse.services.engines.writer_child.unpack import unpack


@dataclass
class Read:
    """What became of a file. `rows` are the values as SQL casts them to text."""

    columns: list[tuple[str, str]]
    rows: list[tuple[str | None, ...]]
    warnings: list[tuple[str | None, int | None, str]]
    sql: str

    @property
    def types(self) -> dict[str, str]:
        return dict(self.columns)

    def column(self, name: str) -> list[str | None]:
        """The values of one column."""
        number = [column for column, _ in self.columns].index(name)
        return [row[number] for row in self.rows]


class Reader:
    """Inspects files, with a database of its own."""

    def __init__(self, folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self._folder = folder
        self._connection = connection

    def __call__(self, body: bytes | str, name: str = "", **options: Any) -> Read:
        """The columns, rows and warnings of a file. Raises CallError."""
        upload = self._folder / "upload"
        upload.write_bytes(body.encode() if isinstance(body, str) else body)
        parse = ParseOptions(file_name=name, **options)
        source = inspect_other(
            self._connection, unpack(upload, parse, self._folder), parse, self._folder, check=lambda: None
        )
        described = self._connection.execute(f"DESCRIBE {source.sql}").fetchall()
        assert [row[0] for row in described] == [column.name for column in source.columns]
        assert [row[1].replace('"', "") for row in described] == [c.type.replace('"', "") for c in source.columns]
        positions = ", ".join(f"CAST(c{number} AS VARCHAR)" for number in range(len(described)))
        names = ", ".join(f"c{number}" for number in range(len(described)))
        rows = self._connection.execute(f"SELECT {positions} FROM ({source.sql}) AS t({names})").fetchall()
        assert len(rows) == source.row_count
        return Read(
            [(column.name, column.type) for column in source.columns],
            rows,
            [(warning.column, warning.line, warning.message) for warning in source.warnings],
            source.sql,
        )

    def refuse(self, body: bytes | str, name: str = "", **options: Any) -> Refusal:
        """The refusal of a file."""
        with pytest.raises(CallError) as caught:
            self(body, name, **options)
        failure = caught.value.failure
        return Refusal(failure.kind, failure.message, json.loads(bytes(failure.details)))


@dataclass
class Refusal:
    """A refusal: its kind, its sentence, its details."""

    kind: str
    message: str
    details: dict[str, Any]

    def says(self, *words: object) -> bool:
        return all(str(word) in self.message for word in words)


def parquet(columns: dict[str, Any] | pa.Table, **options: Any) -> bytes:
    """A Parquet file."""
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    output = io.BytesIO()
    pq.write_table(table, output, **options)
    return output.getvalue()


def arrow(columns: dict[str, Any] | pa.Table, *, stream: bool = False) -> bytes:
    """An Arrow file, or a stream."""
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    output = io.BytesIO()
    with (ipc.new_stream if stream else ipc.new_file)(output, table.schema) as writer:
        writer.write_table(table)
    return output.getvalue()


def messages(warnings: Sequence[tuple[str | None, int | None, str]]) -> dict[str | None, str]:
    """The messages of warnings by column."""
    return {column: message for column, _, message in warnings}
