"""What the library of the Go system got wrong, as a table of stories over HTTP, with the real engine.

Adding a key again panicked, the deletion of the last node corrupted the graph, duplicates in a batch panicked, a NaN
poisoned the heaps, items without metadata vanished when they were read back, small indexes that are often rewritten
ended in a nil pointer, and the nearest items were not always those that came.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import trio

from lakehouse.config import parse_config
from lakehouse.services.host.activation import open_services_process

INDEX = "/v1/vectors/index"
EAST, NORTH, WEST, UP = [1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, 0, 1]


@dataclass
class Index:
    """An index of dimension 3 in the services process."""

    client: httpx.AsyncClient
    name: str

    async def post(self, verb: str, document: object, status: int = 200) -> Any:
        answer = await self.client.post(f"{INDEX}/{self.name}/{verb}", json=document)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def add(self, *items: dict[str, object]) -> Any:
        return await self.post("add", {"items": items})

    async def nearest(self, vector: Sequence[float], k: int = 10, **more: object) -> list[str]:
        """The ids of the nearest items, whose distances must ascend."""
        hits = (await self.post("search", {"vector": vector, "k": k, **more}))["results"]
        assert [hit["distance"] for hit in hits] == sorted(hit["distance"] for hit in hits)
        return [hit["id"] for hit in hits]

    async def length(self) -> int:
        length: int = (await self.client.get(f"{INDEX}/{self.name}")).json()["length"]
        return length


Story = Callable[[Index], Awaitable[None]]
STORIES: list[Story] = []


def story(tell: Story) -> Story:
    STORIES.append(tell)
    return tell


def item(id_: str, vector: Sequence[float], **more: object) -> dict[str, object]:
    return {"id": id_, "vector": vector, **more}


@story
async def an_id_that_is_added_again_is_replaced(index: Index) -> None:
    await index.add(item("a", EAST, metadata={"v": 1}), item("b", NORTH))
    for _ in range(5):
        assert (await index.add(item("a", WEST)))["replaced"] == 1
    assert await index.length() == 2
    assert await index.nearest(WEST, 1) == ["a"]
    assert await index.nearest(EAST) == ["b", "a"]


@story
async def metadata_stays_if_left_out_and_is_cleared_by_an_empty_object(index: Index) -> None:
    await index.add(item("a", EAST, metadata={"v": 1}))
    await index.add(item("a", NORTH))
    assert (await index.post("search", {"vector": NORTH}))["results"][0]["metadata"] == {"v": 1}
    await index.add(item("a", NORTH, metadata={}))
    assert not (await index.post("search", {"vector": NORTH}))["results"][0].get("metadata")


@story
async def the_last_item_can_be_deleted_and_the_index_used_on(index: Index) -> None:
    for _ in range(3):
        await index.add(item("only", EAST))
        assert (await index.post("delete", {"ids": ["only"]})) | {"version": 0} == {
            "deleted": 1, "length": 0, "version": 0,
        }  # fmt: skip
        assert await index.nearest(EAST) == []
    await index.add(item("other", NORTH))
    assert await index.nearest(EAST) == ["other"]
    assert (await index.post("delete", {"ids": ["only", "none"]}))["deleted"] == 0


@story
async def the_last_of_equal_ids_in_a_batch_wins(index: Index) -> None:
    done = await index.add(item("a", EAST), item("b", UP), item("a", NORTH), item("a", WEST))
    assert (done["added"], done["length"]) == (2, 2)
    assert await index.nearest(WEST, 1) == ["a"]


@story
async def numbers_that_poison_are_refused_and_nothing_of_their_batch_is_kept(index: Index) -> None:
    await index.add(item("good", EAST))
    for body in ("[NaN,0,0]", "[1e39,0,0]", "[1e999,0,0]", "[0,0,0]", "[-Infinity,0,0]", "[1,0]", "[1,0,0,0]", "[]"):
        content = f'{{"items": [{{"id": "new", "vector": [1,0,0]}}, {{"id": "bad", "vector": {body}}}]}}'
        answer = await index.client.post(f"{INDEX}/{index.name}/add", content=content)
        assert (body, answer.status_code) == (body, 400), answer.text
        assert answer.json()["error"]["details"]["item"] == 1
        assert "items[1].vector" in answer.json()["error"]["message"]
        refused = await index.client.post(f"{INDEX}/{index.name}/search", content=f'{{"vector": {body}}}')
        assert (body, refused.status_code) == (body, 400), refused.text
    assert await index.nearest(EAST) == ["good"]


@story
async def tiny_and_huge_numbers_have_a_direction(index: Index) -> None:
    await index.add(item("tiny", [1e-30, 0, 0]), item("huge", [0, 3e38, 0]), item("denormal", [0, 0, 1e-40]))
    assert [(await index.nearest(vector, 1))[0] for vector in (EAST, NORTH, UP)] == ["tiny", "huge", "denormal"]


@story
async def items_without_metadata_are_there(index: Index) -> None:
    await index.add(item("bare", EAST), item("null", NORTH, metadata=None), item("full", UP, metadata={"a": 1}))
    assert sorted(await index.nearest(EAST)) == ["bare", "full", "null"]
    assert await index.nearest(EAST, filter={"a": 1}) == ["full"]
    assert sorted(await index.nearest(EAST, filter={"not": {"a": 1}})) == ["bare", "null"]


@story
async def a_small_index_that_is_often_rewritten_stays_right(index: Index) -> None:
    random, held = Random(7), dict[str, list[float]]()
    for _ in range(60):
        new = {
            f"i{random.randrange(12)}": [random.uniform(-1, 1) for _ in range(3)] for _ in range(random.randrange(1, 4))
        }
        gone = random.sample(sorted(held), min(len(held), random.randrange(3)))
        await index.post("delete", {"ids": gone})
        await index.add(*(item(id_, vector) for id_, vector in new.items()))
        held = {id_: vector for id_, vector in held.items() if id_ not in gone} | new
        query = [random.uniform(-1, 1) for _ in range(3)]
        assert await index.nearest(query, 5) == sorted(held, key=lambda id_: -_cosine(query, held[id_]))[:5]
    assert await index.length() == len(held)


@story
async def many_callers_rewrite_it_at_once(index: Index) -> None:
    async def rewrite(caller: int) -> None:
        for round_ in range(8):
            await index.add(item(f"c{caller}", [1, caller, round_]), item("shared", [caller + 1, round_, 1]))
            assert f"c{caller}" in await index.nearest([1, caller, round_], 20)
            if round_ % 3 == 2:
                await index.post("delete", {"ids": [f"c{caller}"]})

    async with trio.open_nursery() as nursery:
        for caller in range(8):
            nursery.start_soon(rewrite, caller)
    assert sorted(await index.nearest(EAST, 20)) == ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "shared"]


@story
async def a_merge_copies_what_is_lacking_and_deletes_only_what_it_copied(index: Index) -> None:
    assert (await index.client.post(INDEX, json={"name": "dest", "dimension": 3})).status_code == 201
    dest = Index(index.client, "dest")
    await index.add(item("a", EAST), item("b", NORTH))
    await dest.add(item("b", UP))
    done = await index.post("merge", {"dest": "dest", "clear_source": True})
    assert done == {"merged": 1, "skipped": 1, "length": 2}
    assert (await index.nearest(EAST), await dest.nearest(UP)) == (["b"], ["b", "a"])
    await index.post("merge", {"dest": index.name}, 400)
    await index.post("merge", {"dest": "none"}, 404)
    assert (await index.client.post(INDEX, json={"name": "flat", "dimension": 2})).status_code == 201
    await index.post("merge", {"dest": "flat"}, 400)


@story
async def k_is_cut_to_what_there_is(index: Index) -> None:
    await index.add(*(item(f"i{n}", [1, n, 0]) for n in range(20)))
    assert len(await index.nearest(EAST, 10**9)) == 20
    assert len((await index.post("search", {"vector": EAST}))["results"]) == 10
    assert len(await index.nearest(EAST, 3, filter={"none": 1})) == 0


def _cosine(one: list[float], other: Sequence[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (math.hypot(*one) * math.hypot(*other))


@pytest.mark.extended
async def test_what_the_original_library_got_wrong(tmp_path: Path) -> None:
    config = parse_config({"lake": {"path": str(tmp_path / "lake")}, "observe": {"log": "off"}}).config
    async with open_services_process(config) as process:
        transport = httpx.AsyncHTTPTransport(uds=process.socket_path)
        async with httpx.AsyncClient(transport=transport, base_url="http://lake", timeout=60) as client:
            for number, tell in enumerate(STORIES):
                name = f"story-{number}"
                assert (await client.post(INDEX, json={"name": name, "dimension": 3})).status_code == 201
                with trio.fail_after(30):
                    await tell(Index(client, name))
