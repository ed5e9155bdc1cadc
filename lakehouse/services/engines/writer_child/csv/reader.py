"""The SELECT that reads a CSV file as text: no guessing, each rule of the dialect is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lakehouse.services.engines.database import quote
from lakehouse.services.engines.writer_child.csv.dialect import Dialect
from lakehouse.services.engines.writer_child.csv.scan import MAX_RECORD

BUFFER_SIZE = 24 * 1024 * 1024
"""Bytes of one buffer of the engine, which holds at least one record."""


WIDE = 2000
"""The columns from which on one thread reads: each holds 2,048 rows of all columns in memory."""


def name_column(position: int) -> str:
    """The name of a column while it is text: names of the file may differ in case only."""
    return f"c{position}"


def read_text_sql(
    path: Path, dialect: Dialect, *, columns: int, skip: int, nulls: Sequence[str], crlf: bool = False
) -> str:
    """Write the SELECT. `skip` are the lines before the first record; `nulls` are the bare words that mean NULL.

    With `crlf` the records end with CRLF, and no quoted value has a line break: the engine would take the first one,
    also inside quotes, for the end of a record.
    """
    names = ", ".join(f"'{name_column(position)}': 'VARCHAR'" for position in range(columns))
    mark = quote(dialect.quote.decode())
    one_thread = ", parallel = false" if columns > WIDE else ""
    more = one_thread + ("" if crlf else r", new_line = '\n'")
    return (
        f"SELECT * FROM read_csv({quote(str(path))}, auto_detect = false, delim = {quote(dialect.delimiter.decode())}, "
        f"quote = {mark}, escape = {mark}, columns = {{{names}}}, header = false, skip = {skip}, comment = '', "
        f"nullstr = [{', '.join(map(quote, nulls))}], allow_quoted_nulls = false, strict_mode = true, "
        f"max_line_size = {MAX_RECORD}, buffer_size = {BUFFER_SIZE}, compression = 'uncompressed'{more})"
    )
