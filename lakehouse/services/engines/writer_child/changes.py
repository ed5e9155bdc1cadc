"""Changes of tables as copy-on-write: upserts and rewrites of data files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.tables import LINES_SUFFIX
from lakehouse.services.engines.database import quote, quote_list, quote_name
from lakehouse.services.engines.table_files import select_rows
from lakehouse.services.engines.writer_child.call_errors import bad_request, unprocessable
from lakehouse.services.engines.writer_child.conditions import check_condition
from lakehouse.services.engines.writer_child.data_files import select_columns, write_files
from lakehouse.services.engines.writer_child.messages import (
    Recipe,
    RewriteRequest,
    TableInfo,
    UpsertRequest,
    WriteReply,
)
from lakehouse.services.engines.writer_child.type_verdict import ROW
from lakehouse.services.engines.writer_child.upload_rows import UploadRows

if TYPE_CHECKING:
    import duckdb

FILE_COLUMN = "#file"
"""The name of the column with the path of the file of a row."""
FILE = quote_name(FILE_COLUMN)
LARGE = 100_000_000
"""Bytes of the read files from which on the written rows may need more than one file."""


def upsert(connection: duckdb.DuckDBPyConnection, request: UpsertRequest) -> WriteReply:
    """Write the new rows, the last one for each key, and the rows of the touched files with other keys.

    Raises the error 400 for a key that is no column of the upload, and 422 for NULL in a key.
    """
    recipe = msgspec.json.decode(request.recipe, type=Recipe)
    for name in request.key:
        if all(name != column.name for column in recipe.columns):
            raise bad_request(f"key: the file has no column {name!r}", column=name)
    key = ", ".join(map(quote_name, request.key))
    target = request.target
    new = _stage_new_rows(connection, recipe, target.columns, request.key, Path(target.folder).with_suffix(".new"))
    parts, touched = [new], []
    if request.table.files:
        old = _select_rows(request.table)
        found = connection.execute(f"SELECT DISTINCT {FILE} FROM ({old}) SEMI JOIN ({new}) USING ({key})").fetchall()
        touched = sorted(str(row[0]) for row in found)
        if touched:
            rows = _select_rows(_only(request.table, touched))
            kept = select_columns(target.columns, _types(request.table), f"({rows})")
            parts.append(f"SELECT * FROM ({kept}) ANTI JOIN ({new}) USING ({key})")
    row_size = recipe.size // max(1, recipe.row_count)
    large = _is_large(touched, large=recipe.large)
    files = write_files(connection, " UNION ALL ".join(parts), target, row_size=row_size, large=large)
    return WriteReply(files=files, replaced=touched)


def _stage_new_rows(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, columns: Sequence[Column], key: list[str], path: Path
) -> str:
    """Write the last row for each key into a temporary file. Returns the SELECT that reads it."""
    rows = UploadRows(recipe, columns)
    numbered = f"SELECT *, row_number() OVER () AS {ROW} FROM ({rows.sql})"
    missing = " OR ".join(f"{quote_name(name)} IS NULL" for name in key)
    names = ", ".join(map(quote_name, key))
    with rows.explain_loss(connection):
        found = connection.execute(f"SELECT min({ROW}) FROM ({numbered}) WHERE {missing}").fetchone()
        if found is not None and found[0] is not None:
            raise unprocessable(f"row {found[0]} has NULL in the key ({', '.join(key)})", row=found[0])
        connection.execute(
            f"COPY (SELECT * EXCLUDE ({ROW}) FROM ({numbered}) "
            f"QUALIFY row_number() OVER (PARTITION BY {names} ORDER BY {ROW} DESC) = 1) "
            f"TO {quote(str(path))} (FORMAT parquet, COMPRESSION lz4_raw)"
        )
    return f"SELECT * FROM read_parquet({quote(str(path))})"


def rewrite(connection: duckdb.DuckDBPyConnection, request: RewriteRequest) -> WriteReply:
    """Write the rows of some files again, without those for which a condition is true.

    Raises the errors 400 and 403 for the condition.
    """
    table, target, condition = request.table, request.target, ""
    replaced, left_out = [file.path for file in table.files], 0
    if not table.files:
        return WriteReply(files=[])
    if request.where:
        condition = check_condition(connection, request.where, table.fields)
        hits = connection.execute(
            f"SELECT {FILE}, count(*) FROM ({_select_rows(table)}) WHERE ({condition}\n) GROUP BY ALL"
        ).fetchall()
        replaced, left_out = sorted(str(row[0]) for row in hits), sum(int(row[1]) for row in hits)
        if not replaced:
            return WriteReply(files=[])
    rows = f"({_select_rows(_only(table, replaced))})"
    if condition:
        rows = f"(SELECT * FROM {rows} WHERE ({condition}\n) IS NOT TRUE)"
    sql = select_columns(target.columns, _types(table), rows)
    row_size, large = _measure_rows(connection, replaced), _is_large(replaced, large=False)
    files = write_files(connection, sql, target, row_size=row_size, large=large)
    return WriteReply(files=files, replaced=replaced, rows_left_out=left_out)


def _select_rows(table: TableInfo) -> str:
    return select_rows(table.fields, table.files, file_column=FILE_COLUMN)


def _only(table: TableInfo, paths: list[str]) -> TableInfo:
    wanted = set(paths)
    return TableInfo(fields=table.fields, files=tuple(file for file in table.files if file.path in wanted))


def _types(table: TableInfo) -> dict[str, str]:
    return {field.name: field.type for field in table.fields}


def _measure_rows(connection: duckdb.DuckDBPyConnection, paths: list[str]) -> int:
    """The average bytes of a row, which are not compressed; 0 if no file is a Parquet file."""
    files = quote_list(path for path in paths if not path.endswith(LINES_SUFFIX))
    if files == "[]":
        return 0
    found = connection.execute(
        f"SELECT (SELECT sum(total_uncompressed_size) FROM parquet_metadata({files})) // greatest(1, sum(num_rows)) "
        f"FROM parquet_file_metadata({files})"
    ).fetchone()
    return int(found[0]) if found is not None and found[0] is not None else 0


def _is_large(paths: list[str], *, large: bool) -> bool:
    return large or sum(Path(path).stat().st_size for path in paths) > LARGE
