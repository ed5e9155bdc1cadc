"""A text file as decoded chunks. A byte that does not decode is reported with its offset, never replaced."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from pathlib import Path

from lakehouse.services.engines.writer_child.call_errors import bad_request, unprocessable

CHUNK = 2**20
"""Bytes that are read at once."""

_MARKS = (  # those of UTF-32 first: that of UTF-16-LE is the beginning of one of them
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NO_CHARACTER_SETS = {"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "mbcs", "oem"}


def find_encoding(head: bytes, option: str) -> tuple[str, int]:
    """The encoding of a text file that begins with `head`, and how many bytes its byte order mark has.

    `option` is the name that the client gave, or "". Raises `CallError` (400) for a name that Python does not know.
    """
    marked, size = find_mark(head)
    if option:
        name = _look_up(option)
        fits = bool(marked) and name in (marked, marked[:6].rstrip("-"), f"{marked}-sig")
        return (marked, size) if fits else (name, 0)
    return (marked, size) if marked else (_guess(head), 0)


def find_mark(head: bytes) -> tuple[str, int]:
    """The encoding that a byte order mark names, and the size of the mark; without a mark "" and 0."""
    return next(((name, len(mark)) for mark, name in _MARKS if head.startswith(mark)), ("", 0))


def _look_up(option: str) -> str:
    try:
        info = codecs.lookup(option)
    except (LookupError, ValueError):
        raise bad_request(f"`encoding` is no encoding that Python knows: {option[:40]!r}") from None
    if info.name in _NO_CHARACTER_SETS or not getattr(info, "_is_text_encoding", True):
        raise bad_request(f"`encoding` is not the name of a character set: {option[:40]!r}")
    return info.name


def _guess(head: bytes) -> str:
    """UTF-16 without a mark has zeros in one half of most characters; everything else is read as UTF-8."""
    sample = head[: min(len(head), 256) & ~1]
    half = len(sample) // 2
    if half and sample[1::2].count(0) * 4 >= half * 3:
        return "utf-16-le"
    if half and sample[0::2].count(0) * 4 >= half * 3:
        return "utf-16-be"
    return "utf-8"


class TextChunks:
    """The decoded chunks of a file, and the encoding that was found."""

    def __init__(self, path: Path, encoding: str, *, check: Callable[[], None]) -> None:
        """`encoding` is the client's parameter, or ""; `check` is called before every read and may raise."""
        self._path = path
        self._check = check
        with path.open("rb") as file:
            self.encoding, self.mark = find_encoding(file.read(4096), encoding)
        self._named = encoding

    def __iter__(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder(self.encoding)("strict")
        offset = self.mark
        with self._path.open("rb") as file:
            file.seek(self.mark)
            while data := file.read(CHUNK):
                self._check()
                yield self._decode(decoder, data, offset, final=False)
                offset += len(data)
            yield self._decode(decoder, b"", offset, final=True)

    def _decode(self, decoder: codecs.IncrementalDecoder, data: bytes, offset: int, *, final: bool) -> str:
        pending = decoder.getstate()[0]
        try:
            return decoder.decode(data, final)
        except UnicodeDecodeError as error:
            position = offset - len(pending) + error.start
            byte = (pending + data)[error.start]
            hint = "" if self._named else ": name the encoding, such as `encoding=latin-1`"
            raise unprocessable(
                f"the byte 0x{byte:02x} at offset {position} is not valid in {self.encoding}{hint}", offset=position
            ) from None
