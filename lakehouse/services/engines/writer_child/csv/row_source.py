"""The records of a CSV file, counted, in a file from which the engine reads them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lakehouse.services.engines.writer_child.csv.exact import ExactCount, ExactPass
from lakehouse.services.engines.writer_child.csv.layout import Layout
from lakehouse.services.engines.writer_child.csv.line_ends import unify_line_ends
from lakehouse.services.engines.writer_child.csv.reader import read_text_sql
from lakehouse.services.engines.writer_child.csv.scan import Scan, scan_records


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The records of the table: the SELECT of their text, and their number by our own count.

    `first_line` is the line of the first record if each record has one line.
    """

    sql: str
    count: int
    exact: ExactCount | None
    first_line: int | None
    find_lines: Callable[[Sequence[int]], dict[int, int]]


class RowSource:
    """Makes the records of one file readable for the engine. `path` is UTF-8; copies go into `staging`."""

    def __init__(
        self, path: Path, layout: Layout, *, nulls: Sequence[str], staging: Path, check: Callable[[], None]
    ) -> None:
        self._path = path
        self._layout = layout
        self._nulls = nulls
        self._staging = staging
        self._check = check

    def read(self, *, only_returns: bool) -> Rows:
        """Scan the records. `only_returns` says that the lines of the file end with CR. Raises the errors 413, 422."""
        path, start, scan = self._path, self._layout.data_start, Scan()
        if not only_returns:
            scan = self._scan(path, start)
        if only_returns or scan.mixed_ends or (scan.crlf and (scan.single_breaks or scan.quoted_breaks)):
            path, start = self._staging / "line-ends.csv", 0
            unify_line_ends(self._path, self._layout.data_start, path, self._layout.dialect, self._check)
            scan = self._scan(path, start)
        if self._is_irregular(scan):
            return self.read_exactly()
        if start and not self._layout.simple:
            path, start = self._copy(), 0
        return Rows(
            sql=self._sql(path, skip=self._layout.skipped if start else 0, crlf=scan.crlf),
            count=scan.records,
            exact=None,
            first_line=None if self._has_other_lines(scan) else self._layout.data_line,
            find_lines=self._locate if self._has_other_lines(scan) else self._add_lines,
        )

    def read_exactly(self) -> Rows:
        """Pass over the records one by one, and write a regular copy. Raises the errors 413 and 422."""
        path = self._staging / "regular.csv"
        count = self._exact_pass().write(path)
        return Rows(
            sql=self._sql(path, skip=0, crlf=False),
            count=count.records,
            exact=count,
            first_line=None,
            find_lines=self._locate,
        )

    def _scan(self, path: Path, start: int) -> Scan:
        return scan_records(path, start, self._layout.dialect, self._check, columns=self._layout.columns)

    def _is_irregular(self, scan: Scan) -> bool:
        expected = scan.records * (self._layout.columns - 1)
        return scan.suspicious or scan.open_quote or scan.mixed_ends or scan.delimiters != expected

    def _has_other_lines(self, scan: Scan) -> bool:
        return bool(scan.quoted_breaks or (scan.blank_lines and self._layout.columns > 1))

    def _copy(self) -> Path:
        """Copy the records without what is above them."""
        path = self._staging / "records.csv"
        with self._path.open("rb") as source, path.open("wb") as target:
            source.seek(self._layout.data_start)
            shutil.copyfileobj(source, target, 1024 * 1024)
        return path

    def _sql(self, path: Path, *, skip: int, crlf: bool) -> str:
        layout = self._layout
        return read_text_sql(path, layout.dialect, columns=layout.columns, skip=skip, nulls=self._nulls, crlf=crlf)

    def _exact_pass(self) -> ExactPass:
        layout = self._layout
        return ExactPass(
            self._path,
            layout.data_start,
            layout.data_line,
            dialect=layout.dialect,
            columns=layout.columns,
            check=self._check,
        )

    def _locate(self, rows: Sequence[int]) -> dict[int, int]:
        return self._exact_pass().locate(rows) if rows else {}

    def _add_lines(self, rows: Sequence[int]) -> dict[int, int]:
        return {row: self._layout.data_line + row for row in rows}
