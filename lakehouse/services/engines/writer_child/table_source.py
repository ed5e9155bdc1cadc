"""The SELECT that reads data files of a table by their field ids, without the rows that position deletes remove."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lakehouse.services.engines.database import quote
from lakehouse.services.engines.writer_child.messages import FieldInfo, FileInfo, TableInfo
from lakehouse.services.engines.writer_child.source import quote_name

FILE_COLUMN = '"#file"'
"""The column with the path of the file of a row."""


def read_table_sql(table: TableInfo) -> str:
    """Write the SELECT of all columns of the table, and of `FILE_COLUMN`. The table has at least one file."""
    whole = [file for file in table.files if not file.deletes]
    parts = [_read_files(table.fields, whole)] if whole else []
    parts += [_read_with_deletes(table.fields, file) for file in table.files if file.deletes]
    return " UNION ALL ".join(parts)


def _read_files(fields: Sequence[FieldInfo], files: Sequence[FileInfo], more: str = "") -> str:
    columns = ", ".join((*(quote_name(field.name) for field in fields), f"filename AS {FILE_COLUMN}"))
    paths = list_literal(file.path for file in files)
    schema = ", ".join(
        f"{field.id}: {{name: {quote(field.name)}, type: {quote(field.type)}, default_value: NULL}}" for field in fields
    )
    return f"SELECT {columns} FROM read_parquet({paths}, schema = MAP {{{schema}}}, filename = true{more})"


def _read_with_deletes(fields: Sequence[FieldInfo], file: FileInfo) -> str:
    marks = f"read_parquet({list_literal(file.deletes)})"
    deleted = f"SELECT pos FROM {marks} WHERE file_path = {quote(file.recorded_path)}"
    return f"{_read_files(fields, [file], ', file_row_number = true')} WHERE file_row_number NOT IN ({deleted})"


def list_literal(texts: Iterable[str]) -> str:
    """Write a list of strings as a literal of SQL."""
    return f"[{', '.join(map(quote, texts))}]"
