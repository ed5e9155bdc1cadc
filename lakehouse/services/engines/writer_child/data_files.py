"""Writes Parquet files with field ids, complete and synced to the disk at return."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.services.contracts.catalog import Column
from lakehouse.services.engines.database import quote, quote_name
from lakehouse.services.engines.writer_child.messages import StagedInfo, Target
from lakehouse.services.engines.writer_child.wide_files import WIDE, write_wide_file

if TYPE_CHECKING:
    import duckdb

FILE_SIZE = "128MB"
"""The size from which on another file is begun. A change of one row writes its file again."""
COMPRESSION = "COMPRESSION zstd, COMPRESSION_LEVEL 1"
"""Level 1 takes up to two fifths less time than the engine's own choice, 3. Text is as small, numbers 6 % larger."""
ROW_GROUP_SIZE = 32 * 1024 * 1024
"""Bytes of text of one row group: the engine holds some of them in memory."""
MIN_ROWS, MAX_ROWS = 8 * 1024, 120 * 1024
"""Rows of a row group. Few make the file larger and slower to scan, many make it slower to search."""


def write_files(
    connection: duckdb.DuckDBPyConnection, sql: str, target: Target, *, row_size: int, large: bool
) -> list[StagedInfo]:
    """Write the rows of a SELECT whose columns are those of the target; no rows are no file.

    They become one file in the order of the rows, or, if they may be `large`, files of limited size whose row groups
    are in order. `row_size` are the average bytes of a row, as text.
    """
    folder = Path(target.folder)
    folder.mkdir(mode=0o700)
    if len(target.columns) >= WIDE:
        return _write_wide(connection, sql, target, folder)
    path = folder / ("rows" if large else "rows.parquet")
    size = f", FILE_SIZE_BYTES '{FILE_SIZE}'" if large else ""
    connection.execute(
        f"COPY ({sql}) TO {quote(str(path))} (FORMAT parquet, {COMPRESSION}, FIELD_IDS {target.field_ids}, "
        f"ROW_GROUP_SIZE {count_rows_of_group(row_size)}, RETURN_STATS true{size})"
    )
    written = [StagedInfo(str(row[0]), int(row[1])) for row in connection.fetchall()]
    for empty in (file for file in written if not file.rows):
        Path(empty.path).unlink()
    files = [file for file in written if file.rows]
    for file in files:
        sync(Path(file.path))
    sync(folder)
    if large:
        sync(path)
    return files


def _write_wide(connection: duckdb.DuckDBPyConnection, sql: str, target: Target, folder: Path) -> list[StagedInfo]:
    path = folder / "rows.parquet"
    names = [column.name for column in target.columns]
    rows = write_wide_file(connection, sql, names, target.field_ids, path)
    sync(path)
    sync(folder)
    return [StagedInfo(str(path), rows)] if rows else []


def count_rows_of_group(row_size: int) -> int:
    """The number of rows of one row group."""
    rows = ROW_GROUP_SIZE // max(1, row_size)
    return max(MIN_ROWS, min(MAX_ROWS, rows))


def sync(path: Path) -> None:
    """Write a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def select_columns(wanted: Sequence[Column], present: Mapping[str, str], source: str) -> str:
    """Write a SELECT of the wanted columns from `source`, which has the columns `present` with their types.

    A missing column is NULL.
    """
    columns = ", ".join(_select_column(column, present.get(column.name)) for column in wanted)
    return f"SELECT {columns} FROM {source}"


def _select_column(column: Column, present: str | None) -> str:
    name = quote_name(column.name)
    if present is None:
        return f"CAST(NULL AS {column.type}) AS {name}"
    if present == column.type:
        return name
    condition, cast = write_loss(column, present), write_cast(column, present)
    if not condition:
        return f"{cast} AS {name}"
    message = quote(f"a value of column {column.name} does not fit into its type in the table, {column.type}: ")
    return f"CASE WHEN {condition} THEN error({message} || CAST({name} AS VARCHAR)) ELSE {cast} END AS {name}"


def write_cast(column: Column, present: str, function: str = "CAST") -> str:
    """Write the cast of a column to its type in the table, with CAST or TRY_CAST."""
    value = quote_name(column.name)
    if present == "DOUBLE" and column.type.startswith("DECIMAL"):  # the engine computes in DOUBLE, and by text exactly
        value = f"CAST({value} AS VARCHAR)"
    return f"{function}({value} AS {column.type})"


def write_loss(column: Column, present: str) -> str:
    """Write the condition that a cast would change the value; empty if it never does, because it gives the text."""
    if column.type in ("VARCHAR", present):
        return ""
    back = f"TRY_CAST({write_cast(column, present, 'TRY_CAST')} AS {present})"
    return f"{back} IS DISTINCT FROM {quote_name(column.name)}"
