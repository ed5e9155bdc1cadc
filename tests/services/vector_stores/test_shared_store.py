"""Indexes in PostgreSQL that several services share: what one writes the others find, and failures of the server."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio

from lakehouse.core.errors import ErrConflict, LakehouseError
from lakehouse.services.contracts.retrieval import CorpusQuery, IndexOptions, Item, RetrievalEngine, SearchQuery
from lakehouse.services.embedding.names import WORDLLAMA
from lakehouse.services.retrieval.store_engine import StoreRetrieval
from lakehouse.services.vector_stores.postgres import approximate
from tests.services.postgres.signals import stop
from tools.kit.retrieval_engine import open_engine, open_store_engine, vector
from tools.kit.scaleout.postgres import Postgres, open_postgres

TEXTS = (
    "The lighthouse on the northern cliff was built of grey stone.",
    "Grey seals rest below the cliff when the tide is low.",
    "A keeper lit the lamp of the lighthouse every evening.",
    "The tide tables of the harbour hang in the post office.",
    "Stone walls divide the fields behind the harbour.",
    "Every evening the ferry leaves the harbour for the islands.",
)
WORDS = ("tide", "stone", "lamp", "cliff", "harbour", "evening", "ferry", "seal", "field", "island", "grey", "keeper")


@pytest.fixture
async def services(postgres: Postgres, tmp_path: Path) -> AsyncIterator[tuple[StoreRetrieval, StoreRetrieval]]:
    """Two services on two folders, with one store."""
    url = postgres.create_database()
    async with open_store_engine(tmp_path / "a", url) as one, open_store_engine(tmp_path / "b", url) as other:
        yield one, other


def make_items(texts: tuple[str, ...]) -> list[Item]:
    return [Item(id=f"t{at}", text=text, metadata=msgspec.json.encode({"at": at})) for at, text in enumerate(texts)]


async def test_what_one_service_writes_the_other_finds(services: tuple[StoreRetrieval, StoreRetrieval]) -> None:
    one, other = services
    await one.create_index(IndexOptions(name="notes", model=WORDLLAMA))
    await one.add("notes", make_items(TEXTS))
    query = SearchQuery(text="who lit the lighthouse", mode="hybrid", k=3, with_scores=True)
    assert (await other.search("notes", query)).results == (await one.search("notes", query)).results
    state = await one.read_state(["notes"])
    await other.add("notes", [Item(id="t0", text="a dentist pulls teeth")])
    assert await one.read_state(["notes"]) != state
    hits = (await one.search("notes", SearchQuery(text="dentist", mode="keyword"))).decode()
    assert [hit.id for hit in hits] == ["t0"]
    await other.delete_index("notes")
    await other.create_index(IndexOptions(name="notes", dimension=2))  # another one with its name
    await other.add("notes", [Item(id="x", vector=vector(1, 0))])
    found = await one.search("notes", SearchQuery(vector=vector(1, 0)))
    assert [hit.id for hit in found.decode()] == ["x"]


async def test_many_writers_of_two_services_lose_nothing(services: tuple[StoreRetrieval, StoreRetrieval]) -> None:
    refused: list[ErrConflict] = []

    async def create(engine: RetrievalEngine) -> None:
        try:
            await engine.create_index(IndexOptions(name="shared", dimension=2))
        except ErrConflict as error:
            refused.append(error)

    async def write(engine: RetrievalEngine, writer: int) -> None:
        for number in range(10):
            await engine.add(
                "shared", [Item(id=f"{writer}-{number}", vector=vector(writer + 1, number), text="a word")]
            )

    async with trio.open_nursery() as nursery:
        for engine in services:
            nursery.start_soon(create, engine)
    assert len(refused) == 1
    async with trio.open_nursery() as nursery:
        for writer in range(4):
            nursery.start_soon(write, services[writer % 2], writer)
    for engine in services:
        info = await engine.get_index("shared")
        assert (info.length, info.version) == (40, 41)
        assert (await engine.search("shared", SearchQuery(text="word", mode="keyword", k=100))).count == 40


async def test_words_are_ranked_as_in_the_folder(
    services: tuple[StoreRetrieval, StoreRetrieval], tmp_path: Path
) -> None:
    """BM25 in SQL and that of the keyword index in the folder, which counts one document more: that of its version."""
    chance = random.Random(3)
    words = [*WORDS, *(f"{word}{number}" for word in WORDS for number in range(40))]
    texts = tuple(" ".join(chance.choices(words, k=chance.randint(3, 200))) for _ in range(300))
    async with open_engine(tmp_path / "c") as folder:
        for engine in (folder, services[0]):
            await engine.create_index(IndexOptions(name="words", model=WORDLLAMA))
            await engine.add("words", make_items(texts), wait_for_words=True)
        for question in ("tide", "the grey seals of the islands", "lamps and keepers"):
            for mode in ("keyword", "hybrid"):
                query = SearchQuery(text=question, mode=mode, k=40, with_scores=True)
                ours = (await services[0].search("words", query)).decode()
                theirs = (await folder.search("words", query)).decode()
                assert [hit.score for hit in ours] == pytest.approx([hit.score for hit in theirs], rel=2e-3)
                same = sum(hit.id == other.id for hit, other in zip(ours, theirs, strict=True))
                assert same >= 36  # texts of equal scores may change places


async def test_a_filter_of_one_percent_loses_nothing(services: tuple[StoreRetrieval, StoreRetrieval]) -> None:
    chance = random.Random(8)
    vectors = [vector(*(chance.gauss(0, 1) for _ in range(16))) for _ in range(1500)]
    items = [Item(id=f"v{at}", vector=one, metadata=b'{"group":%d}' % (at % 100)) for at, one in enumerate(vectors)]
    engine = services[0]
    options = IndexOptions(name="large", dimension=16, fields={"group": "int"}, approximate=True)
    await engine.create_index(options)
    await engine.add("large", items)
    found = await engine.search("large", SearchQuery(vector=vectors[0], k=10, filter=b'{"group":7}'))
    everything = await engine.search("large", SearchQuery(vector=vectors[0], k=1500))
    wanted = [hit.id for hit in everything.decode() if int(hit.id[1:]) % 100 == 7][:10]
    assert [hit.id for hit in found.decode()] == wanted
    assert found.exact


async def test_a_graph_says_what_it_finds(
    services: tuple[StoreRetrieval, StoreRetrieval], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approximate, "FIRST_LENGTH", 600)
    chance = random.Random(9)
    engine = services[0]
    await engine.create_index(IndexOptions(name="graph", dimension=8, approximate=True))
    items = [Item(id=f"v{at}", vector=vector(*(chance.gauss(0, 1) for _ in range(8)))) for at in range(1000)]
    await engine.add("graph", items[:500])
    assert (await engine.get_index("graph")).recall is None
    await engine.add("graph", items[500:])
    info = await engine.get_index("graph")
    assert not info.exact
    assert info.recall is not None
    assert 0.9 <= info.recall <= 1
    found = await engine.search("graph", SearchQuery(vector=items[5].vector, k=50))
    assert (found.count, found.exact, found.decode()[0].id) == (50, False, "v5")
    filtered = await engine.search("graph", SearchQuery(vector=items[5].vector, k=50, filter=b'{"a":{"exists":false}}'))
    assert (filtered.count, filtered.exact) == (50, True)


async def test_several_indexes_have_the_statistics_of_all_of_them(
    services: tuple[StoreRetrieval, StoreRetrieval],
) -> None:
    engine = services[0]
    for name, part in (("all", TEXTS), ("left", TEXTS[:2]), ("right", TEXTS[2:])):
        await engine.create_index(IndexOptions(name=name, model=WORDLLAMA))
        await engine.add(name, [Item(id=text, text=text) for text in part])
    query = SearchQuery(text="the stone lighthouse", mode="hybrid", k=6)
    corpora = [CorpusQuery(index="left"), CorpusQuery(index="right")]
    one = (await engine.search("all", query)).decode()
    two = (await engine.search_many(corpora, query, per_corpus_k=6)).decode()
    assert [hit.id for hit in two] == [hit.id for hit in one]
    assert [hit.score for hit in two] == pytest.approx([hit.score for hit in one], abs=1e-6)


async def test_a_server_that_stands_still_fails_in_time(postgres: Postgres, tmp_path: Path) -> None:
    with open_postgres(tmp_path / "server") as server:
        async with open_store_engine(tmp_path / "lake", server.url()) as engine:
            await engine.create_index(IndexOptions(name="kept", dimension=2))
            await engine.add("kept", [Item(id="a", vector=vector(1, 0))])
            stop(server, signal.SIGSTOP)
            try:
                with trio.move_on_after(0.5) as scope:
                    await engine.search("kept", SearchQuery(vector=vector(1, 0)))
                assert scope.cancelled_caught  # the caller's deadline is kept, whatever the server does
                began = trio.current_time()
                with pytest.raises(LakehouseError) as caught:
                    await engine.add("kept", [Item(id="b", vector=vector(0, 1))])
                assert caught.value.status in (502, 503, 504)
                assert trio.current_time() - began < 15
            finally:
                stop(server, signal.SIGCONT)
            assert [hit.id for hit in (await engine.search("kept", SearchQuery(vector=vector(1, 0)))).decode()] == ["a"]
