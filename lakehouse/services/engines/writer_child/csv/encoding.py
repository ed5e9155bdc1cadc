"""The encoding of an upload: found from its first bytes or given, decoded into UTF-8 with exact offsets of errors."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path

from lakehouse.services.engines.writer_child.call_errors import bad_request, unprocessable
from lakehouse.services.engines.writer_child.csv.scan import undecodable
from lakehouse.services.engines.writer_child.text_chunks import find_mark

HEAD = 64 * 1024
READ_SIZE = 1024 * 1024
COMMON = b'\r\n\t ,;|"0123456789'
MIN_NULS = 0.4
"""The share of these bytes with a NUL from which on the file is UTF-16. In UTF-8 they have none, and in UTF-16 the same
bytes are also halves of other characters."""


def find_encoding(head: bytes) -> tuple[str, int]:
    """Find the encoding from a mark, or from the pattern of NUL bytes. Returns it and the size of the mark."""
    marked, size = find_mark(head)
    return (marked, size) if marked else (_find_utf16(head), 0)


def _find_utf16(head: bytes) -> str:
    """Find UTF-16 without a mark: beside most bytes of line ends, digits and delimiters there is a NUL."""
    if b"\0" not in head:
        return "utf-8"
    units = head[: len(head) // 2 * 2]
    for name, low, high in (("utf-16-le", units[::2], units[1::2]), ("utf-16-be", units[1::2], units[::2])):
        partners = [partner for byte, partner in zip(low, high, strict=True) if byte in COMMON]
        if partners and partners.count(0) >= MIN_NULS * len(partners):
            return name
    return "utf-8"


def read_encoding(name: str) -> str:
    """Read the parameter `encoding`: a name that Python knows, of an encoding of text. Raises the error 400."""
    try:
        info = codecs.lookup(name)
        if not getattr(info, "_is_text_encoding", True) or info.incrementaldecoder is None:
            raise LookupError
        b"".decode(info.name)
    except (LookupError, UnicodeError, ValueError):
        raise bad_request(f"encoding: {name!r} is not the name of an encoding") from None
    return info.name


def decode_file(source: Path, encoding: str, start: int, target: Path, check: Callable[[], None]) -> None:
    """Write the text of `source` from `start` on as UTF-8. Raises the error 422 with the offset of a wrong byte."""
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = start
    with source.open("rb") as file, target.open("wb") as output:
        file.seek(start)
        final = False
        while not final:
            check()
            block = file.read(READ_SIZE)
            final = not block
            offset += len(block)
            try:
                text = decoder.decode(block, final)
                output.write(text.encode())
            except UnicodeDecodeError as error:
                position = offset - len(error.object) + error.start
                raise undecodable(position, error.object[error.start], encoding) from None
            except UnicodeEncodeError as error:  # a lone surrogate, which some decoders let through
                raise unprocessable(f"the text has a surrogate without its partner: {error.reason}") from None
            except UnicodeError as error:
                raise unprocessable(f"the file cannot be decoded as {encoding}: {error}") from None
