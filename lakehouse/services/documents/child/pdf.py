"""PDF: the text of each page, as pypdf finds it."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable

import pypdf
from pypdf.errors import DependencyError, FileNotDecryptedError, LimitReachedError

from lakehouse.process.calls.rpc_child import CallCancelled, CallError
from lakehouse.services.documents.child.document import Document, TextBuilder
from lakehouse.services.documents.child.errors import unprocessable

MAX_PAGES = 20_000
MAX_LISTED = 20
"""Pages that a warning names."""
MAX_REASON = 200

_ENCRYPTED = "the PDF is encrypted with a password: send it without"
_SCANNED = (
    "the PDF has no text: its {pages} {noun} images or empty, as a scanner makes them; "
    "run text recognition (OCR) on it and send the result"
)


def read_pdf(content: bytes, check: Callable[[], None]) -> Document:
    """The text of a PDF. `check` raises if the call is cancelled. Raises the error 422."""
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # a damaged file makes thousands of lines
    try:
        return _read(content, check)
    except (CallError, CallCancelled, MemoryError):
        raise
    except LimitReachedError as error:
        raise unprocessable(f"the PDF exceeds a limit of the reader: {_shorten(error)}") from error
    except (FileNotDecryptedError, DependencyError) as error:
        raise unprocessable(_ENCRYPTED) from error
    except Exception as error:  # a damaged file makes pypdf raise exceptions of all kinds
        raise unprocessable(f"the file cannot be read as PDF: {_shorten(error)}") from error


def _read(content: bytes, check: Callable[[], None]) -> Document:
    if b"%PDF-" not in content[:1024]:
        raise unprocessable("the file is not a PDF: it does not begin with %PDF-")
    reader = pypdf.PdfReader(io.BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):
        raise unprocessable(_ENCRYPTED)
    count = len(reader.pages)
    if count > MAX_PAGES:
        raise unprocessable(f"the PDF has {count} pages, and {MAX_PAGES} are the most: split it")
    pages = _PageReader()
    for number in range(1, count + 1):
        check()
        pages.read(reader, number)
    return pages.finish(count, _find_title(reader))


class _PageReader:
    """Reads pages, and keeps which have no text and which cannot be read."""

    def __init__(self) -> None:
        self._builder = TextBuilder()
        self._empty: list[int] = []
        self._broken: list[int] = []
        self._reason = ""

    def read(self, reader: pypdf.PdfReader, number: int) -> None:
        """Read a page, by its number from 1. A page that is damaged does not end the others."""
        try:
            text = _clean(reader.pages[number - 1].extract_text())
        except (LimitReachedError, MemoryError, CallCancelled):
            raise
        except Exception as error:  # noqa: BLE001 - as in `read_pdf`; the page is named in a warning
            self._broken.append(number)
            self._reason = self._reason or _shorten(error)
            return
        if not text.strip():
            self._empty.append(number)
        for paragraph in text.split("\n\n"):
            self._builder.add_paragraph(paragraph, page=number)

    def finish(self, count: int, title: str) -> Document:
        """The document. Raises the error 422 if it has no text at all."""
        if not self._builder.blocks:
            if self._broken:
                raise unprocessable(f"no page of the PDF can be read: {self._reason}")
            raise unprocessable(_SCANNED.format(pages=count, noun="page is an image" if count == 1 else "pages are"))
        warnings = []
        if self._empty:
            warnings.append(f"{_list_pages(self._empty)} without text, such as a scanned image: nothing of it is found")
        if self._broken:
            warnings.append(f"{_list_pages(self._broken)} cannot be read and is left out: {self._reason}")
        return self._builder.finish(title=title, pages=count, warnings=warnings)


def _list_pages(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:MAX_LISTED]))
    more = f" and {len(numbers) - MAX_LISTED} more" if len(numbers) > MAX_LISTED else ""
    return f"page {shown}{more}"


def _clean(text: str) -> str:
    """Without what cannot be stored or shown: NUL, and surrogates from damaged fonts."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _find_title(reader: pypdf.PdfReader) -> str:
    try:
        title = reader.metadata.title if reader.metadata else None
        return _clean(title) if isinstance(title, str) else ""
    except LimitReachedError:
        raise
    except Exception:  # noqa: BLE001 - the title is not needed
        return ""


def _shorten(error: Exception) -> str:
    reason = _clean(str(error)) or type(error).__name__
    return reason if len(reason) <= MAX_REASON else reason[:MAX_REASON] + "..."
