"""An exact parser of records, on bytes of UTF-8. It is fast where records are regular and right where they are not.

A field is quoted (`"a ""b"" c"`) or bare; a bare field may have quotes inside. A record ends with LF, CRLF or CR
outside of quotes. Nothing is dropped: spaces belong to values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from lakehouse.services.engines.writer_child.csv.dialect import Dialect
from lakehouse.services.engines.writer_child.source import MAX_COLUMNS

LINE_BREAK = re.compile(rb"\r\n|\n|\r")
MAX_FIELDS = MAX_COLUMNS + 1
"""Fields of one record: the columns that a table may have, and an empty field behind the last delimiter."""


class IncompleteRecord(Exception):
    """The buffer ends within a record. `quote` is the position of the quote that is still open, if there is one."""

    def __init__(self, *, quote: int | None = None) -> None:
        super().__init__("the buffer ends within a record")
        self.quote = quote


class TooManyFields(Exception):
    """A record has more than `MAX_FIELDS` fields: it is not parsed to its end."""

    def __init__(self) -> None:
        super().__init__(f"the record has more than {MAX_FIELDS} fields")


class TextAfterQuote(Exception):
    """A closing quote is followed by something that is neither a delimiter nor the end of the record.

    `end` is the position behind the closing quote.
    """

    def __init__(self, end: int) -> None:
        super().__init__("text follows a closing quote")
        self.end = end


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its bytes without the quotes around it, and whether it was quoted."""

    value: bytes
    quoted: bool


@dataclass(frozen=True, slots=True)
class Record:
    """A record and the position behind its line end. A blank line has one bare, empty field."""

    fields: list[Field]
    end: int

    @property
    def blank(self) -> bool:
        """Whether the record is an empty line."""
        return len(self.fields) == 1 and not self.fields[0].value and not self.fields[0].quoted


class RecordParser:
    """The parser for one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        delimiter, quote = re.escape(dialect.delimiter), re.escape(dialect.quote)
        stops = delimiter + rb"\r\n"
        if dialect.quote:
            self.quoted_pattern = quote + rb"[^" + quote + rb"]*+(?:" + quote * 2 + rb"[^" + quote + rb"]*+)*+" + quote
            self._field = rb"(?:" + self.quoted_pattern + rb"|[^" + quote + stops + rb"]*+)"
        else:
            self.quoted_pattern = b""
            self._field = rb"[^" + stops + rb"]*+"
        self._quoted = re.compile(self.quoted_pattern) if dialect.quote else None
        self._bare = re.compile(rb"[^" + stops + rb"]*+")

    def compile_regular(self, columns: int, *, trailing: bool = False) -> re.Pattern[bytes]:
        """Compile the pattern of a run of regular records: so many fields, no bare field with quotes, none blank.

        With `trailing`, each record ends in one more delimiter.
        """
        delimiter = re.escape(self.dialect.delimiter)
        more = rb"(?:" + delimiter + self._field + rb"){%d}+" % (columns - 1)
        end = (delimiter if trailing else b"") + rb"(?:\n|\r\n|\r(?=[^\n]))"
        not_blank = rb"(?![\r\n])" if columns == 1 else b""
        return re.compile(rb"(?:" + not_blank + self._field + more + end + rb")*+", re.DOTALL)

    def parse(self, data: bytes, start: int, *, final: bool) -> Record:
        """Parse the record at `start`; `final` says that the file ends with `data`.

        Raises IncompleteRecord, TextAfterQuote, TooManyFields.
        """
        fields: list[Field] = []
        position, size, delimiter = start, len(data), self.dialect.delimiter
        while True:
            field, position = self._parse_field(data, position)
            fields.append(field)
            if len(fields) > MAX_FIELDS:
                raise TooManyFields
            if position == size:
                if final:
                    return Record(fields, position)
                raise IncompleteRecord
            byte = data[position : position + 1]
            if byte == delimiter:
                position += 1
                continue
            if byte == b"\r" and position + 1 == size and not final:
                raise IncompleteRecord
            return Record(fields, position + (2 if data[position : position + 2] == b"\r\n" else 1))

    def _parse_field(self, data: bytes, start: int) -> tuple[Field, int]:
        quote = self.dialect.quote
        if quote and data[start : start + 1] == quote:
            assert self._quoted is not None  # noqa: S101 - the dialect has a quote
            match = self._quoted.match(data, start)
            if match is None:
                raise IncompleteRecord(quote=start)
            end = match.end()
            if data[end : end + 1] not in (b"", self.dialect.delimiter, b"\n", b"\r"):
                raise TextAfterQuote(end)
            return Field(data[start + 1 : end - 1].replace(quote * 2, quote), quoted=True), end
        match = self._bare.match(data, start)
        assert match is not None  # noqa: S101 - the pattern matches the empty string
        return Field(match[0], quoted=False), match.end()

    def split(self, data: bytes, start: int = 0, *, final: bool) -> Iterator[tuple[Record, int]]:
        """Yield the complete records from `start` on, each with its position. Raises TextAfterQuote.

        With `final`, also raises IncompleteRecord for a quote that is not closed.
        """
        while start < len(data):
            try:
                record = self.parse(data, start, final=final)
            except IncompleteRecord:
                if final:
                    raise
                return
            yield record, start
            start = record.end

    def write(self, fields: list[Field]) -> bytes:
        """Write a record with LF. A bare field that a parser could take for something else is quoted."""
        return self.dialect.delimiter.join(map(self._write_field, fields)) + b"\n"

    def _write_field(self, field: Field) -> bytes:
        quote = self.dialect.quote
        if quote and (field.quoted or quote in field.value):
            return quote + field.value.replace(quote, quote * 2) + quote
        return field.value

    @cached_property
    def kept(self) -> bytes:
        """All bytes except those that separate fields and records, for `bytes.translate`."""
        return bytes(set(range(256)) - set(self.dialect.quote + self.dialect.delimiter + b"\n"))


def count_line_breaks(data: bytes) -> int:
    """Count the line ends in complete lines, inside quotes as well; CRLF is one."""
    if b"\r" not in data:
        return data.count(b"\n")
    return data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")
