"""Stores on real servers: items, filters, lists by vector and by word, versions."""

from __future__ import annotations

import json
from array import array
from functools import partial
from random import Random
from typing import TypeVar

import pytest
import trio

from lakehouse.core.errors import ErrConflict, ErrNotFound
from lakehouse.services.contracts.filter_language import parse_filter
from lakehouse.services.contracts.retrieval import Distance, IndexOptions
from lakehouse.services.contracts.vector_store import CandidateSearch, CorpusSearch, StoreItem, StoreWrite
from lakehouse.services.vector_stores.remote import creation
from tests.services.vector_stores.conftest import Store, make_store
from tests.services.vector_stores.store_kit import (
    DIMENSION,
    FILTERS,
    QUERY,
    by_vector,
    by_word,
    compare,
    count_words,
    create,
    make_items,
    pack,
    search,
    write,
)
from tools.kit.scaleout.vector_servers import VectorServer

T = TypeVar("T")


@pytest.mark.parametrize("distance", ["cosine", "dot", "euclidean"])
async def test_the_nearest_items_of_every_filter_are_found(store: Store, distance: Distance) -> None:
    await create(store, "a/b ü", distance)
    items, metadata = make_items(80)
    written = await write(store, "a/b ü", items=items)
    assert (written.added, written.replaced, written.length) == (80, 0, 80)
    order = sorted(range(80), key=lambda number: compare(items[number].vector, distance))
    for document in FILTERS:
        parsed = parse_filter(json.dumps(document).encode())
        wanted = [number for number in order if parsed is None or parsed.matches(metadata[number])]
        for k in (5, 200):
            found = by_vector(await search(store, "a/b ü", nearest=k, filter=document))
            assert [one.id for one in found] == [items[number].id for number in wanted[:k]], document
            distances = [compare(items[number].vector, distance) for number in wanted[:k]]
            assert [one.distance for one in found] == pytest.approx(distances, abs=1e-4)
    first = by_vector(await search(store, "a/b ü", nearest=1, with_text=True, tokens=[1]))[0]
    wanted_item = items[order[0]]
    assert (first.text, first.metadata, first.tokens) == (wanted_item.text, wanted_item.metadata, b"\1\0")


async def test_an_index_without_words_takes_texts(store: Store) -> None:
    await store.create_index(IndexOptions(name="silent", dimension=DIMENSION, keyword=False))
    items, _ = make_items(4)
    await write(store, "silent", items=items)
    assert [one.text for one in by_vector(await search(store, "silent", nearest=1, with_text=True))] != [None]
    assert by_word(await search(store, "silent", by_words=9, words=["text"])) == []


async def test_texts_are_found_by_their_words_the_rarest_first(store: Store) -> None:
    await create(store, "words")
    items, _ = make_items(80)
    await write(store, "words", items=items)
    found = await search(store, "words", nearest=2, by_words=9, words=["w3", "text", "nowhere"])
    best = by_word(found)
    assert sorted(one.id for one in best[:8]) == [f"item {number:03}" for number in range(3, 80, 10)]
    assert best[7].keyword is not None
    assert best[8].keyword is not None
    assert best[7].keyword > 4 * best[8].keyword > 0
    assert len(best) == 9
    for one in found:  # a candidate of one list has its distance nevertheless
        assert one.distance == pytest.approx(compare(items[int(one.id[5:])].vector, "cosine"), abs=1e-4)
    often = by_word(await search(store, "words", by_words=80, words=["often"]))
    assert {one.id for one in often} == {f"item {number:03}" for number in range(80) if number % 4}
    assert int(often[0].id[5:]) % 4 == 3
    some = by_word(
        await search(store, "words", by_words=9, words=["often"], filter={"word": {"lt": "b"}, "lang": "de"})
    )
    assert some
    for one in some:
        assert (json.loads(one.metadata)["word"], json.loads(one.metadata)["lang"]) == ("alpha", "de")


async def test_lists_by_word_are_one_list_over_several_indexes(store: Store) -> None:
    for name in ("one", "two"):
        await create(store, name)
    items, _ = make_items(60)
    await write(store, "one", items=items[:40])
    await write(store, "two", items=items[40:])
    found = await search(store, "one", "two", nearest=3, by_words=6, words=["w3"])
    assert sorted(one.keyword_rank or 0 for one in by_word(found)) == [1, 2, 3, 4, 5, 6]
    assert {one.corpus for one in by_word(found)} == {0, 1}
    assert [len([one for one in by_vector(found) if one.corpus == number]) for number in (0, 1)] == [3, 3]


