"""The encoding of an upload: found from its first bytes or given, decoded into UTF-8 with exact offsets of errors."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path

from lakehouse.services.engines.writer_child.call_errors import bad_request, unprocessable
from lakehouse.services.engines.writer_child.csv.scan import undecodable

UTF8_MARK = codecs.BOM_UTF8
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
HEAD = 64 * 1024
READ_SIZE = 1024 * 1024
MIN_NULS = 0.08
"""The share of code units with a NUL byte from which on a file without a mark may be UTF-16. Line ends, digits and
delimiters alone are more in a table of any script."""


def find_encoding(head: bytes) -> tuple[str, int]:
    """Find the encoding from a mark, or from the pattern of NUL bytes. Returns it and the size of the mark."""
    if head.startswith(UTF8_MARK):
        return "utf-8", len(UTF8_MARK)
    for mark, name in MARKS:
        if head.startswith(mark):
            return name, len(mark)
    return _find_utf16(head), 0


def _find_utf16(head: bytes) -> str:
    if b"\0" not in head:
        return "utf-8"
    for name, nul, other in (("utf-16-le", 1, 0), ("utf-16-be", 0, 1)):
        units = head[: len(head) // 2 * 2]
        nuls, texts = units[nul::2], units[other::2]
        if texts.count(0) or nuls.count(0) < MIN_NULS * len(nuls) or not nuls.count(0):
            continue
        ends = [partner for text, partner in zip(texts, nuls, strict=True) if text in b"\r\n"]
        if all(partner == 0 for partner in ends) and not any(partner in b"\r\n" for partner in nuls):
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
