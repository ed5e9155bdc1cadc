"""Tables as the engines read them: the columns and data files of a snapshot, and the SELECT of their rows.

The messages to both kinds of children have these descriptions. Columns of Parquet files are read by field id: renamed,
added and widened columns have the values and types of the snapshot. Rows of the system tables that are in no Parquet
file yet are lines of JSON, whose members are read by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from lakehouse.services.contracts.tables import LINES_SUFFIX, DataFile, TableField
from lakehouse.services.engines.database import quote, quote_list, quote_name

MAX_LINE = 2**21
"""Bytes of one line: the reader of JSON reserves twice as much for each of its threads."""


class FieldInfo(msgspec.Struct, frozen=True, array_like=True):
    """A column of a table: its field id, name and type."""

    id: int
    name: str
    type: str


class FileInfo(msgspec.Struct, frozen=True, array_like=True):
    """A data file of a table, with the files of position deletes that apply to it; see `contracts.tables.DataFile`."""

    path: str
    deletes: tuple[str, ...] = ()
    recorded_path: str = ""


def describe_fields(fields: Iterable[TableField]) -> tuple[FieldInfo, ...]:
    """Describe the columns of a table for a child."""
    return tuple(FieldInfo(field.id, field.name, field.type) for field in fields)


def describe_files(files: Iterable[DataFile]) -> tuple[FileInfo, ...]:
    """Describe data files for a child."""
    return tuple(FileInfo(file.path, tuple(file.deletes), file.recorded_path) for file in files)


def select_rows(fields: Sequence[FieldInfo], files: Sequence[FileInfo], *, file_column: str = "") -> str:
    """Write the SELECT of the rows of at least one file, without those that position deletes remove.

    `file_column` is the name of a further column, which has the path of the file of each row.
    """
    lines = [file for file in files if file.path.endswith(LINES_SUFFIX)]
    whole = [file for file in files if not file.deletes and file not in lines]
    parts = [_scan(fields, whole, file_column)] if whole else []
    parts += [_scan_lines(fields, lines, file_column)] if lines else []
    parts += [_scan_with_deletes(fields, file, file_column) for file in files if file.deletes]
    return " UNION ALL ".join(parts)


def _scan(fields: Sequence[FieldInfo], files: Sequence[FileInfo], file_column: str, more: str = "") -> str:
    columns = [quote_name(field.name) for field in fields]
    if file_column:
        columns.append(f"filename AS {quote_name(file_column)}")
        more += ", filename = true"
    paths = quote_list(file.path for file in files)
    schema = ", ".join(
        f"{field.id}: {{name: {quote(field.name)}, type: {quote(field.type)}, default_value: NULL}}" for field in fields
    )
    return f"SELECT {', '.join(columns)} FROM read_parquet({paths}, schema = MAP {{{schema}}}{more})"  # noqa: S608


def _scan_lines(fields: Sequence[FieldInfo], files: Sequence[FileInfo], file_column: str) -> str:
    """Files of JSON lines: a missing member is NULL, and members that are no columns are skipped."""
    columns = [quote_name(field.name) for field in fields]
    more = f", maximum_object_size = {MAX_LINE}"
    if file_column:
        columns.append(f"filename AS {quote_name(file_column)}")
        more += ", filename = true"
    paths = quote_list(file.path for file in files)
    types = ", ".join(f"{quote(field.name)}: {quote(field.type)}" for field in fields)
    options = f"format = 'newline_delimited', columns = {{{types}}}{more}"
    return f"SELECT {', '.join(columns)} FROM read_json({paths}, {options})"  # noqa: S608 - quoted


def _scan_with_deletes(fields: Sequence[FieldInfo], file: FileInfo, file_column: str) -> str:
    """A file without the rows that its delete files name by their position."""
    marks = f"read_parquet({quote_list(file.deletes)})"
    deleted = f"SELECT pos FROM {marks} WHERE file_path = {quote(file.recorded_path)}"  # noqa: S608 - quoted
    scan = _scan(fields, [file], file_column, ", file_row_number = true")
    return f"{scan} WHERE file_row_number NOT IN ({deleted})"
