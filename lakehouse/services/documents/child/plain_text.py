"""Text and Markdown. The text of the document is that of the file, character by character."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lakehouse.services.documents.child.document import MAX_TITLE, Block, BlockKind, Document, check_length

_BLANK = re.compile(r"\n[ \t\r\f\v]*(?:\n[ \t\r\f\v]*)*\n")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*\r?\n?$")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*\r?\n?$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]|[ \t]*\|")


def read_text(text: str, warnings: list[str]) -> Document:
    """A text: paragraphs between blank lines."""
    check_length(len(text))
    return Document(text=text, blocks=list(_split_paragraphs(text)), warnings=warnings)


def _split_paragraphs(text: str) -> Iterator[Block]:
    start = 0
    for blank in _BLANK.finditer(text):
        yield from _trim(text, "paragraph", start, blank.start())
        start = blank.end()
    yield from _trim(text, "paragraph", start, len(text))


def _trim(text: str, kind: BlockKind, start: int, end: int) -> Iterator[Block]:
    """The block without the white space around it; none if there is nothing else."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        yield Block(kind, start, end)


def read_markdown(text: str, warnings: list[str]) -> Document:
    """Markdown: its headings, code between fences, lists and tables, paragraphs."""
    check_length(len(text))
    return Document(text=text, blocks=_MarkdownReader(text).read(), warnings=warnings)


class _MarkdownReader:
    """Reads the lines of a Markdown text once, from the beginning to the end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._blocks: list[Block] = []
        self._begun: int | None = None
        """Where the present paragraph begins."""
        self._lines = 0
        self._listed = False
        """Whether the present paragraph is a list or a table."""
        self._fence = ""

    def read(self) -> list[Block]:
        for found in _LINE.finditer(self._text):
            self._read_line(found.group(), found.start(), found.end())
        self._end(len(self._text), "lines" if self._fence or self._listed else "paragraph")
        return self._blocks

    def _read_line(self, line: str, start: int, end: int) -> None:
        if self._fence:
            if line.strip().startswith(self._fence) and not line.strip(" \t\r\n" + self._fence[0]):
                self._fence = ""
                self._end(end, "lines")
        elif not line.strip():
            self._end(start, "lines" if self._listed else "paragraph")
        elif fence := _FENCE.match(line):
            self._end(start, "paragraph")
            self._begun, self._fence = start, fence.group(1)
        elif heading := _HEADING.match(line):
            self._end(start, "paragraph")
            self._add_heading(start, end, len(heading.group(1)), heading.group(2) or "")
        elif self._lines == 1 and not self._listed and (underline := _UNDERLINE.match(line)):
            begun = self._begun or 0
            self._begun = None
            self._lines = 0
            self._add_heading(begun, end, 1 if underline.group(1)[0] == "=" else 2, self._text[begun:start])
        else:
            self._continue(line, start)

    def _continue(self, line: str, start: int) -> None:
        if self._begun is None:
            self._begun, self._listed = start, _ITEM.match(line) is not None
        self._lines += 1

    def _add_heading(self, start: int, end: int, level: int, title: str) -> None:
        for block in _trim(self._text, "lines", start, end):
            shown = " ".join(title.split())[:MAX_TITLE]
            self._blocks.append(Block("heading", block.start, block.end, level=level, title=shown))

    def _end(self, end: int, kind: BlockKind) -> None:
        """End the present paragraph."""
        if self._begun is not None:
            self._blocks.extend(_trim(self._text, kind, self._begun, end))
        self._begun, self._lines, self._listed = None, 0, False
