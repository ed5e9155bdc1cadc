"""The text of a document and its blocks: headings, paragraphs, and lines that stay lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lakehouse.services.documents.child.errors import too_large

BlockKind = Literal["heading", "paragraph", "lines"]
"""`lines` are code, lists and tables, which are cut between lines."""

MAX_CHARACTERS = 16 * 2**20
MAX_TITLE = 200
"""Characters of a heading that a passage is given."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block from `start` to `end` of the text. `level` (from 1) and `title` are those of a heading."""

    kind: BlockKind
    start: int
    end: int
    page: int | None = None
    level: int = 0
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document's text and the blocks that cover it, in their order; between blocks there is only white space."""

    text: str
    blocks: Sequence[Block]
    title: str = ""
    pages: int | None = None
    warnings: Sequence[str] = field(default_factory=list)


class TextBuilder:
    """Builds text and blocks from what a parser finds. Consecutive lines become one block."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._parts: list[str] = []
        self._length = 0
        self._continued = False
        """Whether the next line belongs to the block of lines that comes last."""

    def add_paragraph(self, text: str, *, page: int | None = None) -> None:
        """Add a block of prose."""
        self._add("paragraph", text.strip(), page=page)

    def add_heading(self, text: str, level: int) -> None:
        """Add a heading; its text begins with one `#` for each level."""
        title = " ".join(text.split())
        if title:
            self._add("heading", f"{'#' * level} {title}", level=level, title=title[:MAX_TITLE])

    def add_line(self, text: str) -> None:
        """Add a line, to the block of lines that comes last if there is one."""
        text = text.strip()
        if not text:
            return
        if self._continued:
            self._append("\n" + text)
            self.blocks[-1] = Block("lines", self.blocks[-1].start, self._length)
        else:
            self._add("lines", text)
            self._continued = True

    def add_code(self, text: str) -> None:
        """Add text whose lines and spaces are kept, as a block of its own."""
        self._add("lines", text.strip("\r\n").rstrip())

    def end_lines(self) -> None:
        """Let the next line begin a block of its own."""
        self._continued = False

    def finish(self, *, title: str = "", pages: int | None = None, warnings: Sequence[str] = ()) -> Document:
        """The document."""
        return Document(
            text="".join(self._parts),
            blocks=self.blocks,
            title=" ".join(title.split())[:MAX_TITLE],
            pages=pages,
            warnings=warnings,
        )

    def _add(self, kind: BlockKind, text: str, *, page: int | None = None, level: int = 0, title: str = "") -> None:
        if not text.strip():
            return
        self._continued = False
        if self.blocks:
            self._append("\n\n")
        start = self._length
        self._append(text)
        self.blocks.append(Block(kind, start, self._length, page, level, title))

    def _append(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)
        check_length(self._length)


def check_length(characters: int) -> None:
    """Raise the error 413 for a text that is too long."""
    if characters > MAX_CHARACTERS:
        raise too_large(f"the document has more than {MAX_CHARACTERS} characters of text: split it")
