"""Candidates of a search from the collections of its indexes, all asked at the same time."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lakehouse.services.contracts.filter_language import Filter
from lakehouse.services.contracts.retrieval import IndexOptions
from lakehouse.services.contracts.vector_store import Candidate, Candidates, CandidateSearch, CorpusSearch
from lakehouse.services.lake.concurrency import run_all
from lakehouse.services.vector_stores.chroma.api import ChromaApi, Document
from lakehouse.services.vector_stores.chroma.catalog import Description
from lakehouse.services.vector_stores.chroma.conditions import TOKENS
from lakehouse.services.vector_stores.chroma.keywords import (
    READ_TIMES,
    CorpusWords,
    Scored,
    measure_rarities,
)
from lakehouse.services.vector_stores.chroma.records import VECTORLESS, Fields, compare, read_fields, to_distance
from lakehouse.services.vector_stores.chroma.writing import render_conditions
from lakehouse.services.vector_stores.remote.vectors import unpack

AT_ONCE = 8
"""Collections that are asked at a time."""
GROWTH = 4
"""How many times longer a list becomes when a filter has to be checked here and has left too few of it."""
LEAST_WORDS = 200
"""Texts with words of the query that are read at least."""


@dataclass(slots=True)
class Found:
    """What the search of one index has found so far."""

    number: int
    corpus: CorpusSearch
    description: Description
    options: IndexOptions
    where: Document | None = None
    checked: Sequence[Filter] = ()
    length: int = 0
    complete: bool = False
    """Whether the list of vectors has all of the index, so that none can have been missed."""
    nearest: dict[str, tuple[float, Fields]] = field(default_factory=dict)
    words: CorpusWords | None = None
    by_words: list[Scored] = field(default_factory=list)
    distances: dict[str, float] = field(default_factory=dict)

    def passes(self, fields: Fields) -> bool:
        """Whether an item passes the filters that Chroma cannot express."""
        metadata = fields.metadata if self.checked else {}
        return all(one.matches(metadata) for one in self.checked)


class CandidateFinder:
    """One search."""

    def __init__(self, api: ChromaApi, search: CandidateSearch, descriptions: Mapping[str, Description]) -> None:
        self._api = api
        self._search = search
        self._found = [
            self._begin(number, corpus, descriptions[corpus.index]) for number, corpus in enumerate(search.corpora)
        ]

    def _begin(self, number: int, corpus: CorpusSearch, description: Description) -> Found:
        where, exact = render_conditions(corpus.filters, description)
        found = Found(number, corpus, description, description.index, where)
        found.checked = () if exact else corpus.filters
        return found

    async def run(self) -> Candidates:
        """Ask for both lists of all indexes, and put the candidates together."""
        await run_all(self._read_lists, self._found, at_once=AT_ONCE)
        ranks = await self._rank_words()
        await run_all(self._compare_words, self._found, at_once=AT_ONCE)
        return Candidates(
            found=[candidate for found in self._found for candidate in self._list(found, ranks)],
            versions=[found.description.version for found in self._found],
            exact=[found.complete for found in self._found],
        )

    async def _read_lists(self, found: Found) -> None:
        found.length = await self._api.count(found.description.collection)
        if self._search.nearest and found.corpus.vector and found.length:
            await self._read_nearest(found)
        if self._search.by_words and found.options.keyword:
            lengths = found.description.lengths
            found.words = CorpusWords(found.description.collection, found.length, lengths.average, found.where)
            await found.words.read(self._api, list(dict.fromkeys(self._search.words)))

    async def _read_nearest(self, found: Found) -> None:
        """Ask for the nearest vectors, and for more of them until enough pass the filters that are checked here."""
        where, wanted = found.where, self._search.nearest
        if found.description.vectorless:
            vectors: Document = {TOKENS: {"$not_contains": VECTORLESS}}
            where = vectors if where is None else {"$and": [where, vectors]}
        vector, limit = unpack(found.corpus.vector, found.options.distance), min(wanted, found.length)
        while True:
            answer = await self._api.query(found.description.collection, vector, limit, where)
            listed = list(zip(answer.ids[0], answer.distances[0], (answer.metadatas or [[]])[0], strict=True))
            fields = [(one, distance, read_fields(metadata)) for one, distance, metadata in listed]
            passed = [(one, distance or 0.0, each) for one, distance, each in fields if found.passes(each)]
            if len(listed) < limit or len(passed) >= wanted or limit >= found.length:
                break
            limit = min(limit * GROWTH, found.length)
        found.complete = where is None and len(listed) >= found.length
        found.nearest = {
            one: (to_distance(distance, found.options.distance), each) for one, distance, each in passed[:wanted]
        }

    async def _rank_words(self) -> dict[tuple[int, str], tuple[int, float]]:
        """Rank and score of the best texts of all indexes, by the number of the index and the id."""
        corpora = [found.words for found in self._found if found.words is not None]
        if not corpora:
            return {}
        words = list(dict.fromkeys(self._search.words))
        rarities, limit = measure_rarities(corpora, words), self._search.by_words
        average = sum(found.description.words for found in self._found) / (
            sum(found.description.texts for found in self._found) or 1
        )

        async def score(found: Found) -> None:
            if found.words is not None:
                read = await found.words.score(self._api, rarities, average, max(READ_TIMES * limit, LEAST_WORDS))
                found.by_words = [scored for scored in read if found.passes(scored.fields)]

        await run_all(score, self._found, at_once=AT_ONCE)
        listed = [(scored.score, found.number, scored) for found in self._found for scored in found.by_words]
        best = sorted(listed, key=lambda each: (-each[0], each[1], each[2].fields.id))[:limit]
        kept = {(number, scored.fields.id): (rank, score) for rank, (score, number, scored) in enumerate(best, 1)}
        for found in self._found:
            found.by_words = [scored for scored in found.by_words if (found.number, scored.fields.id) in kept]
        return kept

    async def _compare_words(self, found: Found) -> None:
        """Compute the distances of the texts that are in the list by words only."""
        lacking = [
            scored.fields.id
            for scored in found.by_words
            if scored.fields.has_vector and scored.fields.id not in found.nearest
        ]
        if not lacking or not found.corpus.vector:
            return
        records = await self._api.get(found.description.collection, ids=lacking, include=("embeddings",))
        vector = unpack(found.corpus.vector, found.options.distance)
        for one, embedding in zip(records.ids, records.embeddings or (), strict=True):
            found.distances[one] = compare(embedding, vector, found.options.distance)

    def _list(self, found: Found, ranks: Mapping[tuple[int, str], tuple[int, float]]) -> list[Candidate]:
        listed = {one: fields for one, (_, fields) in found.nearest.items()}
        listed.update((scored.fields.id, scored.fields) for scored in found.by_words)
        vector_ranks = {one: rank for rank, one in enumerate(found.nearest, start=1)}
        distances = {one: distance for one, (distance, _) in found.nearest.items()} | found.distances
        made = []
        for one, fields in listed.items():
            keyword_rank, keyword = ranks.get((found.number, one), (None, None))
            made.append(
                Candidate(
                    corpus=found.number,
                    id=one,
                    distance=distances.get(one),
                    keyword=keyword,
                    vector_rank=vector_ranks.get(one),
                    keyword_rank=keyword_rank,
                    metadata=fields.document.encode(),
                    text=fields.text,
                    tokens=base64.b64decode(fields.pieces),
                )
            )
        return made
