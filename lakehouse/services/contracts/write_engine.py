"""The contract of the write engine: sandboxed children that read users' files and write Parquet files.

A call runs in one child and is cancelled with its caller: the child is reset or killed, and what it wrote into the
staging directory is removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.tables import DataFile, StagedFile, TablePlan, WritePlan

FORMATS = ("csv", "tsv", "json", "ndjson", "parquet", "arrow")
DELIMITER_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
NO_QUOTE = "none"
"""The value of the parameter `quote` for a file whose quotes are data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestWarning:
    """Something that was noticed about a column or a line of an upload: `{"column", "line", "message"}`."""

    column: str | None
    line: int | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseOptions:
    """How an upload is read. Empty strings and None mean that it is found out from the file.

    `max_bytes` is the limit of a compressed file's content; 0 is no limit.
    """

    format: str = ""
    file_name: str = ""
    content_type: str = ""
    encoding: str = ""
    delimiter: str = ""
    quote: str = ""
    null: str | None = None
    header: bool | None = None
    skip: int = 0
    types: Sequence[tuple[str, str]] = ()
    max_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The verdict over a whole upload: its format, columns, rows and warnings.

    `source` is a file in the staging directory in a form from which `convert` can write without another check, and
    `recipe` is the child's own description of how it reads it. `open_types` has the types of the columns that have no
    values, or have parts without values (a list whose elements are all missing), with NULL in the place of a type that
    no value decided; in `columns` they have the types of a new table. `texts` are the typed columns whose text in the
    file is at hand: into a text column that text is written.
    """

    format: str
    columns: Sequence[Column]
    row_count: int
    warnings: Sequence[IngestWarning]
    source: Path
    recipe: bytes
    open_types: Mapping[str, str] = field(default_factory=dict)
    texts: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """The result of a rewrite: the new files, the paths of the files that they replace, the rows that were left out."""

    files: Sequence[StagedFile]
    replaced: Sequence[str]
    rows_left_out: int = 0


class WriteEngine(Protocol):
    """Reads uploads, and writes the data files of tables."""

    async def inspect(self, upload: Path, options: ParseOptions) -> Inspection:
        """Read the whole upload and decide the type of every column.

        Raises ErrUnprocessable (with `line`, `column`, `value`, `offset` where known), ErrUnsupportedMediaType,
        ErrTooLarge, ErrBadRequest for an option that does not fit.
        """

    async def convert(self, inspection: Inspection, plan: WritePlan) -> Sequence[StagedFile]:
        """Write the inspected upload as Parquet files with the columns and field ids of the plan."""

    async def upsert(
        self, inspection: Inspection, plan: WritePlan, table: TablePlan, key: Sequence[str]
    ) -> tuple[Sequence[StagedFile], Sequence[str]]:
        """Write the new rows, and again the rows of the touched files whose key is not among the new ones.

        The last row of a key in the upload wins; NULL in a key raises ErrUnprocessable. Returns the new files and the
        paths of the touched ones.
        """

    async def rewrite(
        self, table: TablePlan, plan: WritePlan, files: Sequence[DataFile], *, where: str = ""
    ) -> Rewritten:
        """Write the rows of some files again, together in as few files as possible.

        With `where`, the rows for which it is true are left out, and only files that have such rows are replaced.
        `where` is one SQL expression over the table's columns. Raises ErrBadRequest if it is not, ErrForbidden if it
        contains a subquery or a function that reads files.
        """
