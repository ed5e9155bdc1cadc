"""Words, and the places where a long text is cut: behind sentences, lines, words, and at last between characters."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lakehouse.services.documents.child.document import Block

CHARACTERS_PER_WORD = 12
"""Long runs of characters without a space (Base64, identifiers) count as several words."""

_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
"""Characters of Chinese, Japanese and Korean, each of which counts as a word."""
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]\u00bb\u201d\u2019]*\s+(?![a-z])|(?<=[\u3002\uff01\uff1f])")
_LINE_END = re.compile(r"\n")
_WORD = re.compile(r"\S+\s*")

Span = tuple[int, int]


def count_words(text: str, start: int, end: int) -> int:
    """The number of words between two positions."""
    part = text[start:end]
    words = part.split()
    count = len(words)
    if not part.isascii():
        count += len(_UNSPACED.findall(part))
    return max(count, -(-sum(map(len, words)) // CHARACTERS_PER_WORD))


def split_block(text: str, block: Block, max_words: int) -> Iterator[Span]:
    """The pieces of a block, each of at most `max_words` words: sentences, or lines of a block of lines."""
    ends = (_LINE_END,) if block.kind == "lines" else (_SENTENCE_END, _LINE_END)
    yield from _split(text, block.start, block.end, ends, max_words)


def _split(text: str, start: int, end: int, ends: tuple[re.Pattern[str], ...], max_words: int) -> Iterator[Span]:
    if not ends:
        yield from _split_words(text, start, end, max_words)
        return
    begin = start
    for found in ends[0].finditer(text, start, end):
        yield from _split_further(text, begin, found.end(), ends[1:], max_words)
        begin = found.end()
    yield from _split_further(text, begin, end, ends[1:], max_words)


def _split_further(
    text: str, start: int, end: int, ends: tuple[re.Pattern[str], ...], max_words: int
) -> Iterator[Span]:
    if start == end:
        return
    if count_words(text, start, end) <= max_words:
        yield start, end
    else:
        yield from _split(text, start, end, ends, max_words)


def _split_words(text: str, start: int, end: int, max_words: int) -> Iterator[Span]:
    """Pieces of whole words, about equally long; a word that is longer than a piece is cut."""
    total = count_words(text, start, end)
    max_words = -(-total // -(-total // max_words))
    begin, words = start, 0
    for found in _WORD.finditer(text, start, end):
        count = count_words(text, found.start(), found.end())
        if words and words + count > max_words:
            yield begin, found.start()
            begin, words = found.start(), 0
        words += count
        if words > max_words:
            yield from _split_characters(begin, found.end(), max_words)
            begin, words = found.end(), 0
    if begin < end:
        yield begin, end


def _split_characters(start: int, end: int, max_words: int) -> Iterator[Span]:
    """Pieces of as many characters as there are words, which no script has fewer of."""
    while start < end:
        yield start, min(end, start + max_words)
        start += max_words
