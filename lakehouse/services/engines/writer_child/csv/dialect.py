"""The dialect of a CSV file, found in its first records, and the rules for its parameters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lakehouse.services.contracts.write_engine import DELIMITER_NAMES, NO_QUOTE, ParseOptions
from lakehouse.services.engines.writer_child.call_errors import bad_request

DELIMITERS = b",\t;|"
"""The delimiters that are looked for; the first one wins where several are equally frequent."""
UNUSED = (b"\x1f", b"\x1e", b"\x1d", b"\x1c", b"\x01", b"\x02", b"\x03")
"""Delimiters for a file of one column: the first one that the file does not contain."""

SEP_LINE = re.compile(rb'"?sep=(.)"?', re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One byte each; an empty quote means that the file has no quotes."""

    delimiter: bytes
    quote: bytes = b'"'


def read_quote(options: ParseOptions) -> bytes:
    """Read the parameter `quote`: one ASCII character, or "none". Raises the error 400."""
    if not options.quote:
        return b'"'
    if options.quote.lower() == NO_QUOTE:
        return b""
    return _one_byte(options.quote, "quote")


def read_delimiter(options: ParseOptions, quote: bytes) -> bytes:
    """Read the parameter `delimiter`: one ASCII character or its name; empty if it is not given. Raises 400."""
    if not options.delimiter:
        return b"\t" if options.format == "tsv" else b""
    delimiter = _one_byte(DELIMITER_NAMES.get(options.delimiter.lower(), options.delimiter), "delimiter")
    if delimiter == quote:
        raise bad_request("delimiter: the delimiter and the quote must be different characters")
    return delimiter


def _one_byte(text: str, parameter: str) -> bytes:
    if len(text) != 1 or not text.isascii() or text in "\r\n\0":
        raise bad_request(f"{parameter}: one ASCII character is needed, not {text!r}")
    return text.encode()


def count_delimiters(record: bytes, quote: bytes) -> dict[bytes, int]:
    """Count each of the possible delimiters outside of quotes."""
    outside = b"".join(record.split(quote)[::2]) if quote else record
    return {bytes((byte,)): outside.count(byte) for byte in DELIMITERS if bytes((byte,)) != quote}


def find_delimiter(record: bytes, quote: bytes) -> bytes:
    """Find the most frequent delimiter outside of quotes in the header; empty if it has none."""
    counts = count_delimiters(record, quote)
    best = max(counts, key=lambda delimiter: counts[delimiter])
    return best if counts[best] else b""


def find_hidden_delimiter(records: Sequence[bytes], quote: bytes) -> bytes:
    """Find the delimiter that most records have equally often, below a first line without any: a title is above it.

    Returns an empty delimiter if there is none.
    """
    for byte in DELIMITERS:
        delimiter = bytes((byte,))
        counts = [count_delimiters(record, quote).get(delimiter, 0) for record in records]
        frequent = [count for count in counts if count]
        if len(frequent) >= 2 and 2 * len(frequent) > len(counts) and frequent.count(frequent[0]) == len(frequent):
            return delimiter
    return b""