async def test_a_write_replaces_keeps_and_deletes(store: Store) -> None:
    await create(store, "w")
    items, metadata = make_items(30)
    first = await write(store, "w", items=items, source_state=b'{"at":1}')
    again = StoreItem(id="item 001", vector=pack([1.0] * DIMENSION), digest=b"new")
    second = await write(store, "w", items=[again], delete_ids=["item 002", "none"])
    assert (second.added, second.replaced, second.deleted, second.length) == (0, 1, 1, 29)
    assert second.version > first.version
    kept = (await store.get_items("w", ["item 001", "item 002"], with_vector=True))["item 001"]
    assert (kept.text, json.loads(kept.metadata), kept.source) == ("text 1", metadata[1], "")
    assert array("f", kept.vector).tolist() == pytest.approx([1.0] * DIMENSION)
    [found] = by_word(await search(store, "w", by_words=5, words=["w1"], filter={"n": metadata[1]["n"]}))[:1]
    assert found.id == "item 001"  # the words stay with the text
    cleared = StoreItem(id="item 001", vector=pack([1.0] * DIMENSION), text="", metadata=b"{}")
    await write(store, "w", items=[cleared])
    assert (await store.get_items("w", ["item 001"]))["item 001"].text == ""
    assert "item 001" not in {one.id for one in await search(store, "w", by_words=30, words=["text"])}
    where = parse_filter(b'{"word":{"gte":"b"}}')
    assert where is not None
    gone = {f"item {n:03}" for n in range(30) if n not in (1, 2) and where.matches(metadata[n])}
    third = await write(store, "w", delete_where=where)
    assert (third.deleted, third.length) == (len(gone), 29 - len(gone))
    new = [StoreItem(id="new", vector=pack(QUERY), text="new", source="source 0")]
    fourth = await write(store, "w", items=new, replace_source="source 0")
    [index] = await store.find_indexes(["w"])
    assert (fourth.added, fourth.length, index.length, index.source) == (1, index.length, fourth.length, b'{"at":1}')
    assert index.version == fourth.version
    stored = await store.get_items("w", [f"item {number:03}" for number in range(30)])
    assert "source 0" not in {item.source for item in stored.values()}


async def test_an_item_without_a_vector_is_found_by_word_only(store: Store) -> None:
    await create(store, "v")
    items, _ = make_items(5)
    await write(store, "v", items=items)
    await write(store, "v", items=[StoreItem(id="bare", text="bare", **count_words("bare"))])
    assert len(await search(store, "v", nearest=10)) == 5
    [bare] = by_word(await search(store, "v", nearest=2, by_words=3, words=["bare"]))
    assert (bare.id, bare.distance, bare.vector_rank) == ("bare", None, None)
    assert (await store.get_items("v", ["bare"], with_vector=True))["bare"].vector == b""


async def test_digests_are_listed_in_the_order_of_the_ids(store: Store) -> None:
    await create(store, "d")
    items, _ = make_items(25)
    await write(store, "d", items=list(reversed(items)))
    listed: list[tuple[str, bytes]] = []
    while page := await store.list_digests("d", after=listed[-1][0] if listed else "", limit=10):
        listed += [(one.id, one.digest) for one in page]
    assert listed == [(item.id, item.digest) for item in items]


async def test_a_merge_copies_what_the_destination_lacks(store: Store) -> None:
    await create(store, "from")
    await create(store, "to", "euclidean")
    items, _ = make_items(20)
    await write(store, "from", items=items)
    await write(store, "to", items=[StoreItem(id="item 003", vector=pack(QUERY), text="mine")])
    merged = await store.merge("from", "to", clear_source=True)
    assert (merged.merged, merged.skipped, merged.length) == (19, 1, 20)
    assert [index.length for index in await store.find_indexes()] == [1, 20]
    copied = await store.get_items("to", [item.id for item in items], with_vector=True)
    assert copied["item 003"].text == "mine"
    assert array("f", copied["item 004"].vector).tolist() == pytest.approx(array("f", items[4].vector).tolist())
    assert {one.id for one in by_word(await search(store, "to", by_words=9, words=["w4"]))} == {"item 004", "item 014"}


