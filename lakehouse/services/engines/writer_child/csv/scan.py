"""The scan of a whole CSV file, before the engine reads it: UTF-8, line ends, numbers of records and delimiters.

It works on blocks of whole lines, with operations on bytes that take one pass in C each: the first one leaves only the
bytes that separate, which are a few percent. The numbers are right for files whose quotes are all syntax. A bare quote
inside a value falsifies them, and then they differ from the engine's: the exact pass (`exact`) decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from lakehouse.services.engines.writer_child.call_errors import too_large, unprocessable
from lakehouse.services.engines.writer_child.csv.dialect import Dialect
from lakehouse.services.engines.writer_child.csv.records import RecordParser
from lakehouse.services.engines.writer_child.source import MAX_VALUE

BLOCK = 128 * 1024
SPACE = 32
MAX_RECORD = 20_000_000
"""Bytes of a record. A value has at most `MAX_VALUE`."""


class Scan:
    """The result of a scan of the records from an offset on."""

    def __init__(self) -> None:
        self.records = 0
        self.delimiters = 0
        self.quoted_breaks = 0
        """Line ends inside quotes."""
        self.blank_lines = 0
        self.mixed_ends = False
        """Whether the records end differently, or with CR alone."""
        self.crlf = False
        """Whether records end with CRLF."""
        self.single_breaks = False
        """Whether a file with CRLF has LF or CR alone, which may be inside quotes."""
        self.suspicious = False
        """Whether a space is next to a quote, where the engine's parser drops it."""
        self.open_quote = False
        """Whether the file ends inside quotes."""


def read_blocks(path: Path, start: int, check: Callable[[], None]) -> Iterator[tuple[bytes, int]]:
    """Yield blocks that end with LF, except for the last one, each with its offset in the file.

    Raises the error 413 for a line that is too long.
    """
    with path.open("rb") as file:
        file.seek(start)
        rest, offset = b"", start
        while data := file.read(BLOCK):
            check()
            cut = data.rfind(b"\n") + 1
            if not cut:
                rest += data
                if len(rest) > MAX_RECORD:
                    raise too_large(
                        f"the file has a line of more than {MAX_RECORD} bytes at offset {offset}", offset=offset
                    )
                continue
            block = rest + data[:cut] if rest else data[:cut] if cut < len(data) else data
            yield block, offset
            offset += len(block)
            rest = data[cut:]
        if rest:
            yield rest, offset


def check_utf8(block: bytes, offset: int) -> None:
    """Raise the error 422 with the offset of the first byte that is not UTF-8."""
    if block.isascii():
        return
    try:
        block.decode()
    except UnicodeDecodeError as error:
        raise undecodable(offset + error.start, block[error.start], "UTF-8") from None


def undecodable(offset: int, byte: int, encoding: str) -> Exception:
    """The error 422 for a byte that cannot be decoded."""
    return unprocessable(
        f"the byte at offset {offset} (0x{byte:02x}) is not {encoding}: the parameter encoding names another encoding, "
        "such as encoding=latin-1",
        offset=offset,
    )


def scan_records(path: Path, start: int, dialect: Dialect, check: Callable[[], None], *, columns: int) -> Scan:
    """Scan the records from `start` on. `check` is called for each block. Stops early at mixed line ends."""
    scanner = _Scanner(dialect, columns)
    for block, offset in read_blocks(path, start, check):
        check_utf8(block, offset)
        scanner.feed(block)
        if scanner.scan.mixed_ends:
            break
    return scanner.finish()


