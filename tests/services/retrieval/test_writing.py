"""What is written to an index: batches, replacement, deletion, merges, and what is refused before anything is added."""

from __future__ import annotations

import msgspec
import pytest

from lakehouse.core.errors import ErrBadRequest, ErrConflict, ErrNotFound, LakehouseError
from lakehouse.services.contracts.retrieval import (
    Digest,
    Distance,
    IndexOptions,
    Item,
    RetrievalEngine,
    SearchQuery,
    Written,
)
from lakehouse.services.embedding.names import WORDLLAMA
from tests.services.retrieval.conftest import SharedEngine
from tools.kit.retrieval_engine import vector

AXES = [vector(1, 0, 0, 0), vector(0, 1, 0, 0), vector(0, 0, 1, 0), vector(0, 0, 0, 1)]


async def make(engine: RetrievalEngine, name: str, *items: Item, distance: Distance = "cosine") -> Written:
    await engine.create_index(IndexOptions(name=name, dimension=4, distance=distance))
    return await engine.add(name, items)


async def find(engine: RetrievalEngine, name: str, query: bytes, k: int = 10, **options: object) -> list[str]:
    return [
        hit.id
        for hit in (await engine.search(name, SearchQuery(vector=query, k=k, **options))).decode()  # type: ignore[arg-type]
    ]


def test_an_index_is_made_once_listed_described_and_deleted(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        info = await engine.create_index(IndexOptions(name="life", dimension=4, distance="dot", fields={"year": "int"}))
        assert (info.name, info.dimension, info.distance, info.length) == ("life", 4, "dot", 0)
        assert info.exact == shared.exact
        with pytest.raises(ErrConflict) as caught:
            await engine.create_index(IndexOptions(name="life", dimension=8))
        assert caught.value.field == "name"
        state = await engine.read_state(["life", "none"])
        assert await engine.read_state(["life", "none"]) == state
        await engine.add("life", [Item(id="a", vector=AXES[0])])
        assert await engine.read_state(["life", "none"]) != state
        assert (await engine.get_index("life")).length == 1
        assert "life" in [info.name for info in await engine.list_indexes()]
        await engine.delete_index("life")
        for call in (engine.get_index("life"), engine.delete_index("life"), engine.add("life", [])):
            with pytest.raises(ErrNotFound):
                await call
        await engine.create_index(IndexOptions(name="life", dimension=8))
        assert (await engine.get_index("life")).length == 0
        assert await engine.read_state(["life", "none"]) != state

    shared.run(story)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (IndexOptions(name="", dimension=4), "name"),
        (IndexOptions(name="x" * 201, dimension=4), "name"),
        (IndexOptions(name="a\nb", dimension=4), "name"),
        (IndexOptions(name="bad", dimension=0), "dimension"),
        (IndexOptions(name="bad", dimension=20_000), "dimension"),
        (IndexOptions(name="bad", dimension=255, model=WORDLLAMA), "dimension"),
    ],
)
def test_options_that_do_not_fit_are_refused(shared: SharedEngine, options: IndexOptions, field: str) -> None:
    async def story(engine: RetrievalEngine) -> None:
        with pytest.raises(ErrBadRequest) as caught:
            await engine.create_index(options)
        assert caught.value.field == field

    shared.run(story)