async def test_indexes_belong_to_their_lake_and_unknown_ones_are_not_found(store: Store, server: VectorServer) -> None:
    await create(store, "mine")
    other = make_store(server, "test_other")
    [mine] = await store.find_indexes()
    assert mine.options.name == "mine"
    assert await other.find_indexes() == []
    with pytest.raises(ErrConflict):
        await create(store, "mine")
    await store.delete_index("mine")
    assert await store.find_indexes(["mine"]) == []
    for call in (
        lambda: store.delete_index("mine"),
        lambda: store.write(StoreWrite(index="mine", options=mine.options, delete_ids=["a"])),
        lambda: store.get_items("mine", ["a"]),
        lambda: store.list_digests("mine"),
        lambda: store.merge("mine", "other"),
        lambda: search(store, "mine", nearest=1),
    ):
        with pytest.raises(ErrNotFound):
            await call()
    await create(store, "mine")
    other.close()


async def test_two_services_see_the_writes_of_each_other(store: Store, server: VectorServer) -> None:
    await create(store, "both")
    other = make_store(server, store.prefix)
    items, _ = make_items(40)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(write, store, "both", items=items[:20]))
        nursery.start_soon(partial(write, other, "both", items=items[20:]))
    for one in (store, other):
        assert [index.length for index in await one.find_indexes(["both"])] == [40]
        assert len(await search(one, "both", nearest=100)) == 40
    [before] = await store.find_indexes(["both"])
    await write(other, "both", delete_ids=["item 001"])
    [after] = await store.find_indexes(["both"])
    assert after.version > before.version
    await other.delete_index("both")
    await create(store, "both", "euclidean")
    assert (await other.find_indexes(["both"]))[0].options.distance == "euclidean"
    old = CorpusSearch(index="both", identity=before.identity, vector=pack(QUERY))
    for one in (store, other):
        with pytest.raises(ErrConflict, match="replaced"):
            await one.search(CandidateSearch(corpora=[old], nearest=1))
        with pytest.raises(ErrConflict, match="replaced"):
            await one.write(StoreWrite(index="both", options=before.options, items=items[:1]))
    other.close()


async def test_a_write_creates_the_index_that_is_missing_once(store: Store, server: VectorServer) -> None:
    other = make_store(server, store.prefix)
    options = IndexOptions(name="new", dimension=DIMENSION)
    items, _ = make_items(10)
    async with trio.open_nursery() as nursery:
        for one, part in ((store, items[:5]), (other, items[5:])):
            nursery.start_soon(one.write, StoreWrite(index="new", options=options, items=part, create=True))
    assert [index.length for index in await store.find_indexes()] == [10]
    other.close()


async def test_a_creation_that_was_cut_is_replaced(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creation, "CREATION_SECONDS", 0.2)
    with trio.CancelScope() as scope, monkeypatch.context() as patch:
        original = store.api.client.call

        async def cut(method: str, target: str, shape: type[T], document: object = None) -> T:
            if "points" in target or "upsert" in target:
                scope.cancel()
            return await original(method, target, shape, document)

        patch.setattr(store.api.client, "call", cut)
        await create(store, "cut")
    assert scope.cancelled_caught
    assert await store.find_indexes() == []
    await create(store, "cut")
    assert [index.options.name for index in await store.find_indexes()] == ["cut"]


async def test_a_filter_of_one_percent_loses_nothing(store: Store) -> None:
    await create(store, "many")
    random = Random(3)
    items = [
        StoreItem(
            id=str(number),
            vector=pack([random.gauss(0, 1) for _ in range(DIMENSION)]),
            text="",
            metadata=b'{"n":%d}' % (number % 100),
        )
        for number in range(2500)
    ]
    await write(store, "many", items=items)
    few = sorted((compare(item.vector, "cosine"), item.id) for item in items if int(item.id) % 100 == 42)
    found = by_vector(await search(store, "many", nearest=10, filter={"n": 42}))
    assert [one.id for one in found] == [one for _, one in few[:10]]
