"""Files that are no tables, told by their first bytes: archives, workbooks, pages, images.

Each is refused with the name of its kind and what to send in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.engines.writer_child.call_errors import unsupported

HEAD_SIZE = 4096
"""Bytes of the beginning of a file that are looked at."""

_CSV = "export the table as CSV and send that"
_UNPACK = "unpack it and send the file inside"
_RECOMPRESS = "send the file as it is, or compressed with gzip or zstd"
_DATA = "send CSV, TSV, JSON, NDJSON, Parquet or Arrow"


@dataclass(frozen=True, slots=True)
class WrongKind:
    """A kind of file that is not read: how it begins, its name, and what to do."""

    matches: Callable[[bytes], bool]
    name: str
    advice: str


def _begins(*magic: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(magic)


def _is_workbook(head: bytes) -> bool:
    """A zip archive whose first entries are those of an Office workbook."""
    return head.startswith(b"PK\x03\x04") and any(
        name in head for name in (b"xl/", b"[Content_Types].xml", b"opendocument.spreadsheet")
    )


def _is_html(head: bytes) -> bool:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<!--"):
        text = text.partition(b"-->")[2].lstrip()
    return text.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))


def _is_xml(head: bytes) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<?xml")


def _is_bitmap(head: bytes) -> bool:
    """`BM` is also the beginning of words: the reserved bytes of the header and its size decide."""
    return head.startswith(b"BM") and head[6:10] == bytes(4) and head[15:18] == bytes(3)


KINDS = (
    WrongKind(_is_workbook, "a workbook of Excel or another spreadsheet program (a zip archive)", _CSV),
    WrongKind(_begins(b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"), "a zip archive", _UNPACK),
    WrongKind(_begins(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "an old Office document, such as an Excel .xls", _CSV),
    WrongKind(_is_html, "an HTML page (perhaps a login or error page in place of the file)", _DATA),
    WrongKind(_is_xml, "an XML document", _DATA),
    WrongKind(_begins(b"%PDF-"), "a PDF document", _CSV),
    WrongKind(_begins(b"\x89PNG\r\n\x1a\n"), "a PNG image", _DATA),
    WrongKind(_begins(b"\xff\xd8\xff"), "a JPEG image", _DATA),
    WrongKind(_begins(b"GIF87a", b"GIF89a"), "a GIF image", _DATA),
    WrongKind(_begins(b"II*\x00", b"MM\x00*"), "a TIFF image", _DATA),
    WrongKind(lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP", "a WebP image", _DATA),
    WrongKind(_is_bitmap, "a BMP image", _DATA),
    WrongKind(
        _begins(b"BZh1", b"BZh2", b"BZh3", b"BZh4", b"BZh5", b"BZh6", b"BZh7", b"BZh8", b"BZh9"),
        "bzip2 data",
        _RECOMPRESS,
    ),
    WrongKind(_begins(b"\xfd7zXZ\x00"), "xz data", _RECOMPRESS),
    WrongKind(_begins(b"\x04\x22\x4d\x18"), "LZ4 data", _RECOMPRESS),
    WrongKind(_begins(b"7z\xbc\xaf\x27\x1c"), "a 7-Zip archive", _UNPACK),
    WrongKind(_begins(b"Rar!\x1a\x07"), "a RAR archive", _UNPACK),
    WrongKind(lambda head: head[257:262] == b"ustar", "a tar archive", _UNPACK),
    WrongKind(_begins(b"SQLite format 3\x00"), "an SQLite database", _CSV),
    WrongKind(_begins(b"Obj\x01"), "an Avro file", _DATA),
    WrongKind(lambda head: head.startswith(b"ORC") and not head[:64].isascii(), "an ORC file", _DATA),
    WrongKind(_begins(b"FEA1"), "a Feather file of version 1", "write it as version 2, which is Arrow's file format"),
    WrongKind(_begins(b"\x7fELF"), "a program", _DATA),
)


def check_kind(head: bytes) -> None:
    """Raise for a file that begins like one of `KINDS`."""
    for kind in KINDS:
        if kind.matches(head):
            raise _refuse(kind)


def _refuse(kind: WrongKind) -> CallError:
    return unsupported(f"the file is {kind.name}, which is not read: {kind.advice}")
