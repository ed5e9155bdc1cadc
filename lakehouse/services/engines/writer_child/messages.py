"""Requests to the child and its replies. Both sides import this module, so it imports neither trio nor duckdb.

All paths are relative to the folder of the lake, which is the working directory of the child.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.write_engine import IngestWarning, ParseOptions
from lakehouse.services.engines.table_files import FieldInfo, FileInfo


class InspectRequest(msgspec.Struct, frozen=True, kw_only=True, tag="inspect"):
    """Read a whole upload; copies are written into `staging`."""

    upload: str
    staging: str
    options: ParseOptions


class InspectReply(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict over an upload. `open_types` and `texts` are those of `Inspection`."""

    format: str
    columns: Sequence[Column]
    row_count: int
    warnings: Sequence[IngestWarning]
    open_types: dict[str, str]
    texts: list[str]
    recipe: msgspec.Raw


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How the rows of an inspected upload are read; `size` is its bytes. `large`: they may need several files.

    If the format is text, `text_sql` yields the text of the file, and for each column there is an expression of its
    value (`values`), and, if its type was not forced, one of its text (`texts`). `empty` names the columns without
    values. `first_line` is the line of the first row if each row has one line.
    """

    sql: str
    columns: Sequence[Column]
    empty: list[str]
    text_sql: str
    values: dict[str, str]
    texts: dict[str, str]
    first_line: int | None
    row_count: int
    size: int
    large: bool


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Files to write: a new folder for them, their columns and the value of FIELD_IDS."""

    folder: str
    columns: Sequence[Column]
    field_ids: str


class TableInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A table at one snapshot, or some files of it."""

    fields: tuple[FieldInfo, ...]
    files: tuple[FileInfo, ...]


class ConvertRequest(msgspec.Struct, frozen=True, kw_only=True, tag="convert"):
    """Write an inspected upload."""

    recipe: msgspec.Raw
    target: Target


class UpsertRequest(msgspec.Struct, frozen=True, kw_only=True, tag="upsert"):
    """Write an inspected upload, and the rows of a table's touched files that it does not replace."""

    recipe: msgspec.Raw
    target: Target
    table: TableInfo
    key: list[str]


class RewriteRequest(msgspec.Struct, frozen=True, kw_only=True, tag="rewrite"):
    """Write the rows of some files without those for which `where` is true, if it is not empty."""

    table: TableInfo
    target: Target
    where: str


class StagedInfo(msgspec.Struct, frozen=True, array_like=True):
    """A file that is complete and synced to the disk."""

    path: str
    rows: int


class WriteReply(msgspec.Struct, frozen=True, kw_only=True):
    """The written files, the paths of the table's files that they replace, the number of rows that were left out."""

    files: list[StagedInfo]
    replaced: list[str] = []
    rows_left_out: int = 0


Request = InspectRequest | ConvertRequest | UpsertRequest | RewriteRequest
