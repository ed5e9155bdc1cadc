"""An index of whole batches: one client adds and replaces them, others search meanwhile.

A search that finds a part of a batch has seen half a write; one that misses the newest batch acknowledged before it
began has lost a write.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import trio

from tools.kit.lake_crashes.indexes import LIMIT, make_index_request, search_index
from tools.kit.lake_crashes.report import CrashReport
from tools.kit.lake_crashes.requests import LakeClient, make_json
from tools.kit.lake_crashes.writer import Step, Writer

NAME = "index batches"
SIZE, SLOTS = 20, 40

Batches = Mapping[int, int] | None
"""The number of the batch in each slot; None before the index was made."""


class IndexBatchWriter(Writer[Batches]):
    """Writes batches into slots: the ids of a slot's items are the same each time, so a batch replaces the former."""

    def __init__(self, client: LakeClient, report: CrashReport, random: Random) -> None:
        super().__init__(NAME, client, report, random, None)
        self._next = 0

    def choose(self) -> Step[Batches]:
        """The next batch, or the deletion of a slot."""
        if self.state is None:
            document = {"name": NAME, "model": "default"}
            return Step("create index", make_json("POST", "/v1/vectors/index", document), {})
        slot = self.random.randrange(SLOTS)
        if slot in self.state and self.random.random() < 0.2:
            rest = {each: batch for each, batch in self.state.items() if each != slot}
            ids = [f"{slot}.{n}" for n in range(SIZE)]
            return Step("batch delete", make_index_request("POST", NAME, "delete", {"ids": ids}), rest)
        self._next += 1
        items = [
            {"id": f"{slot}.{n}", "text": f"part {n} of batch{self._next}x", "metadata": {"batch": self._next, "n": n}}
            for n in range(SIZE)
        ]
        request = make_index_request("POST", NAME, "add", {"items": items})
        return Step("batch add", request, {**self.state, slot: self._next})

    async def observe(self) -> Batches:
        """The batches in the slots."""
        reply = await self.client.read(make_index_request("GET", NAME))
        if reply.status == 404:
            return None
        query = {"text": "part", "mode": "vector", "k": LIMIT}
        self.report.reads["batches"] += 1
        return self._read(await search_index(self.client, NAME, query))

    def _read(self, hits: list[dict[str, object]]) -> dict[int, int]:
        slots: dict[int, list[tuple[int, int]]] = {}
        for hit in hits:
            metadata = hit["metadata"]
            assert isinstance(metadata, dict)
            slots.setdefault(int(str(hit["id"]).partition(".")[0]), []).append((metadata["batch"], metadata["n"]))
        for slot, parts in slots.items():
            if sorted(parts) != [(parts[0][0], n) for n in range(SIZE)]:
                self.fail(f"the batch in slot {slot} is not whole: {sorted(parts)}")
        return {slot: parts[0][0] for slot, parts in slots.items()}

    async def read_on(self, over: trio.Event) -> None:
        """Search until `over` is set: everything, or one batch by a filter."""
        while not over.is_set():
            await trio.sleep(self.random.uniform(0, 0.1))
            if self.state:
                await self._read_meanwhile()

    async def _read_meanwhile(self) -> None:
        before = dict(self.state or {})
        slot = self.random.choice(sorted(before))
        query: dict[str, object] = {"text": "part", "mode": "vector", "k": LIMIT}
        alone = self.random.random() < 0.5
        if alone:
            query["filter"] = {"batch": {"gte": before[slot]}}
        reply = await self.client.send(make_index_request("POST", NAME, "search", query))
        if reply.ending == "refused":
            self.fail(f"a search was refused: {reply}")
        if reply.ending != "acknowledged":
            return
        self.report.reads["batches meanwhile"] += 1
        found = self._read(reply.json()["results"])
        now = self.state or {}
        if slot not in found and now.get(slot) == before[slot] and not self.in_flight:
            self.fail(f"a search that began after batch {before[slot]} was acknowledged does not find it")
        if slot in found and found[slot] < before[slot]:
            self.fail(f"a search finds batch {found[slot]} in slot {slot} after {before[slot]} was acknowledged")

    in_flight = False
    """Whether a step is under way, which may delete a slot before its answer."""

    async def do(self, step: Step[Batches]) -> None:
        """Send a step."""
        self.in_flight = True
        try:
            await super().do(step)
        finally:
            self.in_flight = False
