"""The exact pass over the records: finds every irregular one with its line, and writes a copy without irregularities.

Runs of regular records are recognized by one pattern and copied as they are; only the others are parsed one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lakehouse.services.engines.writer_child.call_errors import too_large, unprocessable
from lakehouse.services.engines.writer_child.csv.dialect import Dialect
from lakehouse.services.engines.writer_child.csv.records import (
    MAX_FIELDS,
    Field,
    IncompleteRecord,
    Record,
    RecordParser,
    TextAfterQuote,
    TooManyFields,
    count_line_breaks,
)
from lakehouse.services.engines.writer_child.csv.scan import MAX_RECORD
from lakehouse.services.engines.writer_child.source import MAX_VALUE

READ_SIZE = 2 * 1024 * 1024


@dataclass(slots=True, kw_only=True)
class ExactCount:
    """The records of a file, with the irregular ones that are permitted."""

    records: int = 0
    short: int = 0
    first_short: tuple[int, int] | None = None
    """The line of the first short record, and the number of its fields."""
    trailing: int = 0
    """Records with an empty field too many at their end."""
    first_trailing: int | None = None
    """The line of the first of them."""


class ExactPass:
    """One pass over the records from `start` on, which is at line `line` of the file."""

    def __init__(
        self, path: Path, start: int, line: int, *, dialect: Dialect, columns: int, check: Callable[[], None]
    ) -> None:
        self.count = ExactCount()
        self._path, self._start, self._line = path, start, line
        self._columns = columns
        self._dialect = dialect
        self._parser = RecordParser(dialect)
        self._regular = self._parser.compile_regular(columns)
        self._trailing = self._parser.compile_regular(columns, trailing=True)
        self._check = check
        self._output: IO[bytes] | None = None
        self._wanted: list[int] = []
        self._found: dict[int, int] = {}

    def write(self, target: Path) -> ExactCount:
        """Write the records to another file, each with all fields and LF. Raises the errors 413 and 422."""
        with target.open("wb") as self._output:
            self._run()
        count = self.count
        if count.trailing not in (0, count.records):
            raise long_record(count.first_trailing, self._columns + 1, self._columns)
        return count

    def locate(self, records: Sequence[int]) -> dict[int, int]:
        """Find the lines of records, which are numbered from 0."""
        self._wanted = sorted(set(records), reverse=True)
        self._run()
        return self._found

    def _run(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._start)
            data, final = b"", False
            while not final:
                self._check()
                block = file.read(READ_SIZE)
                final = not block
                data = data[self._pass(data, final=True) :] if final else self._continue(data + block)
                if not final and not self._wanted and self._output is None:
                    return

    def _continue(self, data: bytes) -> bytes:
        rest = data[self._pass(data, final=False) :]
        if len(rest) > MAX_RECORD:
            raise self._incomplete(rest)
        return rest

    def _pass(self, data: bytes, *, final: bool) -> int:
        """Pass over the complete records of a buffer. Returns the position behind them."""
        position = 0
        while position < len(data):
            for pattern in (self._regular, self._trailing):
                match = pattern.match(data, position)
                if match is not None and match.end() > position:
                    self._take_run(data[position : match.end()], trailing=pattern is self._trailing)
                    position = match.end()
                    break
            else:
                try:
                    record = self._parser.parse(data, position, final=final)
                except IncompleteRecord as error:
                    if final:
                        raise self._incomplete(data[position:]) from error
                    return position
                except TooManyFields as error:
                    raise self._too_many_fields() from error
                except TextAfterQuote as error:
                    raise self._text_after_quote(data, position, error.end) from error
                self._take_record(record, data[position : record.end])
                position = record.end
        return position

    def _take_run(self, run: bytes, *, trailing: bool) -> None:
        outside = self._remove_quoted(run)
        if len(run) > MAX_VALUE:
            self._check_values(run)
        number = count_line_breaks(outside)
        while self._wanted and self._wanted[-1] < self.count.records + number:
            self._locate_in_run(run)
        if trailing:
            self.count.first_trailing = self.count.first_trailing or self._line
            self.count.trailing += number
        self.count.records += number
        self._line += count_line_breaks(run)
        if self._output is not None:
            if trailing or b"\r" in run:
                run = b"".join(
                    self._parser.write(record.fields[: self._columns])
                    for record, _ in self._parser.split(run, final=True)
                )
            self._output.write(run)

    def _take_record(self, record: Record, raw: bytes) -> None:
        line = self._line
        self._line += count_line_breaks(raw)
        fields = record.fields
        if record.blank and self._columns > 1:
            return
        self._check_sizes(fields, line)
        if len(fields) == self._columns + 1 and not fields[-1].value and not fields[-1].quoted:
            self.count.first_trailing = self.count.first_trailing or line
            self.count.trailing += 1
            fields = fields[:-1]
        elif len(fields) > self._columns:
            raise long_record(line, len(fields), self._columns)
        elif len(fields) < self._columns:
            self.count.first_short = self.count.first_short or (line, len(fields))
            self.count.short += 1
            fields = fields + [Field(b"", quoted=False)] * (self._columns - len(fields))
        if self._wanted and self._wanted[-1] == self.count.records:
            self._found[self._wanted.pop()] = line
        self.count.records += 1
        if self._output is not None:
            self._output.write(self._parser.write(fields))

    def _locate_in_run(self, run: bytes) -> None:
        number, line = self.count.records, self._line
        for record, start in self._parser.split(run, final=True):
            if self._wanted and self._wanted[-1] == number:
                self._found[self._wanted.pop()] = line
            number += 1
            line += count_line_breaks(run[start : record.end])

    def _remove_quoted(self, run: bytes) -> bytes:
        if not self._dialect.quote or self._dialect.quote not in run:
            return run
        return re.sub(self._parser.quoted_pattern, b"x", run)

    def _check_values(self, run: bytes) -> None:
        line = self._line
        for record, start in self._parser.split(run, final=True):
            self._check_sizes(record.fields, line)
            line += count_line_breaks(run[start : record.end])

    def _check_sizes(self, fields: list[Field], line: int) -> None:
        for number, field in enumerate(fields, 1):
            if len(field.value) > MAX_VALUE:
                raise too_large(
                    f"line {line}: the value of column {number} has {len(field.value)} bytes; a value has at most "
                    f"{MAX_VALUE}",
                    line=line,
                )

    def _incomplete(self, rest: bytes) -> Exception:
        """The error for the end of the file, or of what a record may have, within a record."""
        try:
            self._parser.parse(rest, 0, final=False)
        except IncompleteRecord as error:
            if error.quote is not None:
                return unclosed_quote(self._line + count_line_breaks(rest[: error.quote]))
        return too_large(f"line {self._line}: the record has more than {MAX_RECORD} bytes", line=self._line)

    def _too_many_fields(self) -> Exception:
        return unprocessable(
            f"line {self._line} has more than {MAX_FIELDS} fields, and the header has {self._columns}",
            line=self._line,
            columns=self._columns,
        )

    def _text_after_quote(self, data: bytes, start: int, end: int) -> Exception:
        line = self._line + count_line_breaks(data[start:end])
        text = data[end : end + 20].decode(errors="replace").splitlines()[0]
        return unprocessable(
            f"line {line}: {text!r} follows a closing quote: a quoted value ends at its quote, and a quote in it is "
            "doubled",
            line=line,
        )


def unclosed_quote(line: int) -> Exception:
    """The error 422 for a quote that is never closed."""
    return unprocessable(f"line {line}: the quote that opens here is never closed", line=line)


def long_record(line: int | None, fields: int, columns: int) -> Exception:
    """The error 422 for a record with too many fields."""
    return unprocessable(
        f"line {line} has {fields} fields, and the header has {columns}", line=line, fields=fields, columns=columns
    )
