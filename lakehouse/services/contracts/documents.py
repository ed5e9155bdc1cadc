"""The contract of the extraction of documents: which files are documents, and their texts as passages.

A text file (`.txt`, `text/plain`) is a document only if the request says so: many tables have that name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

import msgspec

DocumentFormat = Literal["text", "markdown", "html", "pdf", "docx"]
FORMATS: tuple[DocumentFormat, ...] = ("text", "markdown", "html", "pdf", "docx")
SUFFIXES: Mapping[str, DocumentFormat] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
}
TEXT_SUFFIXES = (".txt", ".text", ".rst")
"""Suffixes of files that are documents where a whole folder is one corpus."""
MEDIA_TYPES: Mapping[str, DocumentFormat] = {
    "text/markdown": "markdown",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
}


class Passage(msgspec.Struct, frozen=True, array_like=True):
    """A part of a document's text. `start` and `end` are positions of characters in the text.

    `headings` are those above the passage, from the top; `page` counts from 1, None for a format without pages.
    """

    text: str
    start: int
    end: int
    headings: Sequence[str]
    page: int | None


class ExtractedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The passages of a file in their order. `pages` is None for a format without pages."""

    passages: Sequence[Passage]
    characters: int
    title: str
    pages: int | None
    warnings: Sequence[str]


class PassageSize(msgspec.Struct, frozen=True, kw_only=True):
    """The size of passages in words: at most `maximum`; one that has `minimum` ends with its section."""

    minimum: int
    maximum: int


class DocumentExtractor(Protocol):
    """Reads documents in sandboxed children."""

    async def extract(
        self, path: Path, document_format: DocumentFormat, *, encoding: str = "", size: PassageSize
    ) -> ExtractedDocument:
        """Read a file and cut its text into passages. A cancelled call ends its child's work at once.

        Raises ErrUnprocessable for a file that cannot be read or needs more than its time or memory, ErrTooLarge,
        ErrBadRequest for an encoding that does not exist, ErrUnavailable.
        """


def find_format(file_name: str, content_type: str = "") -> DocumentFormat | None:
    """The format of a file by its media type, else by the suffix of its name; None for all others."""
    by_type = MEDIA_TYPES.get(content_type.partition(";")[0].strip().lower())
    return by_type or SUFFIXES.get(PurePosixPath(file_name).suffix.lower())


def find_format_in_folder(file_name: str) -> DocumentFormat | None:
    """The format of a file in a folder of documents, where text files are documents as well."""
    found = find_format(file_name)
    if found is None and PurePosixPath(file_name).suffix.lower() in TEXT_SUFFIXES:
        return "text"
    return found