class _Scanner:
    def __init__(self, dialect: Dialect, columns: int) -> None:
        self.scan = Scan()
        self._dialect = dialect
        self._kept = RecordParser(dialect).kept
        self._columns = columns
        self._inside = False
        self._size = 0
        self._ends: set[bytes] = set()
        quote = re.escape(dialect.quote)
        self._spaced = re.compile(quote + rb"(?:(?<= " + quote + rb")|(?= ))")
        self._stops = dialect.delimiter + b"\r\n"
        self._quoted = re.compile(quote + rb"[^" + quote + rb"]*" + quote) if quote else None

    def feed(self, block: bytes) -> None:
        """Count one block, which begins after a line end or at the start."""
        quote, was_inside = self._dialect.quote, self._inside
        reduced = block.translate(None, self._kept)
        self._check_size(block, may_continue=was_inside and quote not in reduced)
        lines = reduced.count(b"\n")
        if was_inside or (quote and quote in reduced):
            self._count_outside(reduced, lines)
            self._find_spaces(block)
        else:
            self.scan.records += lines
            self.scan.delimiters += len(reduced) - lines
        if not block.endswith(b"\n") and not self._inside:
            self.scan.records += 1
        if b"\r" in block:
            self._check_ends(block, was_inside)
        elif not was_inside:
            self._ends.add(b"\n")
        if len(self._ends) > 1 or b"\r" in self._ends:
            self.scan.mixed_ends = True
        if self._columns > 1 and (reduced.startswith(b"\n") or b"\n\n" in reduced):
            self._count_blank(block, was_inside)

    def _check_size(self, block: bytes, *, may_continue: bool) -> None:
        """Let the exact pass look for values that are too large, if there may be one."""
        self._size = self._size + len(block) if may_continue else len(block)
        if self._size > MAX_VALUE:
            self.scan.suspicious = True

    def _count_outside(self, reduced: bytes, lines: int) -> None:
        quote = self._dialect.quote
        if self._inside:
            reduced = quote + reduced
        parts = reduced.replace(quote * 2, b"").split(quote)
        outside, self._inside = b"".join(parts[::2]), len(parts) % 2 == 0
        lines_outside = outside.count(b"\n")
        self.scan.records += lines_outside
        self.scan.delimiters += len(outside) - lines_outside
        self.scan.quoted_breaks += lines - lines_outside

    def _find_spaces(self, block: bytes) -> None:
        if not self.scan.suspicious and self._dialect.delimiter != b" ":
            self.scan.suspicious = any(
                is_beside_spaces(block, match.start(), self._stops) for match in self._spaced.finditer(block)
            )

    def _check_ends(self, block: bytes, was_inside: bool) -> None:
        """Find out how the records of a block with CR end."""
        returns, pairs, feeds = block.count(b"\r"), block.count(b"\r\n"), block.count(b"\n")
        if not returns == pairs == feeds:  # they may differ inside quotes
            self.scan.single_breaks = True
            outside = self._remove_quoted(block, was_inside)
            returns, pairs, feeds = outside.count(b"\r"), outside.count(b"\r\n"), outside.count(b"\n")
        if pairs:
            self._ends.add(b"\r\n")
        if returns > pairs:
            self._ends.add(b"\r")
        if feeds > pairs:
            self._ends.add(b"\n")

    def _count_blank(self, block: bytes, was_inside: bool) -> None:
        outside = b"\n" + self._remove_quoted(block, was_inside, b"x").replace(b"\r\n", b"\n")
        runs = re.findall(rb"\n\n+", outside)
        self.scan.blank_lines += sum(map(len, runs)) - len(runs)

    def _remove_quoted(self, block: bytes, was_inside: bool, by: bytes = b"") -> bytes:
        if self._quoted is None:
            return block
        text = self._dialect.quote + block if was_inside else block
        text = self._quoted.sub(by, text)
        return text.partition(self._dialect.quote)[0] + (by if self._inside else b"")

    def finish(self) -> Scan:
        """Complete the numbers: blank lines are records in a file of one column, and not counted there."""
        self.scan.records -= self.scan.blank_lines
        self.scan.crlf = b"\r\n" in self._ends
        self.scan.open_quote = self._inside
        return self.scan


def is_beside_spaces(block: bytes, quote: int, stops: bytes) -> bool:
    """Whether only spaces are between the quote at this position and the beginning or the end of its field."""
    start, end = quote, quote + 1
    while start and block[start - 1] == SPACE:
        start -= 1
    while end < len(block) and block[end] == SPACE:
        end += 1
    before = start < quote and (not start or block[start - 1] in stops)
    after = end > quote + 1 and (end == len(block) or block[end] in stops)
    return before or after
