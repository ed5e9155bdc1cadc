"""Different line ends in one file become LF, outside of quotes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lakehouse.services.engines.writer_child.csv.dialect import Dialect

READ_SIZE = 2 * 1024 * 1024


def unify_line_ends(source: Path, start: int, target: Path, dialect: Dialect, check: Callable[[], None]) -> None:
    """Write the file from `start` on with LF in place of CRLF and CR, except within quotes."""
    inside, held = False, b""
    with source.open("rb") as file, target.open("wb") as output:
        file.seek(start)
        while data := file.read(READ_SIZE):
            check()
            data = held + data
            held = b"\r" if data.endswith(b"\r") else b""
            if held:
                data = data[:-1]
            parts = data.split(dialect.quote) if dialect.quote else [data]
            for index in range(int(inside), len(parts), 2):
                if b"\r" in parts[index]:
                    parts[index] = parts[index].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            inside ^= len(parts) % 2 == 0
            output.write(dialect.quote.join(parts))
        output.write((b"\r" if inside else b"\n") if held else b"")
