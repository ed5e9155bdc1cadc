"""Searches of one index and of several: exact, filtered before the cut, in batches, by word and by meaning."""

from __future__ import annotations

import math
import random
from functools import partial

import msgspec
import pytest
import trio

from lakehouse.core.errors import ErrNotFound, ErrUnprocessable
from lakehouse.services.contracts.retrieval import (
    CorpusQuery,
    Hit,
    IndexOptions,
    Item,
    RetrievalEngine,
    SearchMode,
    SearchQuery,
)
from lakehouse.services.embedding.names import WORDLLAMA
from lakehouse.services.retrieval.client import LakeRetrieval
from tests.services.retrieval.conftest import SharedEngine
from tools.kit.retrieval_engine import vector

COUNT, DIMENSION = 600, 16
RANDOM = random.Random(5)
SAMPLE = [[RANDOM.gauss(0, 1) for _ in range(DIMENSION)] for _ in range(COUNT)]
TEXTS = {
    "cars": "A red car drives through the old town.",
    "trees": "The green tree grows slowly in the forest.",
    "dogs": "My dog barks at night when the moon is bright.",
    "apples": "An apple a day keeps the doctor away.",
    "engines": "The motor of an automobile burns petrol.",
    "signs": "!!! ???",
}


def cosine_distance(one: list[float], other: list[float]) -> float:
    product = math.fsum(a * b for a, b in zip(one, other, strict=True))
    return 1 - product / math.sqrt(math.fsum(a * a for a in one) * math.fsum(b * b for b in other))


async def ensure_sample(engine: RetrievalEngine, name: str = "sample") -> None:
    if name in [info.name for info in await engine.list_indexes()]:
        return
    await engine.create_index(IndexOptions(name=name, dimension=DIMENSION, fields={"n": "int"}))
    metadata = [msgspec.json.encode({"n": at, "kind": "even" if at % 2 == 0 else "odd"}) for at in range(COUNT)]
    items = [Item(id=f"v{at}", vector=vector(*SAMPLE[at]), metadata=metadata[at]) for at in range(COUNT)]
    for start in range(0, COUNT, 250):
        await engine.add(name, items[start : start + 250])


async def ensure_texts(engine: RetrievalEngine, name: str = "texts") -> None:
    if name in [info.name for info in await engine.list_indexes()]:
        return
    info = await engine.create_index(IndexOptions(name=name, model=WORDLLAMA))
    assert info.dimension == 256
    await engine.add(
        name, [Item(id=key, text=text, metadata=b'{"of":"%s"}' % key.encode()) for key, text in TEXTS.items()]
    )
    while (await engine.get_index(name)).keyword_lag:
        await trio.sleep(0.02)


async def hits_of(engine: RetrievalEngine, name: str, query: SearchQuery) -> list[Hit]:
    return (await engine.search(name, query)).decode()


@pytest.mark.parametrize("k", [1, 10, COUNT, 1000])
def test_the_nearest_come_first_with_their_distances(shared: SharedEngine, k: int) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await ensure_sample(engine)
        query = SAMPLE[42]
        expected = sorted((cosine_distance(query, one), at) for at, one in enumerate(SAMPLE))[:k]
        found = await engine.search("sample", SearchQuery(vector=vector(*query), k=k))
        assert (found.exact or not shared.exact, found.count) == (True, min(k, COUNT))
        assert found.version == (await engine.get_index("sample")).version
        hits = found.decode()
        assert hits[0].id == "v42"
        assert hits[0].distance == pytest.approx(0, abs=2e-7)
        assert [hit.distance for hit in hits] == pytest.approx([distance for distance, _ in expected], abs=1e-6)

    shared.run(story)


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        (b'{"n":{"gte":590}}', set(range(590, 600))),
        (b'{"kind":"odd","n":{"lt":9}}', {1, 3, 5, 7}),
        (b'{"or":[{"n":3},{"n":[5,7]}]}', {3, 5, 7}),
        (b'{"not":{"n":{"gte":4}}}', {0, 1, 2, 3}),
        (b'{"unknown":1}', set()),
    ],
    ids=str,
)
def test_a_filter_is_applied_before_the_cut(shared: SharedEngine, where: bytes, wanted: set[int]) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await ensure_sample(engine)
        hits = await hits_of(engine, "sample", SearchQuery(vector=vector(*SAMPLE[0]), filter=where))
        expected = sorted((cosine_distance(SAMPLE[0], SAMPLE[at]), f"v{at}") for at in wanted)
        assert [hit.id for hit in hits] == [own for _, own in expected]

    shared.run(story)


