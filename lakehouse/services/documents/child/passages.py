"""Cuts a document into passages at its structure: headings, then blocks, then sentences or lines.

A passage is exactly the text between its two positions. Passages do not overlap, and together they have every character
of the text that is not white space.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lakehouse.services.contracts.documents import Passage, PassageSize
from lakehouse.services.documents.child.document import Block, Document
from lakehouse.services.documents.child.sections import Section, group_sections
from lakehouse.services.documents.child.words import count_words, split_block


@dataclass(frozen=True, slots=True)
class _Unit:
    """A piece that is not cut any further."""

    start: int
    end: int
    words: int
    headings: tuple[str, ...]
    is_heading: bool


def make_passages(document: Document, size: PassageSize) -> Iterator[Passage]:
    """The passages of a document in their order. A passage has at most `size.maximum` words."""
    for group in group_sections(document, size):
        for units in _pack(document.text, group, size):
            yield _make_passage(document.text, units, group[0].page)


def _pack(text: str, group: Sequence[Section], size: PassageSize) -> Iterator[list[_Unit]]:
    """The units of each passage of a group. The passages of a long group are about equally long."""
    total = sum(section.words for section in group)
    target, left = total / -(-total // size.maximum), total
    units: list[_Unit] = []
    count = 0  # of the words of the units
    for section in group:
        for block, words in section.blocks:
            left -= words
            rest = words + left  # of the group, from this block on
            whole = words <= size.maximum and not (count < size.minimum and count + words > size.maximum)
            pieces = [_whole(block, words, section)] if whole else list(_cut(text, block, section, size.maximum))
            for unit in pieces:
                full = count >= target and count + rest > size.maximum
                if units and (full or count + unit.words > size.maximum):
                    done, units = _leave_headings(units, size.maximum - unit.words)
                    yield done
                    count = sum(each.words for each in units)
                units.append(unit)
                count += unit.words
                rest -= unit.words
    if units:
        yield units


def _leave_headings(units: list[_Unit], free: int) -> tuple[list[_Unit], list[_Unit]]:
    """Headings at the end of a passage belong to the next one, if it has `free` words for them."""
    end = len(units)
    while end and units[end - 1].is_heading:
        free -= units[end - 1].words
        end -= 1
    return (units[:end], units[end:]) if end and free >= 0 else (units, [])


def _whole(block: Block, words: int, section: Section) -> _Unit:
    return _Unit(block.start, block.end, words, section.headings, block.kind == "heading")


def _cut(text: str, block: Block, section: Section, max_words: int) -> Iterator[_Unit]:
    for start, end in split_block(text, block, max_words):
        if not text[start:end].isspace():
            yield _Unit(start, end, count_words(text, start, end), section.headings, block.kind == "heading")


def _make_passage(text: str, units: Sequence[_Unit], page: int | None) -> Passage:
    """The passage of some units; its headings are those above its first text."""
    start, end = units[0].start, units[-1].end
    while text[end - 1].isspace():
        end -= 1
    first = next((unit for unit in units if not unit.is_heading), units[0])
    return Passage(text[start:end], start, end, first.headings, page)
