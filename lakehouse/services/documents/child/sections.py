"""The sections of a document: a heading and the blocks below it, up to the next heading or the next page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lakehouse.services.contracts.documents import PassageSize
from lakehouse.services.documents.child.document import Block, Document
from lakehouse.services.documents.child.words import count_words


@dataclass(slots=True)
class Section:
    """Blocks below one heading, which is the first of them if there is one. `headings` are from the top.

    `level` is that of the heading, 0 without one. `words` counts those of all blocks.
    """

    headings: tuple[str, ...]
    level: int
    page: int | None
    blocks: list[tuple[Block, int]] = field(default_factory=list)
    words: int = 0

    def add(self, block: Block, words: int) -> None:
        """Add a block with its number of words."""
        self.blocks.append((block, words))
        self.words += words


def find_sections(document: Document) -> Iterator[Section]:
    """The sections of a document in their order."""
    above: list[tuple[int, str]] = []
    section: Section | None = None
    for block in document.blocks:
        if block.kind == "heading":
            above = [(level, title) for level, title in above if level < block.level]
            above.append((block.level, block.title))
        if section is None or block.kind == "heading" or block.page != section.page:
            if section is not None:
                yield section
            level = block.level if block.kind == "heading" else 0
            section = Section(tuple(title for _, title in above if title), level, block.page)
        section.add(block, count_words(document.text, block.start, block.end))
    if section is not None:
        yield section


def group_sections(document: Document, size: PassageSize) -> Iterator[list[Section]]:
    """Sections that share passages: those with less than the minimum of words are joined with what follows them.

    A section is joined if it is below the first one of the group, or beside it and fits. Pages are never joined.
    """
    group: list[Section] = []
    words = 0
    for section in find_sections(document):
        if group and not _is_joined(section, group[0], words, size):
            yield group
            group, words = [], 0
        group.append(section)
        words += section.words
    if group:
        yield group


def _is_joined(section: Section, first: Section, words: int, size: PassageSize) -> bool:
    """Whether a section belongs to a group that begins with `first` and has so many words."""
    if words >= size.minimum or section.page != first.page:
        return False
    fits = words + section.words <= size.maximum
    return section.level > first.level or (section.level == first.level and fits)