def test_of_equal_ids_in_a_batch_the_last_one_wins(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        twins = [
            Item(id="twin", vector=AXES[0], metadata=b'{"n":1}'),
            Item(id="twin", vector=AXES[1], metadata=b'{"n":2}'),
        ]
        written = await make(engine, "twins", *twins, Item(id="other", vector=AXES[2]))
        assert (written.added, written.replaced, written.length) == (2, 0, 2)
        hit = (await engine.search("twins", SearchQuery(vector=AXES[1], k=1))).decode()[0]
        assert (hit.id, hit.distance, bytes(hit.metadata)) == ("twin", 0, b'{"n":2}')

    shared.run(story)


def test_metadata_stays_if_it_is_omitted_and_goes_if_it_is_empty(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await make(engine, "keep", Item(id="a", vector=AXES[0], text="a red car", metadata=b'{"n": 1}'))
        written = await engine.add("keep", [Item(id="a", vector=AXES[1])])
        assert (written.added, written.replaced, written.length) == (0, 1, 1)
        item = (await engine.get_items("keep", ["a", "b"], with_vector=True))["a"]
        assert (item.metadata, item.text, item.vector) == (b'{"n": 1}', "a red car", AXES[1])
        await engine.add("keep", [Item(id="a", vector=AXES[1], metadata=b"{}", text="")])
        item = (await engine.get_items("keep", ["a"]))["a"]
        assert (item.metadata, item.text, item.vector) == (b"{}", "", b"")

    shared.run(story)


def test_a_write_that_waits_for_words_is_found_by_them_at_once(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await make(engine, "words")
        for number in range(5):  # more often than the words of other writes are committed
            item = Item(id=str(number), vector=AXES[0], text=f"a stone n{number}")
            await engine.add("words", [item], wait_for_words=True)
            hits = await engine.search("words", SearchQuery(text=f"n{number}", mode="keyword"))
            assert ([hit.id for hit in hits.decode()], hits.keyword_lag) == ([str(number)], 0)

    shared.run(story)


def test_the_last_item_is_deleted_and_the_index_goes_on(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await make(engine, "small", Item(id="a", vector=AXES[0]))
        for _ in range(3):
            deleted = await engine.delete_items("small", ids=["a", "missing"])
            assert (deleted.deleted, deleted.length) == (1, 0)
            assert await find(engine, "small", AXES[0]) == []
            again = await engine.add("small", [Item(id="a", vector=AXES[0])])
            assert (again.added, again.length) == (1, 1)
            assert await find(engine, "small", AXES[0]) == ["a"]

    shared.run(story)


def test_a_small_index_that_is_rewritten_often_stays_right(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await make(engine, "often", *[Item(id=str(at), vector=axis) for at, axis in enumerate(AXES)])
        version = (await engine.get_index("often")).version
        for turn in range(1, 60):
            written = await engine.add("often", [Item(id=str(at), vector=AXES[(at + turn) % 4]) for at in range(4)])
            assert written.version > version
            version = written.version
            assert await find(engine, "often", AXES[0], k=1) == [str(-turn % 4)]
        info = await engine.get_index("often")
        assert (info.length, info.version) == (4, version)

    shared.run(story)


def test_items_are_deleted_by_filter(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        items = [Item(id=str(at), vector=AXES[at % 4], metadata=b'{"n":%d}' % at) for at in range(20)]
        await make(engine, "by filter", *items)
        deleted = await engine.delete_items("by filter", ids=["0"], where=b'{"n":{"gte":10}}')
        assert (deleted.deleted, deleted.length) == (11, 9)
        with pytest.raises(ErrBadRequest) as caught:
            await engine.delete_items("by filter", where=b'{"n":{"x":1}}')
        assert caught.value.field == "filter.n.x"

    shared.run(story)


def test_the_items_of_a_source_are_replaced_together(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await make(engine, "sources", Item(id="x#1", vector=AXES[3], source="x"))
        first = [Item(id=f"y#{at}", vector=axis) for at, axis in enumerate(AXES)]
        written = await engine.replace_source("sources", "y", first, source_state=b'{"of":"y"}')
        assert (written.added, written.replaced, written.deleted, written.length) == (4, 0, 0, 5)
        written = await engine.replace_source("sources", "y", [*first[1:3], Item(id="y#9", vector=AXES[0])])
        assert (written.added, written.replaced, written.deleted, written.length) == (1, 2, 2, 4)
        info = await engine.get_index("sources")
        assert (info.length, info.source) == (4, b'{"of":"y"}')
        written = await engine.replace_source("sources", "y", [])
        assert (written.deleted, written.length) == (3, 1)
        assert (await engine.get_items("sources", ["x#1"]))["x#1"].source == "x"

    shared.run(story)


def test_a_sync_deletes_adds_and_keeps_its_state_in_one_write(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await make(engine, "sync", *[Item(id=f"k{at}", vector=AXES[0], digest=b"d%d" % at) for at in range(5)])
        written = await engine.add(
            "sync", [Item(id="k1", vector=AXES[1], digest=b"new")], delete_ids=["k0", "k4"], source_state=b'{"s":7}'
        )
        assert (written.added, written.replaced, written.deleted, written.length) == (0, 1, 2, 3)
        assert (await engine.get_index("sync")).source == b'{"s":7}'
        assert await engine.list_digests("sync") == [Digest("k1", b"new"), Digest("k2", b"d2"), Digest("k3", b"d3")]
        assert await engine.list_digests("sync", after="k1", limit=1) == [Digest("k2", b"d2")]

    shared.run(story)


def test_a_merge_copies_what_the_destination_lacks(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await make(engine, "from", *[Item(id=str(at), vector=AXES[at], metadata=b'{"from":1}') for at in range(4)])
        await make(engine, "to", Item(id="0", vector=AXES[3], metadata=b'{"to":1}'))
        merged = await engine.merge("from", "to")
        assert (merged.merged, merged.skipped, merged.length) == (3, 1, 4)
        assert (await engine.get_items("to", ["0"]))["0"].metadata == b'{"to":1}'
        assert await find(engine, "to", AXES[1], k=1) == ["1"]
        merged = await engine.merge("from", "to", clear_source=True)
        assert (merged.merged, merged.skipped, (await engine.get_index("from")).length) == (0, 4, 4)
        await engine.delete_items("to", ids=["1", "2"])
        merged = await engine.merge("from", "to", clear_source=True)
        assert (merged.merged, merged.skipped, merged.length) == (2, 2, 4)
        assert sorted(await find(engine, "from", AXES[0])) == ["0", "3"]

    shared.run(story)


def test_a_merge_that_makes_no_sense_is_refused(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await make(engine, "m4", Item(id="0", vector=AXES[3]))
        await engine.create_index(IndexOptions(name="m5", dimension=5))
        for source, dest, error in (
            ("m4", "m4", ErrBadRequest),
            ("m4", "m5", ErrBadRequest),
            ("m4", "no", ErrNotFound),
        ):
            with pytest.raises(error):
                await engine.merge(source, dest)

    shared.run(story)


@pytest.mark.parametrize(
    ("source", "dest", "bad", "what"),
    [
        ("dot", "cosine", vector(0, 0, 0, 0), "norm of zero"),
        ("euclidean", "cosine", vector(0, -0.0, 0, 0), "norm of zero"),
        ("cosine", "dot", vector(1, 1e30, 0, 0), r"beyond 1e\+16"),
        ("cosine", "euclidean", vector(-1e30, 0, 0, 0), r"beyond 1e\+16"),
    ],
)
def test_a_merge_into_another_distance_refuses_vectors_that_it_cannot_compare(
    shared: SharedEngine, source: Distance, dest: Distance, bad: bytes, what: str
) -> None:
    async def story(engine: RetrievalEngine) -> None:
        ours, theirs = f"{source} to {dest}", f"{dest} of {source}"
        await make(engine, ours, Item(id="good", vector=AXES[0]), Item(id="bad[x]", vector=bad), distance=source)
        await make(engine, theirs, Item(id="own", vector=AXES[1]), distance=dest)
        with pytest.raises(ErrBadRequest, match=rf"item 'bad\[x\]' of `source` has .*{what}") as caught:
            await engine.merge(ours, theirs, clear_source=True)
        assert caught.value.field == "source"
        assert await find(engine, theirs, AXES[1]) == ["own"]
        assert (await engine.get_index(ours)).length == 2
        await engine.delete_items(ours, ids=["bad[x]"])
        assert (await engine.merge(ours, theirs)).merged == 1
        assert sorted(await find(engine, theirs, AXES[1])) == ["good", "own"]

    shared.run(story)


NAN, INFINITE = float("nan"), float("inf")
REFUSED: dict[str, tuple[Distance, Item, str]] = {
    "wrong dimension": ("cosine", Item(id="x", vector=vector(1, 2, 3)), "vector"),
    "torn number": ("cosine", Item(id="x", vector=AXES[0][:-1]), "vector"),
    "no vector": ("cosine", Item(id="x"), "vector"),
    "a text, and no model": ("cosine", Item(id="x", text="a red car"), "vector"),
    "empty id": ("cosine", Item(id="", vector=AXES[0]), "id"),
    "long id": ("cosine", Item(id="x" * 1025, vector=AXES[0]), "id"),
    "NUL in an id": ("cosine", Item(id="a\0b", vector=AXES[0]), "id"),
    "NaN": ("dot", Item(id="x", vector=vector(1, NAN, 0, 0)), "vector"),
    "infinity": ("euclidean", Item(id="x", vector=vector(1, 0, 0, -INFINITE)), "vector"),
    "zero under cosine": ("cosine", Item(id="x", vector=vector(0, -0.0, 0, 0)), "vector"),
    "too large to square": ("dot", Item(id="x", vector=vector(1e30, 0, 0, 0)), "vector"),
    "metadata is a list": ("cosine", Item(id="x", vector=AXES[0], metadata=b"[1]"), "metadata"),
    "metadata is no JSON": ("cosine", Item(id="x", vector=AXES[0], metadata=b'{"a":}'), "metadata"),
    "declared field": ("cosine", Item(id="x", vector=AXES[0], metadata=b'{"year":"1999"}'), "metadata.year"),
    "declared flag": ("cosine", Item(id="x", vector=AXES[0], metadata=b'{"old":1}'), "metadata.old"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_batch_with_one_bad_item_adds_nothing_and_names_it(shared: SharedEngine, case: str) -> None:
    distance, bad, field = REFUSED[case]

    async def story(engine: RetrievalEngine) -> None:
        name = f"refused: {case}"
        made = await engine.create_index(
            IndexOptions(name=name, dimension=4, distance=distance, fields={"year": "int", "old": "bool"})
        )
        good = [Item(id=str(at), vector=AXES[at], metadata=b'{"year":1999,"old":true}') for at in range(3)]
        with pytest.raises(ErrBadRequest) as caught:
            await engine.add(name, [*good, bad, bad])
        assert caught.value.field == f"items[3].{field}"
        assert caught.value.details == {"item": 3}
        info = await engine.get_index(name)
        assert (info.length, info.version) == (0, made.version)

    shared.run(story)


@pytest.mark.parametrize("metadata", [b'{"a":1e999}', b'{"a":{"b":-1e400}}', b'{"a":"\xff"}'])
def test_metadata_that_a_filter_could_not_read_is_refused(shared: SharedEngine, metadata: bytes) -> None:
    async def story(engine: RetrievalEngine) -> None:
        name = f"unreadable {metadata.hex()}"
        await make(engine, name, Item(id="good", vector=AXES[0], metadata=b'{"a":1}'))
        with pytest.raises(ErrBadRequest) as caught:
            await engine.add(name, [Item(id="bad", vector=AXES[1], metadata=metadata)])
        assert caught.value.field == "items[0].metadata"
        assert await find(engine, name, AXES[0], filter=b'{"a":1}') == ["good"]

    shared.run(story)


def test_zero_and_tiny_vectors_are_taken_where_they_have_a_place(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await make(engine, "zeros", Item(id="zero", vector=vector(0, 0, 0, 0)), distance="euclidean")
        hit = (await engine.search("zeros", SearchQuery(vector=vector(3, 4, 0, 0)))).decode()[0]
        assert (hit.id, hit.distance) == ("zero", 5)
        await make(engine, "tiny", Item(id="tiny", vector=vector(1e-44, 0, 0, 0)), Item(id="up", vector=AXES[1]))
        found = (await engine.search("tiny", SearchQuery(vector=AXES[0]))).decode()
        assert [(hit.id, hit.distance) for hit in found] == [("tiny", 0), ("up", 1)]

    shared.run(story)


def test_vectors_of_another_model_are_a_conflict(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await engine.create_index(IndexOptions(name="modelled", dimension=4, model="ollama/one"))
        with pytest.raises(ErrConflict):
            await engine.add("modelled", [Item(id="a", vector=AXES[0])], model="two")
        await engine.add("modelled", [Item(id="a", vector=AXES[0], text="words")], model="ollama/one")
        with pytest.raises(ErrConflict):
            await engine.search("modelled", SearchQuery(vector=AXES[0], model="two"))
        with pytest.raises(ErrBadRequest) as caught:
            await engine.search("modelled", SearchQuery(text="words", mode="hybrid"))
        assert caught.value.field == "vector"

    shared.run(story)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (SearchQuery(vector=vector(1, 2)), "vector"),
        (SearchQuery(vector=vector(0, 0, 0, 0)), "vector"),
        (SearchQuery(vector=vector(NAN, 0, 0, 0)), "vector"),
        (SearchQuery(vector=AXES[0], k=0), "k"),
        (SearchQuery(vector=AXES[0], k=20_000), "k"),
        (SearchQuery(), "vector"),
        (SearchQuery(vector=AXES[0], mode="hybrid"), "text"),
        (SearchQuery(vector=AXES[0], mode="keyword"), "text"),
        (SearchQuery(vector=AXES[0], text="x", mode="hybrid", weight=1.5), "weight"),
        (SearchQuery(text="words"), "vector"),
        (SearchQuery(vector=AXES[0], filter=b'{"a":{}}'), "filter.a"),
        (SearchQuery(vector=AXES[0], filter=b"{"), "filter"),
    ],
    ids=str,
)
def test_a_query_that_makes_no_sense_is_refused_by_name(shared: SharedEngine, query: SearchQuery, field: str) -> None:
    async def story(engine: RetrievalEngine) -> None:
        names = [info.name for info in await engine.list_indexes()]
        if "queries" not in names:
            await make(engine, "queries", Item(id="a", vector=AXES[0]))
        with pytest.raises(ErrBadRequest) as caught:
            await engine.search("queries", query)
        assert caught.value.field == field

    shared.run(story)


def test_every_failure_is_one_that_a_client_can_read(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        with pytest.raises(LakehouseError) as caught:
            await engine.search("nowhere", SearchQuery(vector=AXES[0]))
        assert msgspec.json.encode(caught.value.document())
        assert "nowhere" in caught.value.message

    shared.run(story)
