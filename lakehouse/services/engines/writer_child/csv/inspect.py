"""The inspection of a CSV file: encoding, layout, records, types, in this order.

The engine reads the upload itself where it is regular, and otherwise a copy without what the engine's parser does not
take or takes wrongly. The engine's number of records is always compared with our own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.services.contracts.write_engine import IngestWarning, ParseOptions
from lakehouse.services.engines.writer_child.call_errors import unprocessable
from lakehouse.services.engines.writer_child.column_names import assign_names
from lakehouse.services.engines.writer_child.csv.columns import ColumnJudge, CountDiffers
from lakehouse.services.engines.writer_child.csv.encoding import HEAD, decode_file, find_encoding, read_encoding
from lakehouse.services.engines.writer_child.csv.exact import ExactCount
from lakehouse.services.engines.writer_child.csv.layout import Layout, LayoutFinder
from lakehouse.services.engines.writer_child.csv.row_source import Rows, RowSource
from lakehouse.services.engines.writer_child.csv.samples import read_sample
from lakehouse.services.engines.writer_child.csv.scan import check_utf8
from lakehouse.services.engines.writer_child.forced import match_forced
from lakehouse.services.engines.writer_child.source import InspectedSource

if TYPE_CHECKING:
    import duckdb

HEAD_SIZE = 4 * 1024 * 1024
"""Bytes at the beginning of the file in which the layout and the candidates for the types are found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The beginning of the file as UTF-8: its bytes from `start` on, and whether that is all of it."""

    path: Path
    start: int
    data: bytes
    final: bool


def inspect_csv(
    connection: duckdb.DuckDBPyConnection,
    upload: Path,
    options: ParseOptions,
    staging: Path,
    check: Callable[[], None],
) -> InspectedSource:
    """Inspect an upload; `staging` takes copies of it. `check` raises if the call is cancelled.

    Raises the errors 400, 413 and 422.
    """
    head = read_head(upload, options.encoding, staging, check)
    layout = LayoutFinder(head.data, head.start, options, final=head.final).find()
    nulls = [""] if options.null in (None, "") else ["", str(options.null)]
    sample = read_sample(head.data[layout.data_start - head.start :], layout, nulls, final=head.final)
    names, warnings = name_all(layout)
    forced = match_forced(names, options.types)
    source = RowSource(head.path, layout, nulls=nulls, staging=staging, check=check)

    def judge(rows: Rows) -> InspectedSource:
        columns = ColumnJudge(connection, rows, sample, names=names, forced=forced, check=check)
        drop_last = layout.header is not None and layout.columns > 1 and not layout.header[-1]
        return columns.judge([*warnings, *warn_irregular(rows.exact, layout)], drop_last=drop_last)

    rows = source.read(only_returns=b"\r" in head.data and b"\n" not in head.data)
    if rows.exact is None:
        if (inspected := _try(judge, rows)) is not None:
            return inspected
        rows = source.read_exactly()
    try:
        return judge(rows)
    except CountDiffers as error:
        raise unprocessable(f"the file cannot be read reliably: {error}") from error


def _try(judge: Callable[[Rows], InspectedSource], rows: Rows) -> InspectedSource | None:
    """Judge rows that seem to be regular; None if the engine finds that they are not."""
    import duckdb

    try:
        return judge(rows)
    except (CountDiffers, duckdb.InvalidInputException):
        return None


def read_head(upload: Path, encoding: str, staging: Path, check: Callable[[], None]) -> Head:
    """Find or take the encoding, decode the file if it is not UTF-8, and read the beginning."""
    with upload.open("rb") as file:
        first = file.read(HEAD)
    found, start = find_encoding(first)
    if encoding:
        given = read_encoding(encoding)
        start = start if given.replace("_", "-").removesuffix("-sig") == found else 0
        found = given.removesuffix("-sig")
    path = upload
    if found != "utf-8":
        path = staging / "decoded.csv"
        decode_file(upload, found, start, path, check)
        start = 0
        with path.open("rb") as file:
            start = len("\ufeff".encode()) if file.read(3) == "\ufeff".encode() else 0
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(HEAD_SIZE)
        final = not file.read(1)
    if not final:
        data = data[: max(data.rfind(b"\n"), data.rfind(b"\r")) + 1] or data
    check_utf8(data, start)
    return Head(path=path, start=start, data=data, final=final)


def name_all(layout: Layout) -> tuple[list[str], list[IngestWarning]]:
    """Name the columns, with the warnings about it."""
    if layout.header is not None:
        return assign_names(layout.header, line=layout.header_line)
    names = [f"column{number}" for number in range(1, layout.columns + 1)]
    if not layout.guessed:
        return names, []
    message = (
        f"the file has no header: line {layout.header_line} has only numbers and dates; the columns are named "
        f"{names[0]} to {names[-1]}, and header=true takes that line for the names"
    )
    return names, [IngestWarning(column=None, line=layout.header_line, message=message)]


def warn_irregular(count: ExactCount | None, layout: Layout) -> list[IngestWarning]:
    """Warn of short records, and of delimiters behind the last field."""
    warnings = []
    if count is not None and count.first_short is not None:
        line, fields = count.first_short
        more = f", and so have {count.short - 1} others fewer than that" if count.short > 1 else ""
        message = f"line {line} has {fields} fields of {layout.columns}{more}: the missing ones are NULL"
        warnings.append(IngestWarning(column=None, line=line, message=message))
    if count is not None and count.trailing:
        message = f"each row ends with a delimiter, from line {count.first_trailing} on: the empty field is left out"
        warnings.append(IngestWarning(column=None, line=count.first_trailing, message=message))
    return warnings