def test_columns_of_filters_follow_what_is_written(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await ensure_sample(engine, "changing")
        query = SearchQuery(vector=vector(*SAMPLE[0]), k=1000, filter=b'{"kind":"odd"}')
        assert len(await hits_of(engine, "changing", query)) == 300
        await engine.add("changing", [Item(id="new", vector=vector(*SAMPLE[0]), metadata=b'{"kind":"odd"}')])
        await engine.add("changing", [Item(id="v1", vector=vector(*SAMPLE[1]), metadata=b'{"kind":"even"}')])
        await engine.delete_items("changing", where=b'{"n":{"gte":400}}')
        hits = await hits_of(engine, "changing", query)
        assert len(hits) == 200
        assert {"new"} == {hit.id for hit in hits} - {f"v{at}" for at in range(3, 400, 2)}

    shared.run(story)


def test_many_callers_share_products_and_equal_queries_one_answer(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await ensure_sample(engine)
        queries = [SearchQuery(vector=vector(*SAMPLE[at % 40]), k=5 + at % 2) for at in range(400)]
        alone = [(await engine.search("sample", query)).results for query in queries[:40]]
        before, together = await engine.stats(), [b""] * len(queries)

        async def ask(at: int) -> None:
            together[at] = (await engine.search("sample", queries[at])).results

        async with trio.open_nursery() as nursery:
            for at in range(len(queries)):
                nursery.start_soon(ask, at)
        after = await engine.stats()
        assert together == [alone[at % 40] for at in range(400)]
        assert after.searches - before.searches == 400
        if isinstance(engine, LakeRetrieval):
            assert after.batches - before.batches < 40
            assert after.shared_searches - before.shared_searches > 150

    shared.run(story)


def test_a_hit_has_what_the_query_asks_for(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await ensure_texts(engine)
        query = SearchQuery(text="red car", k=1, mode="hybrid")
        found = msgspec.json.decode((await engine.search("texts", query)).results)
        assert list(found[0]) == ["id", "distance", "metadata", "score"]
        query = msgspec.structs.replace(query, with_metadata=False, with_text=True, with_scores=True)
        found = msgspec.json.decode((await engine.search("texts", query)).results)
        assert list(found[0]) == ["id", "distance", "score", "scores", "text"]
        assert set(found[0]["scores"]) == {"keyword", "cosine", "token", "keyword_rank", "vector_rank"}
        assert found[0]["text"] == TEXTS["cars"]

    shared.run(story)


@pytest.mark.parametrize(
    ("mode", "text", "best"),
    [
        ("vector", "automobile", "engines"),
        ("keyword", "barking dogs", "dogs"),
        ("hybrid", "the tree of a forest", "trees"),
        ("hybrid", "automobile", "engines"),
        ("hybrid", "doctor apple", "apples"),
    ],
)
def test_texts_are_found_by_meaning_and_by_word(shared: SharedEngine, mode: SearchMode, text: str, best: str) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await ensure_texts(engine)
        hits = await hits_of(engine, "texts", SearchQuery(text=text, k=10, mode=mode))
        assert hits[0].id == best
        if mode != "vector":
            scores = [hit.score for hit in hits if hit.score is not None]
            assert scores == sorted(scores, reverse=True)

    shared.run(story)


def test_a_text_without_words_is_kept_and_never_near(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await engine.create_index(IndexOptions(name="wordless", model=WORDLLAMA))
        await engine.add("wordless", [Item(id="empty", text=""), Item(id="car", text="a red car")])
        assert [hit.id for hit in await hits_of(engine, "wordless", SearchQuery(text="car"))] == ["car"]
        assert (await engine.get_index("wordless")).length == 2

    shared.run(story)


def test_keywords_find_only_what_is_there_and_passes_the_filter(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await ensure_texts(engine, "gone")
        query = SearchQuery(text="tree dog apple", mode="keyword")
        assert {hit.id for hit in await hits_of(engine, "gone", query)} == {"trees", "dogs", "apples"}
        await engine.delete_items("gone", ids=["dogs"])
        assert {hit.id for hit in await hits_of(engine, "gone", query)} == {"trees", "apples"}
        filtered = msgspec.structs.replace(query, filter=b'{"of":["apples","dogs","cars"]}')
        assert [hit.id for hit in await hits_of(engine, "gone", filtered)] == ["apples"]

    shared.run(story)


def test_hybrid_search_takes_vectors_of_other_models_with_the_text(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await engine.create_index(IndexOptions(name="other", dimension=2, model="ollama/two"))
        await engine.add(
            "other",
            [
                Item(id="near", vector=vector(1, 0), text="nothing in common"),
                Item(id="word", vector=vector(0.6, 0.8), text="the very word"),
                Item(id="neither", vector=vector(-1, 0), text="else"),
            ],
        )
        while (await engine.get_index("other")).keyword_lag:
            await trio.sleep(0.02)
        for weight, order in ((1.0, ["near", "word", "neither"]), (0.0, ["word", "near", "neither"]), (None, None)):
            query = SearchQuery(vector=vector(1, 0), text="word", mode="hybrid", weight=weight, with_scores=True)
            hits = await hits_of(engine, "other", query)
            assert order is None or [hit.id for hit in hits] == order
            assert all(hit.scores is not None and hit.scores.token is None for hit in hits)
        assert hits[0].score == pytest.approx(0.4 + 0.6 * 0.8)  # words 1, cosine 0.6 between -1 and 1

    shared.run(story)


def test_several_indexes_are_ordered_together(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        for name, first, second in (("near", (1.0, 0.05), (0.0, 1.0)), ("far", (1.0, 0.5), (1.0, 0.6))):
            await engine.create_index(IndexOptions(name=name, dimension=2, keyword=False))
            items = [Item(id="same", vector=vector(*first), metadata=b"{}"), Item(id="second", vector=vector(*second))]
            await engine.add(name, items)
        corpora = [CorpusQuery(index="far"), CorpusQuery(index="near")]
        found = await engine.search_many(corpora, SearchQuery(vector=vector(1, 0), k=3), per_corpus_k=2)
        assert [(hit.corpus, hit.id) for hit in found.decode()] == [
            ("near", "same"),
            ("far", "same"),
            ("far", "second"),
        ]
        assert (found.count, found.per_corpus, found.failed) == (3, {"far": 2, "near": 2}, {})
        found = await engine.search_many(corpora, SearchQuery(vector=vector(1, 0)), per_corpus_k=1)
        assert ([hit.corpus for hit in found.decode()], found.per_corpus) == (["near", "far"], {"far": 1, "near": 1})

    shared.run(story)


def test_an_index_that_cannot_be_searched_is_named(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await ensure_sample(engine)
        await engine.create_index(IndexOptions(name="two", dimension=2))
        corpora = [CorpusQuery(index=name) for name in ("sample", "two", "nowhere")]
        found = await engine.search_many(corpora, SearchQuery(vector=vector(*SAMPLE[0]), k=2), per_corpus_k=5)
        assert {name: failure.code for name, failure in found.failed.items()} == {
            "two": "ErrBadRequest",
            "nowhere": "ErrNotFound",
        }
        assert (found.count, found.per_corpus) == (2, {"sample": 5})
        with pytest.raises(ErrNotFound):
            await engine.search("nowhere", SearchQuery(vector=vector(1, 0)))

    shared.run(story)


def test_the_hybrid_order_of_split_corpora_is_that_of_one_index(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await ensure_texts(engine, "whole")
        for part in range(2):
            await engine.create_index(IndexOptions(name=f"part{part}", model=WORDLLAMA))
            own = [Item(id=key, text=text) for at, (key, text) in enumerate(TEXTS.items()) if at % 2 == part]
            await engine.add(f"part{part}", own)
        while (await engine.get_index("part1")).keyword_lag:
            await trio.sleep(0.02)
        corpora = [CorpusQuery(index="part0"), CorpusQuery(index="part1")]
        for text in ("automobile", "green dog", "the doctor of the old town"):
            query = SearchQuery(text=text, mode="hybrid", k=6)
            whole = await hits_of(engine, "whole", query)
            split = (await engine.search_many(corpora, query, per_corpus_k=6)).decode()
            assert [hit.id for hit in split] == [hit.id for hit in whole]

    shared.run(story)


def test_texts_are_embedded_alone_and_in_batches_alike(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        texts = [f"{text} {at}" for at in range(20) for text in TEXTS.values()]
        batch = await engine.embed(texts)
        assert (batch.model, batch.dimension, len(batch.tokens)) == (WORDLLAMA, 256, 120)
        for at in (0, 61, 119):
            alone = await engine.embed([texts[at]])
            assert alone.vectors == batch.vectors[at * 1024 : (at + 1) * 1024]
        with pytest.raises(ErrUnprocessable) as caught:
            await engine.embed(["short", "word " * 10_000])
        assert caught.value.details == {"item": 1}
        assert (await engine.embed(["word " * 10_000], truncate=True)).truncated == [0]

    shared.run(story)


def test_searches_go_on_while_texts_are_added(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await ensure_sample(engine)
        await engine.create_index(IndexOptions(name="busy", model=WORDLLAMA))
        count = 8000 if shared.exact else 800  # Chroma takes some hundred texts a second
        texts = [Item(id=str(at), text=f"{TEXTS['dogs']} {at} {at * 7919}") for at in range(count)]
        answered = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(engine.add, "busy", texts))
            while (await engine.get_index("busy")).length == 0:
                await engine.search("sample", SearchQuery(vector=vector(*SAMPLE[1])))
                answered += 1
        assert answered > 20

    shared.run(story)
