"""Candidates of a search from the collections of its indexes, all asked at the same time.

The first batch of queries of a collection has the description of the index, its nearest vectors and its best texts by
word. With words, a second one has the distances, payloads and texts of all that was found.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lakehouse.services.contracts.filter_language import Filter
from lakehouse.services.contracts.retrieval import IndexOptions
from lakehouse.services.contracts.vector_store import (
    Candidate,
    Candidates,
    CandidateSearch,
    CorpusSearch,
    make_not_found,
    make_replaced,
)
from lakehouse.services.lake.concurrency import run_all
from lakehouse.services.vector_stores.qdrant.api import Document, Point, QdrantApi
from lakehouse.services.vector_stores.qdrant.conditions import render_filter, render_ids
from lakehouse.services.vector_stores.qdrant.points import (
    OPTIONS,
    VERSION,
    Description,
    read_description,
    read_metadata,
    to_distance,
)
from lakehouse.services.vector_stores.remote.conditions import translate
from lakehouse.services.vector_stores.remote.vectors import unpack
from lakehouse.services.vector_stores.remote.words import find_position

AT_ONCE = 8
"""Collections that are asked at a time."""
GROWTH = 4
"""How many times longer a list becomes when a filter has to be checked here and has left too few of it."""
DESCRIPTION: Document = {"filter": {"must": [{"has_id": [OPTIONS, VERSION]}]}, "limit": 2, "with_payload": True}


@dataclass(slots=True)
class Lists:
    """What one collection has found: points in the order of each list."""

    description: Description
    nearest: list[Point] = field(default_factory=list)
    by_words: list[Point] = field(default_factory=list)


class CorpusLists:
    """The lists of one index."""

    def __init__(self, api: QdrantApi, collection: str, corpus: CorpusSearch, search: CandidateSearch) -> None:
        self._api = api
        self._collection = collection
        self._corpus = corpus
        self._search = search
        translated = translate(corpus.filters)
        self._filter = render_filter(translated.term)
        self._checked: Sequence[Filter] = () if translated.exact else corpus.filters

    async def read(self, options: IndexOptions) -> Lists:
        """Ask for both lists. Raises ErrNotFound, and ErrConflict if there is another index by now."""
        wanted = {"nearest": self._search.nearest, "by_words": self._search.by_words}
        queries = {
            "nearest": self._ask_nearest(options) if self._corpus.vector and self._search.nearest else None,
            "by_words": self._ask_words() if options.keyword and self._search.words and self._search.by_words else None,
        }
        open_lists = {name: query for name, query in queries.items() if query is not None}
        lengths = {name: wanted[name] for name in open_lists}
        lists: Lists | None = None
        while lists is None or open_lists:
            asked = [{**query, "limit": lengths[name]} for name, query in open_lists.items()]
            first, *found = await self._api.query(self._collection, [DESCRIPTION, *asked])
            description = read_description(first)
            if description is None:
                raise make_not_found(self._corpus.index)
            if description.identity != self._corpus.identity:
                raise make_replaced(self._corpus.index)
            lists = lists or Lists(description)
            for name, points in zip(tuple(open_lists), found, strict=True):
                passed = [point for point in points if self._passes(point)]
                if len(points) < lengths[name] or len(passed) >= wanted[name]:
                    setattr(lists, name, passed[: wanted[name]])
                    del open_lists[name]
                lengths[name] *= GROWTH
        return lists

    def _passes(self, point: Point) -> bool:
        if not self._checked:
            return True
        metadata = read_metadata(point)
        return all(one.matches(metadata) for one in self._checked)

    def _ask_nearest(self, options: IndexOptions) -> Document:
        return {
            **self._ask(unpack(self._corpus.vector, options.distance), "dense"),
            "params": {"exact": not options.approximate},
        }

    def _ask_words(self) -> Document:
        positions = list(dict.fromkeys(find_position(word) for word in self._search.words))
        return self._ask({"indices": positions, "values": [1.0] * len(positions)}, "words")

    def _ask(self, query: object, using: str) -> Document:
        payload = ["id", *(["metadata"] if self._checked else [])] if self._search.by_words else self._keys()
        return {"query": query, "using": using, "filter": self._filter, "with_payload": payload}

    def _keys(self) -> list[str]:
        wanted = {
            "metadata": self._search.with_metadata or bool(self._checked),
            "text": self._search.with_text,
            "pieces": bool(self._search.tokens),
        }
        return ["id", *(name for name, given in wanted.items() if given)]

    async def complete(self, lists: Lists, by_words: Sequence[Point]) -> list[Point]:
        """The points of both lists with their payloads, and with their distances as scores if there is a vector."""
        ids = list(dict.fromkeys(str(point.id) for point in (*lists.nearest, *by_words)))
        if not self._search.by_words or not ids:
            return lists.nearest
        found: list[Point] = []
        if self._corpus.vector:
            query = {
                "query": unpack(self._corpus.vector, lists.description.options.distance),
                "using": "dense",
                "filter": render_ids(ids),
                "params": {"exact": True},
                "limit": len(ids),
                "with_payload": self._keys(),
            }
            [found] = await self._api.query(self._collection, [query])
        have = {point.id for point in found}
        if lacking := [one for one in ids if one not in have]:
            found += [
                Point(id=point.id, payload=point.payload, score=None)
                for point in await self._api.retrieve(self._collection, lacking, payload=self._keys())
            ]
        return found


@dataclass(slots=True)
class Found:
    """What the search of one index has found so far."""

    number: int
    corpus: CorpusLists
    lists: Lists
    points: Sequence[Point] = ()


async def find_candidates(
    api: QdrantApi,
    search: CandidateSearch,
    collections: Mapping[str, str],
    options: Mapping[str, IndexOptions],
) -> Candidates:
    """The candidates of all indexes."""
    read: dict[int, Found] = {}

    async def read_lists(number: int) -> None:
        name = search.corpora[number].index
        corpus = CorpusLists(api, collections[name], search.corpora[number], search)
        read[number] = Found(number, corpus, await corpus.read(options[name]))

    await run_all(read_lists, range(len(search.corpora)), at_once=AT_ONCE)
    found = [read[number] for number in range(len(search.corpora))]
    words = {
        (number, str(point.id)): (rank, score)
        for rank, (score, number, point) in enumerate(rank_words(found, search.by_words), start=1)
    }

    async def complete(one: Found) -> None:
        listed = [point for point in one.lists.by_words if (one.number, str(point.id)) in words]
        one.points = await one.corpus.complete(one.lists, listed)

    await run_all(complete, found, at_once=AT_ONCE)
    return Candidates(
        found=[candidate for one in found for candidate in make_candidates(one, words)],
        versions=[one.lists.description.version for one in found],
        exact=[not one.lists.description.options.approximate for one in found],
    )


def rank_words(found: Sequence[Found], limit: int) -> list[tuple[float, int, Point]]:
    """The best texts by word of all indexes: score, number of the index, point."""
    listed = [(point.score or 0.0, one.number, point) for one in found for point in one.lists.by_words]
    return sorted(listed, key=lambda each: (-each[0], each[1], str(each[2].id)))[:limit]


def make_candidates(found: Found, words: Mapping[tuple[int, str], tuple[int, float]]) -> list[Candidate]:
    """The candidates of one index from its completed points."""
    ranks = {point.id: rank for rank, point in enumerate(found.lists.nearest, start=1)}
    distance = found.lists.description.options.distance
    made = []
    for point in found.points:
        fields = point.fields
        keyword_rank, keyword = words.get((found.number, str(point.id)), (None, None))
        made.append(
            Candidate(
                corpus=found.number,
                id=fields.id,
                distance=None if point.score is None else to_distance(point.score, distance),
                keyword=keyword,
                vector_rank=ranks.get(point.id),
                keyword_rank=keyword_rank,
                metadata=fields.metadata.encode(),
                text=fields.text,
                tokens=base64.b64decode(fields.pieces),
            )
        )
    return made
