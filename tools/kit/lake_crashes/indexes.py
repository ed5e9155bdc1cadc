"""A client of vectord: three indexes, of texts with and without declared fields and of vectors, changed in every way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random
from typing import Any
from urllib.parse import quote

import trio

from tools.kit.lake_crashes.report import CrashReport
from tools.kit.lake_crashes.requests import LakeClient, Request, make_json
from tools.kit.lake_crashes.writer import Step, Writer

Items = Mapping[str, int]
"""The number of each item, by id. The text and the vector of an item follow from its number."""
Indexes = Mapping[str, Items]
"""The items of a client's indexes by their names; an index that is missing does not exist."""

BATCH = 40
MAX_ITEMS = 600
LIMIT = 1000
"""Items that one search returns at most: an index has fewer, so a search returns all of them."""
DIMENSION = 6
WORDS = ("tea", "iron", "river", "violin", "bread", "glacier", "harbour", "copper", "meadow", "lantern")


def make_text(number: int) -> str:
    """The text of an item: words that are those of few others, and one that is its own."""
    return f"{WORDS[number % 10]} and {WORDS[number // 10 % 10]} of item n{number}x"


def make_vector(number: int) -> list[float]:
    """The vector of an item."""
    return [math.cos(number * (place + 1)) for place in range(DIMENSION)]


def make_index_request(method: str, index: str, verb: str = "", document: object = None) -> Request:
    """A request about an index."""
    path = f"/v1/vectors/index/{quote(index, safe='')}" + (f"/{verb}" if verb else "")
    return Request(method, path) if document is None else make_json(method, path, document)


