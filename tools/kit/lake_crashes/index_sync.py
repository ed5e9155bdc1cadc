"""A client that keeps an index to a table: uploads, deletions of rows, and syncs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

from tools.kit.lake_crashes.indexes import LIMIT, make_index_request, search_index
from tools.kit.lake_crashes.report import CrashReport
from tools.kit.lake_crashes.requests import (
    LakeClient,
    Reply,
    make_ingest,
    make_json,
    make_sql,
    make_table_request,
)
from tools.kit.lake_crashes.writer import Step, Writer

Rows = Mapping[str, str]
"""The texts of rows by their ids."""

BATCH = 40
MAX_ROWS = 500


@dataclass(frozen=True, slots=True)
class Synced:
    """The rows of the table, and those of the index, None where it does not exist."""

    table: Rows | None = None
    index: Rows | None = None


class SyncWriter(Writer[Synced]):
    """Writes the table `<name>` and the index of the same name."""

    def __init__(self, name: str, client: LakeClient, report: CrashReport, random: Random) -> None:
        super().__init__(name, client, report, random, Synced())
        self._next_id = self._next_key = 0

    def choose(self) -> Step[Synced]:
        """The next step."""
        table, index = self.state.table, self.state.index
        if table is None:
            return self._upload({}, "replace")
        if index is None:
            document = {"name": self.name, "model": "default"}
            return Step("create index", make_json("POST", "/v1/vectors/index", document), replace(self.state, index={}))
        kinds = {"upload": 4, "delete rows": 2, "sync": 7, "replace table": 1}
        if len(table) > MAX_ROWS:
            kinds["upload"] = 0
        (kind,) = self.random.choices(list(kinds), list(kinds.values()))
        if kind == "upload":
            return self._upload(table, "upsert")
        if kind == "replace table":
            return self._upload({}, "replace")
        if kind == "delete rows":
            rest = self.random.randrange(5)
            request = make_table_request("POST", self.name, "delete", {"where": f"id % 5 = {rest}"})
            after = {id_: text for id_, text in table.items() if int(id_) % 5 != rest}
            return Step(kind, request, replace(self.state, table=after))
        document = {"table": self.name, "key": "id", "text": "text"}
        request = make_index_request("POST", self.name, "sync", document)
        return Step(kind, request, replace(self.state, index=dict(table)))

    def _upload(self, table: Rows, mode: str) -> Step[Synced]:
        count = self.random.randint(1, BATCH)
        new = {str(id_): self._make_text() for id_ in range(self._next_id, self._next_id + count)}
        self._next_id += count
        for id_ in self.random.sample(sorted(table), min(8, len(table))):
            new[id_] = self._make_text()
        self._next_key += 1
        csv = "id,text\n" + "".join(f"{id_},{text}\n" for id_, text in new.items())
        columns = "id" if mode == "upsert" else ""
        request = make_ingest(self.name, csv.encode(), mode=mode, key=f"{self.name}-{self._next_key}", columns=columns)
        return Step(f"table {mode}, keyed", request, replace(self.state, table={**table, **new}))

    def _make_text(self) -> str:
        return f"row with the number {self.random.getrandbits(40):x}"

    async def observe(self) -> Synced:
        """The rows by SQL, and those of the index by a search."""
        reply = await self.client.read(make_sql(f'SELECT CAST(id AS VARCHAR), text FROM "{self.name}"'))
        table = {row[0]: row[1] for row in reply.json()["rows"]} if reply.status == 200 else None
        described = await self.client.read(make_index_request("GET", self.name))
        if described.status == 404:
            return Synced(table, None)
        query = {"text": "row", "mode": "vector", "k": LIMIT, "with": ["text"]}
        hits = await search_index(self.client, self.name, query)
        self.report.reads["synced indexes"] += 1
        index = {hit["id"]: hit["text"] for hit in hits}
        if len(index) != described.json()["length"]:
            self.fail(f"the index lists {described.json()['length']} items, and a search finds {len(index)}")
        return Synced(table, index)

    async def check(self) -> None:
        """Also sync once more, after which the index must be the table and must remember its newest snapshot."""
        await super().check()
        if self.state.table is None or self.state.index is None:
            return
        document = {"table": self.name, "key": "id", "text": "text"}
        await self.client.read(make_index_request("POST", self.name, "sync", document))
        self.state = replace(self.state, index=dict(self.state.table))
        found = await self.observe()
        self.report.checks["syncs after the kills"] += 1
        if found != self.state:
            self.fail(f"after a sync the index is not the table: {self.describe(found, self.state)}")
            self.state = found
        source = (await self.client.read(make_index_request("GET", self.name))).json()["source"]
        if (source["behind"], source["complete"]) != (0, True):
            self.fail(f"after a sync the index says {source}")

    def record(self, step: Step[Synced], reply: Reply) -> None:
        """An acknowledged sync says how many items the index has."""
        if step.kind == "sync" and reply.json()["length"] != len(step.after.index or {}):
            self.fail(f"a sync of {len(step.after.index or {})} rows was answered with {reply}")

    def describe(self, found: Synced, expected: Synced) -> str:
        """How two states differ."""
        return f"table {_compare(found.table, expected.table)}, index {_compare(found.index, expected.index)}"


def _compare(found: Rows | None, expected: Rows | None) -> str:
    if found is None or expected is None:
        return "equal" if found is expected else f"{found is not None} instead of {expected is not None}"
    changed = sum(1 for id_ in found.keys() & expected.keys() if found[id_] != expected[id_])
    more, fewer = len(found.keys() - expected.keys()), len(expected.keys() - found.keys())
    return f"{len(found)} instead of {len(expected)} ({more} more, {fewer} fewer, {changed} others)"
