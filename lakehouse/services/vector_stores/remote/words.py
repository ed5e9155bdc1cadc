"""The words of a text as a sparse vector whose products with a query's are BM25.

    weight(term) = count * (K1 + 1) / (count + K1 * (1 - B + B * length / average))

A store that multiplies each position with its inverse document frequency gives BM25 then. The average length of a text
is that of all texts written before: with one that is twice as long, a search finds less (MRR .445 with the average of
all texts, .444 with that at the time of the write, .426 with 128 for texts of 65 words on average).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from lakehouse.services.contracts.vector_store import StoreItem

K1, B = 1.2, 0.75


class WordVector(NamedTuple):
    """Positions, each once, and their weights."""

    positions: list[int]
    weights: list[float]


class TextLengths(NamedTuple):
    """How many texts were written, and how many words they had."""

    texts: int = 0
    words: int = 0

    @property
    def average(self) -> float:
        return self.words / self.texts if self.texts else 0.0


def weigh(count: int, length: int, average: float) -> float:
    """The weight of a word that occurs `count` times in a text of `length` words."""
    scale = K1 * (1 - B + B * length / average) if average else K1
    return count * (K1 + 1) / (count + scale)


def measure_rarity(documents: float, having: float) -> float:
    """The inverse document frequency of a word that `having` of `documents` texts have."""
    return math.log1p((max(documents - having, 0.0) + 0.5) / (having + 0.5))


def count_words(item: StoreItem) -> dict[str, int]:
    """The words of a text, and how often each occurs."""
    words, counts = item.words.split(" "), item.counts.split(" ")
    return {word: int(count) for word, count in zip(words, counts, strict=True) if word}


def add_lengths(lengths: TextLengths, items: Iterable[StoreItem]) -> TextLengths:
    """The lengths of all texts with those of new items."""
    added = [item.length for item in items if item.length]
    return TextLengths(lengths.texts + len(added), lengths.words + sum(added))


def weigh_words(counts: Mapping[str, int], length: int, average: float) -> WordVector:
    """The vector of a text with these words."""
    found: dict[int, float] = {}
    for word, count in counts.items():
        position = find_position(word)
        found[position] = found.get(position, 0.0) + weigh(count, length, average)
    return WordVector(list(found), list(found.values()))


def find_position(word: str) -> int:
    """The position of a word, of 2**32."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "little")