class IndexWriter(Writer[Indexes]):
    """Writes the indexes `<name>_a` and `<name>/b` of texts, and `<name>_v` of vectors."""

    def __init__(self, name: str, client: LakeClient, report: CrashReport, random: Random) -> None:
        super().__init__(name, client, report, random, {})
        self._texts = (f"{name}_a", f"{name}/b")
        self._vectors = f"{name}_v"
        self._next = 0

    # Choosing.

    def choose(self) -> Step[Indexes]:
        """The next step."""
        index = self.random.choice((*self._texts, self._vectors))
        items = self.state.get(index)
        if items is None:
            return self._create(index)
        kinds = {"add": 10, "delete ids": 4, "delete filter": 3, "merge": 2, "drop index": 1, "create again": 1}
        if len(items) > MAX_ITEMS:
            kinds["add"] = 0
        (kind,) = self.random.choices(list(kinds), list(kinds.values()))
        if kind == "add":
            return self._add(index, items)
        if kind == "delete ids":
            return self._delete(index, items)
        if kind == "delete filter":
            return self._delete_filter(index, items)
        if kind == "merge" and set(self._texts) <= self.state.keys():
            return self._merge()
        if kind == "drop index":
            rest = {name: other for name, other in self.state.items() if name != index}
            return Step(kind, make_index_request("DELETE", index), rest)
        return Step("create again", self._make_creation(index), self.state, frozenset({409}), must_fail=True)

    def _make_creation(self, index: str) -> Request:
        kind: dict[str, object] = {"dimension": DIMENSION} if index == self._vectors else {"model": "default"}
        fields = {"fields": {"n": "int"}} if index == self._texts[0] else {}
        return make_json("POST", "/v1/vectors/index", {"name": index, **kind, **fields})

    def _create(self, index: str) -> Step[Indexes]:
        return Step("create index", self._make_creation(index), {**self.state, index: {}})

    def _put(self, index: str, items: Items) -> Indexes:
        return {**self.state, index: items}

    def _add(self, index: str, items: Items) -> Step[Indexes]:
        count = self.random.randint(1, BATCH)
        numbers = range(self._next, self._next + count)
        self._next += count
        new = {f"{self.name}-{number}": number for number in numbers}
        for id_ in self.random.sample(sorted(items), min(len(items), self.random.randint(0, 8))):
            new[id_], self._next = self._next, self._next + 1
        content = [self._make_item(index, id_, number) for id_, number in new.items()]
        request = make_index_request("POST", index, "add", {"items": content})
        return Step("add items", request, self._put(index, {**items, **new}))

    def _make_item(self, index: str, id_: str, number: int) -> dict[str, object]:
        item: dict[str, object] = {"id": id_, "metadata": {"n": number, "of": self.name}}
        return item | ({"vector": make_vector(number)} if index == self._vectors else {"text": make_text(number)})

    def _delete(self, index: str, items: Items) -> Step[Indexes]:
        ids = self.random.sample(sorted(items), min(len(items), self.random.randint(1, BATCH)))
        rest = {id_: number for id_, number in items.items() if id_ not in ids}
        method, verb = self.random.choice((("POST", "delete"), ("DELETE", "items")))
        return Step("delete ids", make_index_request(method, index, verb, {"ids": ids}), self._put(index, rest))

    def _delete_filter(self, index: str, items: Items) -> Step[Indexes]:
        low = self.random.randrange(max(1, self._next))
        high = low + self.random.randrange(1, 80)
        rest = {id_: number for id_, number in items.items() if not low <= number < high}
        request = make_index_request("POST", index, "delete", {"filter": {"n": {"gte": low, "lt": high}}})
        return Step("delete by filter", request, self._put(index, rest))

    def _merge(self) -> Step[Indexes]:
        source, dest = self.random.sample(self._texts, 2)
        lacking = {id_: number for id_, number in self.state[source].items() if id_ not in self.state[dest]}
        if len(lacking) + len(self.state[dest]) > MAX_ITEMS + BATCH:
            return self._delete(dest, self.state[dest])
        clear = self.random.random() < 0.5
        rest = {id_: number for id_, number in self.state[source].items() if not clear or id_ not in lacking}
        after = {**self.state, source: rest, dest: {**self.state[dest], **lacking}}
        request = make_index_request("POST", source, "merge", {"dest": dest, "clear_source": clear})
        return Step("merge", request, after)

    # Comparing.

    async def observe(self) -> Indexes:
        """The indexes that are listed, with all items of each."""
        listed = (await self.client.read(Request("GET", "/v1/vectors/index"))).json()["indexes"]
        mine = (*self._texts, self._vectors)
        return {info["name"]: await self._read(info) for info in listed if info["name"] in mine}

    async def _read(self, info: dict[str, Any]) -> Items:
        """All items of an index, as a search by vector has them."""
        index = info["name"]
        query: dict[str, object] = {"text": "tea", "mode": "vector", "k": LIMIT, "with": ["metadata", "text"]}
        if index == self._vectors:
            query = {"vector": make_vector(1), "k": LIMIT}
        hits = await search_index(self.client, index, query)
        self.report.reads["indexes"] += 1
        found = {hit["id"]: hit["metadata"]["n"] for hit in hits}
        if len(found) != len(hits) or len(found) != info["length"]:
            self.fail(f"{index} lists {info['length']} items, and a search finds {len(hits)} with {len(found)} ids")
        for hit in hits:
            self._check_hit(index, hit)
        return found

    def _check_hit(self, index: str, hit: dict[str, Any]) -> None:
        number = hit["metadata"]["n"]
        if index == self._vectors:
            if not math.isclose(hit["distance"], distance(make_vector(1), make_vector(number)), abs_tol=1e-5):
                self.fail(f"{hit['id']} of {index} has the distance {hit['distance']}, which is not that of n{number}")
        elif hit["text"] != make_text(number):
            self.fail(f"{hit['id']} of {index} has the text {hit['text']!r} and the metadata of n{number}")

    async def check(self) -> None:
        """Also look for some items by the one word that each has alone, and by their whole text."""
        await super().check()
        for index in self._texts:
            items = self.state.get(index, {})
            for id_ in self.random.sample(sorted(items), min(3, len(items))):
                await self._check_found(index, id_, items[id_])

    async def _check_found(self, index: str, id_: str, number: int) -> None:
        await wait_keywords(self.client, index)
        self.report.checks["items by word and by text"] += 1
        query = {"text": f"n{number}x", "mode": "keyword", "k": 5}
        by_word = [hit["id"] for hit in await search_index(self.client, index, query)]
        if by_word != [id_]:
            self.fail(f"{index} finds {by_word} by the word of n{number}, and not {id_} alone")
        query = {"text": make_text(number), "mode": "vector", "k": 5}
        nearest = await search_index(self.client, index, query)
        if not any(hit["id"] == id_ and abs(hit["distance"]) < 1e-3 for hit in nearest):
            self.fail(f"{index} does not find {id_} by its own text, but {[hit['id'] for hit in nearest]}")

    def describe(self, found: Indexes, expected: Indexes) -> str:
        """How two states differ."""
        return "; ".join(
            f"{name}: {_compare(found.get(name), expected.get(name))}"
            for name in sorted({*found, *expected})
            if found.get(name) != expected.get(name)
        )


def distance(one: list[float], other: list[float]) -> float:
    """The cosine distance of two vectors."""
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return 1 - product / (math.hypot(*one) * math.hypot(*other))


def _compare(found: Items | None, expected: Items | None) -> str:
    if found is None or expected is None:
        return f"{'missing' if found is None else len(found)} instead of {'missing' if expected is None else len(expected)}"
    changed = sum(1 for id_ in found.keys() & expected.keys() if found[id_] != expected[id_])
    more, fewer = len(found.keys() - expected.keys()), len(expected.keys() - found.keys())
    return f"{len(found)} items instead of {len(expected)} ({more} more, {fewer} fewer, {changed} others)"


async def search_index(client: LakeClient, index: str, query: dict[str, Any]) -> list[dict[str, Any]]:
    """The hits of a search; none for an index that does not exist."""
    reply = await client.read(make_index_request("POST", index, "search", query))
    hits: list[dict[str, Any]] = reply.json().get("results", [])
    return hits


async def wait_keywords(client: LakeClient, index: str) -> None:
    """Wait until a search by word finds all items of an index."""
    with trio.fail_after(10):
        while (await client.read(make_index_request("GET", index))).json().get("keyword_lag"):
            await trio.sleep(0.02)
