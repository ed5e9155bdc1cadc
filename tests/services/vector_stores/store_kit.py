"""Items, filters and searches for tests of stores, and what they should find."""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from lakehouse.services.contracts.filter_language import parse_filter
from lakehouse.services.contracts.retrieval import Distance, IndexOptions, Written
from lakehouse.services.contracts.vector_store import (
    Candidate,
    CandidateSearch,
    CorpusSearch,
    StoreItem,
    StoreWrite,
    VectorStore,
)

DIMENSION = 8
QUERY = [0.3, -0.2, 0.9, 0.1, 0.0, 0.4, -0.7, 0.2]
FILTERS: Sequence[dict[str, Any]] = (
    {},
    {"n": 2},
    {"n": [1, 3]},
    {"n": {"gt": 1, "lt": 3}},
    {"n": {"gte": 2**59}},
    {"not": {"n": {"gte": 2}}},
    {"lang": {"ne": "de"}},
    {"lang": {"exists": False}},
    {"tags": ["x", 1]},
    {"tags": True},
    {"tags": [None]},
    {"tags": {"gte": 1}},
    {"word": {"gte": "b"}},
    {"not": {"word": {"gte": "b"}}, "lang": "en"},
    {"or": []},
    {"or": [{"n": 1}, {"lang": "fr"}]},
    {"not": {"or": [{"n": 1}, {"lang": "fr"}]}},
)


def pack(vector: Sequence[float]) -> bytes:
    return array("f", vector).tobytes()


def make_metadata(random: Random, number: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "n": random.choice([1, 2, 3, 2.5, 2**60]),
        "tags": random.sample(["x", "y", 1, 2, True, None], 2),
        "word": random.choice(["alpha", "beta", "gamma"]),
    }
    if number % 5:
        made["lang"] = random.choice(["de", "en", "fr"])
    return made


def count_words(*words: str) -> dict[str, Any]:
    """The fields of an item with these words."""
    counts = Counter(words)
    return {"words": " ".join(counts), "counts": " ".join(map(str, counts.values())), "length": len(words)}


async def write(store: VectorStore, name: str, **options: Any) -> Written:
    """Write to an index."""
    [index] = await store.find_indexes([name])
    return await store.write(StoreWrite(index=name, options=index.options, **options))


def make_items(count: int) -> tuple[list[StoreItem], list[dict[str, Any]]]:
    random = Random(7)
    metadata = [make_metadata(random, number) if number % 11 else {} for number in range(count)]
    items = [
        StoreItem(
            id=f"item {number:03}",
            vector=pack([random.gauss(0, 3) for _ in range(DIMENSION)]),
            text=f"text {number}",
            metadata=json.dumps(one).encode() if one else b"",
            source=f"source {number % 3}",
            digest=b"%d" % number,
            **count_words("text", f"w{number % 10}", *(["often"] * (number % 4))),
            tokens=b"\1\0",
        )
        for number, one in enumerate(metadata)
    ]
    return items, metadata


def compare(vector: bytes, distance: Distance) -> float:
    own = array("f", vector)
    product = math.fsum(one * two for one, two in zip(own, QUERY, strict=True))
    if distance == "euclidean":
        return math.dist(own, QUERY)
    return -product if distance == "dot" else 1 - product / math.hypot(*own) / math.hypot(*QUERY)


async def create(store: VectorStore, name: str, distance: Distance = "cosine") -> None:
    options = IndexOptions(name=name, dimension=DIMENSION, distance=distance, fields={"n": "float", "lang": "keyword"})
    await store.create_index(options)


async def search(store: VectorStore, *names: str, **options: Any) -> Sequence[Candidate]:
    filters = [one for one in [parse_filter(json.dumps(options.pop("filter", {})).encode())] if one is not None]
    found = {index.options.name: index.identity for index in await store.find_indexes(names)}
    corpora = [
        CorpusSearch(index=name, identity=found.get(name, ""), vector=pack(QUERY), filters=filters) for name in names
    ]
    return (await store.search(CandidateSearch(corpora=corpora, **options))).found


def by_vector(found: Sequence[Candidate]) -> list[Candidate]:
    return sorted((one for one in found if one.vector_rank is not None), key=lambda one: one.vector_rank or 0)


def by_word(found: Sequence[Candidate]) -> list[Candidate]:
    return sorted((one for one in found if one.keyword_rank is not None), key=lambda one: one.keyword_rank or 0)
