"""Calls on uploads: the inspection, and the conversion to Parquet files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lakehouse.services.contracts.write_engine import ParseOptions
from lakehouse.services.engines.writer_child.call_errors import unprocessable
from lakehouse.services.engines.writer_child.csv.inspect import inspect_csv
from lakehouse.services.engines.writer_child.data_files import write_files
from lakehouse.services.engines.writer_child.forced import force_columns
from lakehouse.services.engines.writer_child.messages import (
    ConvertRequest,
    InspectReply,
    InspectRequest,
    Recipe,
    StagedInfo,
    WriteReply,
)
from lakehouse.services.engines.writer_child.source import InspectedSource
from lakehouse.services.engines.writer_child.unpack import Unpacked, unpack
from lakehouse.services.engines.writer_child.upload_rows import UploadRows

if TYPE_CHECKING:
    import duckdb

LARGE_TEXT, LARGE_OTHER = 400_000_000, 100_000_000
"""Bytes of a file from which on its rows may need more than one Parquet file."""


def inspect_upload(
    connection: duckdb.DuckDBPyConnection, request: InspectRequest, check: Callable[[], None]
) -> InspectReply:
    """Inspect an upload of any format."""
    options = request.options
    staging = Path(request.staging)
    unpacked = unpack(Path(request.upload), options, staging, check=check)
    source = _inspect(connection, unpacked, options, staging, check)
    recipe = Recipe(
        sql=source.sql,
        columns=source.columns,
        empty=[name for name, open_type in source.open_types.items() if open_type == "NULL"],
        text_sql="" if source.text is None else source.text.sql,
        values={} if source.text is None else dict(source.text.values),
        texts={} if source.text is None else dict(source.text.texts),
        first_line=source.first_line,
        row_count=source.row_count,
        size=unpacked.path.stat().st_size,
        large=_is_large(unpacked),
    )
    return InspectReply(
        format=unpacked.format,
        columns=source.columns,
        row_count=source.row_count,
        warnings=source.warnings,
        open_types=dict(source.open_types),
        texts=list(recipe.texts),
        recipe=msgspec.Raw(msgspec.json.encode(recipe)),
    )


def _inspect(
    connection: duckdb.DuckDBPyConnection,
    unpacked: Unpacked,
    options: ParseOptions,
    staging: Path,
    check: Callable[[], None],
) -> InspectedSource:
    if unpacked.format in ("csv", "tsv"):
        return inspect_csv(connection, unpacked.path, replace(options, format=unpacked.format), staging, check)
    from lakehouse.services.engines.writer_child.formats import inspect_other

    source = inspect_other(connection, unpacked, options, staging, check=check)
    return force_columns(connection, source, options.types)


def _is_large(unpacked: Unpacked) -> bool:
    limit = LARGE_OTHER if unpacked.format in ("parquet", "arrow") else LARGE_TEXT
    return unpacked.path.stat().st_size > limit


def convert(connection: duckdb.DuckDBPyConnection, request: ConvertRequest) -> WriteReply:
    """Write an inspected upload as Parquet files. Raises the error 422 for a value that the table cannot hold."""
    recipe = msgspec.json.decode(request.recipe, type=Recipe)
    rows = UploadRows(recipe, request.target.columns)
    with rows.explain_loss(connection):
        files = write_files(
            connection,
            rows.sql,
            request.target,
            row_size=recipe.size // max(1, recipe.row_count),
            large=recipe.large,
        )
    check_count(files, recipe.row_count)
    return WriteReply(files=files)


def check_count(files: list[StagedInfo], expected: int) -> None:
    """Raise the error 422 if not exactly the counted rows were written."""
    written = sum(file.rows for file in files)
    if written != expected:
        raise unprocessable(f"the file has {expected} rows, and the engine wrote {written}: nothing is stored")
