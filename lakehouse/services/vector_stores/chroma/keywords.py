"""The best texts by word. Chroma finds the texts that have a word; how rare a word is, and BM25, is counted here.

Of a word that more than `MAX_LISTED` texts have, the first of them are listed, and its frequency is estimated. The
texts with the rarest words are then read, and scored with the counts of their words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lakehouse.services.lake.concurrency import run_all
from lakehouse.services.vector_stores.chroma.api import ChromaApi, Document
from lakehouse.services.vector_stores.chroma.conditions import WORDS
from lakehouse.services.vector_stores.chroma.records import Fields, read_fields
from lakehouse.services.vector_stores.remote.words import measure_rarity, weigh

MAX_LISTED = 1000
"""Texts with a word that are listed."""
MAX_WORDS = 32
"""Words of a query that are searched."""
READ_TIMES = 2
"""How many times more texts are read than are wanted."""
AT_ONCE = 4


@dataclass(slots=True)
class CorpusWords:
    """The texts of one collection that have words of the query. `filtered` are those that pass the filter as well."""

    collection: str
    length: int
    average: float
    where: Document | None
    frequencies: dict[str, float] = field(default_factory=dict)
    having: dict[str, list[str]] = field(default_factory=dict)

    async def read(self, api: ChromaApi, words: Sequence[str]) -> None:
        """Ask which texts have which words."""

        async def read_word(word: str) -> None:
            condition: Document = {WORDS: {"$contains": word}}
            found = (await api.get(self.collection, where=condition, limit=MAX_LISTED)).ids
            full = len(found) == MAX_LISTED
            self.frequencies[word] = math.sqrt(MAX_LISTED * max(self.length, MAX_LISTED)) if full else len(found)
            if self.where is not None and found:
                both = {"$and": [self.where, condition]}
                found = (await api.get(self.collection, where=both, limit=MAX_LISTED)).ids
            self.having[word] = found

        await run_all(read_word, words[:MAX_WORDS], at_once=AT_ONCE)

    def choose(self, rarities: Mapping[str, float], limit: int) -> list[str]:
        """The ids of the texts whose words of the query are the rarest."""
        scores: dict[str, float] = {}
        for word, ids in self.having.items():
            for one in ids:
                scores[one] = scores.get(one, 0.0) + rarities[word]
        return sorted(scores, key=lambda one: -scores[one])[:limit]

    async def score(self, api: ChromaApi, rarities: Mapping[str, float], average: float, limit: int) -> list[Scored]:
        """The chosen texts with their scores."""
        chosen = self.choose(rarities, limit)
        if not chosen:
            return []
        records = await api.get(self.collection, ids=chosen, include=("metadatas",))
        return [
            Scored(score_words(fields, rarities, average), fields)
            for fields in (read_fields(metadata) for metadata in records.metadatas or ())
        ]


@dataclass(frozen=True, slots=True)
class Scored:
    """A text and its BM25 score."""

    score: float
    fields: Fields


def score_words(fields: Fields, rarities: Mapping[str, float], average: float) -> float:
    """The BM25 score of a text."""
    counts = dict(zip(fields.words or (), fields.counts or (), strict=True))
    return math.fsum(
        rarity * weigh(counts[word], fields.length, average) for word, rarity in rarities.items() if word in counts
    )


def measure_rarities(corpora: Sequence[CorpusWords], words: Sequence[str]) -> dict[str, float]:
    """How rare each word is in all collections of a search together."""
    documents = sum(corpus.length for corpus in corpora)
    return {
        word: measure_rarity(documents, sum(corpus.frequencies.get(word, 0.0) for corpus in corpora))
        for word in words[:MAX_WORDS]
    }
