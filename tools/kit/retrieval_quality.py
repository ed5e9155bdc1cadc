"""How well the retrieval engine answers sets of questions: the wanted text's position among the best ten.

Everything goes through the engine's own interface, as the services use it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from lakehouse.services.contracts.retrieval import (
    CorpusQuery,
    Hit,
    IndexOptions,
    Item,
    Rerank,
    RetrievalEngine,
    SearchMode,
    SearchQuery,
)
from lakehouse.services.embedding.names import WORDLLAMA
from tools.kit.question_sets import QuestionSet
from tools.kit.retrieval_engine import open_engine

BEST = 10
BATCH = 500
ASKERS = 16
"""Questions that are asked at the same time; the engine answers those that wait together."""
SHARES = (70, 25, 5)
"""Percent of the texts in each of the three corpora."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to search. `weight` None and `rerank` empty are the defaults of the index's model."""

    name: str
    mode: SearchMode
    weight: float | None = None
    rerank: Rerank = ""


KEYWORDS = Way("keywords alone", "keyword")
VECTORS = Way("vectors alone", "vector")
DEFAULT = Way("default", "hybrid")
COMPLETE = Way("complete scores, w = .4", "hybrid", 0.4, "none")
COMPLETE_6 = Way("complete scores, w = .6", "hybrid", 0.6, "none")
WAYS = (KEYWORDS, VECTORS, COMPLETE, COMPLETE_6, DEFAULT)


@dataclass(frozen=True, slots=True)
class Quality:
    """The ranks of the wanted texts, counted from 1; 0 for one that is not among the best ten."""

    ranks: tuple[int, ...]

    @property
    def mrr(self) -> float:
        """MRR@10: the mean of one divided by the rank, of 0 for a text that was not found."""
        return sum(1 / rank for rank in self.ranks if rank) / max(len(self.ranks), 1)

    def recall(self, at: int) -> float:
        """The part of the questions whose text is among the first `at`."""
        return sum(0 < rank <= at for rank in self.ranks) / max(len(self.ranks), 1)


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of texts and questions from a model that the engine does not have, as float32."""

    model: str
    dimension: int
    by_text: Mapping[str, bytes]


async def fill(
    engine: RetrievalEngine, names: Sequence[str], texts: Sequence[str], vectors: Vectors | None = None
) -> None:
    """Create indexes and divide the texts among them by the hash of the text. The id of a text is its position."""
    model, dimension = (vectors.model, vectors.dimension) if vectors else (WORDLLAMA, 0)
    parts: dict[str, list[Item]] = {name: [] for name in names}
    for place, text in enumerate(texts):
        vector = vectors.by_text[text] if vectors else b""
        parts[pick_part(names, text)].append(Item(id=str(place), text=text, vector=vector))
    for name, items in parts.items():
        await engine.create_index(IndexOptions(name=name, model=model, dimension=dimension))
        for start in range(0, len(items), BATCH):
            await engine.add(name, items[start : start + BATCH], model=model)
    with trio.fail_after(60):
        for name in names:
            while (await engine.get_index(name)).keyword_lag:
                await trio.sleep(0.05)


def pick_part(names: Sequence[str], text: str) -> str:
    """One index, or one of three that get 70, 25 and 5 percent."""
    if len(names) == 1:
        return names[0]
    place = zlib.crc32(text.encode()) % sum(SHARES)
    return names[0] if place < SHARES[0] else names[1] if place < SHARES[0] + SHARES[1] else names[2]


async def ask_all(
    engine: RetrievalEngine,
    names: Sequence[str],
    questions: QuestionSet,
    way: Way,
    vectors: Vectors | None = None,
) -> Quality:
    """Ask all questions of one index, or of several together."""
    ranks = [0] * len(questions.questions)
    waiting: Iterator[int] = iter(range(len(ranks)))

    async def ask() -> None:
        for place in waiting:
            question = questions.questions[place]
            query = SearchQuery(
                k=BEST,
                text=question.text,
                vector=vectors.by_text[question.text] if vectors and way.mode != "keyword" else b"",
                model=vectors.model if vectors else "",
                mode=way.mode,
                weight=way.weight,
                rerank=way.rerank,
            )
            ranks[place] = rank_of(question.wanted, await search(engine, names, query))

    async with trio.open_nursery() as nursery:
        for _ in range(ASKERS):
            nursery.start_soon(ask)
    return Quality(tuple(ranks))


async def search(engine: RetrievalEngine, names: Sequence[str], query: SearchQuery) -> list[Hit]:
    """Search one index or several."""
    if len(names) == 1:
        return (await engine.search(names[0], query)).decode()
    corpora = [CorpusQuery(index=name) for name in names]
    return (await engine.search_many(corpora, query, per_corpus_k=100)).decode()


def rank_of(wanted: int, hits: Iterable[Hit]) -> int:
    """The position of a text among the hits, from 1; 0 if it is not there."""
    return next((rank for rank, hit in enumerate(hits, start=1) if hit.id == str(wanted)), 0)


async def measure(
    questions: QuestionSet,
    ways: Sequence[Way],
    folder: Path,
    *,
    corpora: int = 1,
    vectors: Vectors | None = None,
    report: Callable[[Way, Quality], None] = lambda *_: None,
) -> dict[str, Quality]:
    """Build the index of a set in a new lake, in one or three corpora, and ask its questions in several ways."""
    names = [f"{questions.name}-{number}" for number in range(corpora)]
    results = {}
    async with open_engine(folder) as engine:
        await fill(engine, names, questions.texts, vectors)
        for way in ways:
            results[way.name] = await ask_all(engine, names, questions, way, vectors)
            report(way, results[way.name])
    return results
