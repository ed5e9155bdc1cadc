"""Where the table begins in a CSV file, and how its records are separated: found from the first bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice

from lakehouse.services.contracts.write_engine import ParseOptions
from lakehouse.services.engines.writer_child.call_errors import bad_request, too_large, unprocessable
from lakehouse.services.engines.writer_child.csv.dialect import (
    SEP_LINE,
    UNUSED,
    Dialect,
    find_delimiter,
    find_hidden_delimiter,
    read_delimiter,
    read_quote,
)
from lakehouse.services.engines.writer_child.csv.exact import unclosed_quote
from lakehouse.services.engines.writer_child.csv.records import (
    LINE_BREAK,
    Field,
    IncompleteRecord,
    RecordParser,
    TextAfterQuote,
    TooManyFields,
    count_line_breaks,
)
from lakehouse.services.engines.writer_child.source import MAX_COLUMNS

LOOKED_AT = 20
"""Records below the header that are searched for a delimiter which the header does not have."""
_NUMBER = re.compile(r"\s*[-+]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][-+]?[0-9]+)?\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The dialect, the header, and the position of the first record of the table.

    `header` is None without a header; `guessed` says that this was found out. Lines count from 1; `skipped` are the
    records and blank lines before the table, and `simple` says that the engine may be told to skip so many lines.
    """

    dialect: Dialect
    columns: int
    header: Sequence[str] | None
    header_line: int
    guessed: bool
    data_start: int
    data_line: int
    skipped: int
    simple: bool


class LayoutFinder:
    """Finds the layout of a file. `head` are its first bytes from `start` on, UTF-8; `final` if that is all of it."""

    def __init__(self, head: bytes, start: int, options: ParseOptions, *, final: bool) -> None:
        self._head = head
        self._start = start
        self._options = options
        self._final = final
        self._quote = read_quote(options)
        self._delimiter = read_delimiter(options, self._quote)
        self._position = 0
        self._line = 1

    def find(self) -> Layout:
        """Find the layout. Raises the errors 400, 413 and 422."""
        self._skip_lines()
        self._skip_blank()
        self._obey_sep()
        self._skip_blank()
        if self._position >= len(self._head):
            raise unprocessable("the file is empty: it has no header and no rows")
        delimiter = self._delimiter or self._find_delimiter()
        dialect = Dialect(delimiter=delimiter or self._unused(), quote=self._quote)
        return self._lay_out(dialect)

    def _lay_out(self, dialect: Dialect) -> Layout:
        fields, end = self._parse_first(dialect)
        if len(fields) > MAX_COLUMNS:
            raise too_large(f"line {self._line} has {len(fields)} columns; a table has at most {MAX_COLUMNS}")
        has_header, line = self._options.header, self._line
        guessed = has_header is None and all(map(is_number_or_date, fields))
        if has_header is False or guessed:
            end = self._position
        elif any(b"\0" in field.value for field in fields):
            raise unprocessable(f"line {line}: a name in the header has a NUL: the file is not text", line=line)
        prefix = self._head[:end]
        breaks = count_line_breaks(prefix) + (not prefix.endswith((b"\n", b"\r")) if prefix else 0)
        header = self._head[self._position : end]
        before = self._head[: self._position]
        simple = not self._quote or (self._quote not in before and count_line_breaks(header.rstrip(b"\r\n")) == 0)
        return Layout(
            dialect=dialect,
            columns=len(fields),
            header=None if end == self._position else [field.value.decode() for field in fields],
            header_line=line,
            guessed=guessed,
            data_start=self._start + end,
            data_line=1 + breaks,
            skipped=breaks,
            simple=simple,
        )

    def _parse_first(self, dialect: Dialect) -> tuple[list[Field], int]:
        try:
            record = RecordParser(dialect).parse(self._head, self._position, final=self._final)
        except TextAfterQuote as error:
            line = self._line + count_line_breaks(self._head[self._position : error.end])
            raise unprocessable(f"line {line}: text follows a closing quote in the header", line=line) from error
        except TooManyFields as error:
            raise too_large(
                f"line {self._line} has more than {MAX_COLUMNS} columns, the most that a table has"
            ) from error
        except IncompleteRecord as error:
            if error.quote is not None:
                line = self._line + count_line_breaks(self._head[self._position : error.quote])
                raise unclosed_quote(line) from error
            raise too_large(f"line {self._line}: the header has more than {len(self._head)} bytes") from error
        return record.fields, record.end

    def _skip_lines(self) -> None:
        for _ in range(self._options.skip):
            if not self._skip_line():
                raise bad_request(f"skip: the file has fewer than {self._options.skip} lines")

    def _skip_line(self) -> bool:
        found = LINE_BREAK.search(self._head, self._position)
        if found is None:
            if self._position == len(self._head):
                return False
            self._position = len(self._head)
        else:
            self._position = found.end()
        self._line += 1
        return True

    def _skip_blank(self) -> None:
        while self._head[self._position : self._position + 1] in (b"\n", b"\r"):
            self._skip_line()

    def _obey_sep(self) -> None:
        """Take the delimiter from a line `sep=;`, unless a parameter has one."""
        end = LINE_BREAK.search(self._head, self._position)
        match = SEP_LINE.fullmatch(self._head, self._position, end.start() if end else len(self._head))
        if match is None:
            return
        if not self._options.delimiter:
            self._delimiter = match[1]
        self._skip_line()

    def _find_delimiter(self) -> bytes:
        records = self._first_records()
        delimiter = find_delimiter(records[0], self._quote)
        if not delimiter:
            hidden = find_hidden_delimiter(records[1 : LOOKED_AT + 1], self._quote)
            if hidden:
                self._refuse_title(hidden)
        return delimiter

    def _first_records(self) -> list[bytes]:
        """The first record and some behind it, split at line ends outside of quotes, without the blank ones."""
        quote = re.escape(self._quote)
        quoted = rb"|" + quote + rb"[^" + quote + rb"]*+(?:" + quote + rb")?+" if quote else b""
        record = re.compile(rb"(?:[^\r\n" + quote + rb"]++" + quoted + rb")++")
        return [match[0] for match in islice(record.finditer(self._head, self._position), LOOKED_AT + 1)]

    def _refuse_title(self, delimiter: bytes) -> None:
        position, line = self._position, self._line
        while True:  # to the line of the first record with the delimiter
            end = LINE_BREAK.search(self._head, position)
            text = self._head[position : end.start() if end else len(self._head)]
            if delimiter in text or end is None:
                break
            position, line = end.end(), line + 1
        shown = "tab" if delimiter == b"\t" else delimiter.decode()
        raise unprocessable(
            f"line {self._line} has one column and line {line} has several, separated by {shown!r}: if a title is "
            f"above the header, skip={line - 1} leaves it out; if the file has one column, delimiter= names a "
            "character that it does not contain",
            line=line,
        )

    def _unused(self) -> bytes:
        return next((byte for byte in UNUSED if byte not in self._head), UNUSED[0])


def is_number_or_date(field: Field) -> bool:
    """Whether a field of the first record is a number or a date, as no name of a column is."""
    text = field.value.decode().strip()
    return bool(_NUMBER.fullmatch(text)) or _is_date(text)


def _is_date(text: str) -> bool:
    for parse in (date.fromisoformat, datetime.fromisoformat):
        try:
            parse(text)
        except ValueError:
            continue
        return True
    return False
