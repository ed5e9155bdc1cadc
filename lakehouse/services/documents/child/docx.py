"""DOCX: the archive, whose parts are read as streams. Sizes are checked in the directory and counted while reading."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator

from lakehouse.services.documents.child.document import Document, TextBuilder
from lakehouse.services.documents.child.errors import too_large, unprocessable
from lakehouse.services.documents.child.word_xml import BodyReader, read_styles

MAX_INFLATED = 64 * 2**20
"""Bytes of one part. A text of 16 million characters has less."""
MAX_ENTRIES = 20_000
PIECE = 64 * 1024
STYLES = "word/styles.xml"
BODY = "word/document.xml"
NOTES = ("word/footnotes.xml", "word/endnotes.xml")
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_BROKEN = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError)


def read_docx(content: bytes, check: Callable[[], None]) -> Document:
    """The text of a DOCX file: the body, then footnotes and endnotes. `check` raises if the call is cancelled."""
    if content.startswith(OLE):
        raise unprocessable(
            "the file is an encrypted document or an old Word .doc: save it as .docx without a password"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _read(archive, check)
    except _BROKEN as error:
        raise unprocessable(f"the file cannot be read as DOCX: {error}") from error


def _read(archive: zipfile.ZipFile, check: Callable[[], None]) -> Document:
    sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    if len(sizes) > MAX_ENTRIES:
        raise unprocessable(f"the DOCX file has {len(sizes)} parts, and {MAX_ENTRIES} are the most")
    if BODY not in sizes:
        raise unprocessable(f"the file is a zip archive and no DOCX file: it has no {BODY}")
    for name in (BODY, STYLES, *NOTES):
        if sizes.get(name, 0) > MAX_INFLATED:
            raise _make_too_large(name)
    levels = read_styles(_iterate(archive, STYLES, check)) if STYLES in sizes else {}
    builder = TextBuilder()
    for name in (BODY, *NOTES):
        if name in sizes:
            BodyReader(builder, levels).read(_iterate(archive, name, check))
    return builder.finish()


def _iterate(archive: zipfile.ZipFile, name: str, check: Callable[[], None]) -> Iterator[bytes]:
    """The bytes of a part. The directory may say less than there is, so they are counted."""
    count = 0
    with archive.open(name) as part:
        while piece := part.read(PIECE):
            check()
            count += len(piece)
            if count > MAX_INFLATED:
                raise _make_too_large(name)
            yield piece


def _make_too_large(name: str) -> Exception:
    return too_large(f"{name} of the DOCX file has more than {MAX_INFLATED // 2**20} MiB when it is unpacked")
