"""A client of the tables: uploads in every mode, and every request of the catalog that changes a table."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Callable, Sequence
from random import Random

import trio

from tools.kit.lake_crashes.report import CrashReport
from tools.kit.lake_crashes.requests import (
    LakeClient,
    Reply,
    Request,
    make_ingest,
    make_json,
    make_sql,
    make_table_request,
)
from tools.kit.lake_crashes.table_state import Kept, Row, Table, Tables, describe_difference, make_table
from tools.kit.lake_crashes.writer import Step, Writer

BATCH = 200
MAX_ROWS = 2_000
KEPT = 12
"""Acknowledged snapshots that are remembered, to read and to restore them."""
EXPIRY = 6.0
"""Seconds: `older_than` of the expiries that clients ask for."""
EXPIRY_MARGIN = 4.0
"""Seconds for which a snapshot is certainly kept."""

Choice = Callable[[], Step[Tables]]


class TableWriter(Writer[Tables]):
    """Writes the tables `<name>_a`, `<name>/b` and `<name>_registered`."""

    def __init__(self, name: str, client: LakeClient, report: CrashReport, random: Random) -> None:
        super().__init__(name, client, report, random, {})
        self._names = (f"{name}_a", f"{name}/b")
        self._registered = f"{name}_registered"
        self._next_id = self._next_key = self._next_column = 0
        self._kept: deque[Kept] = deque(maxlen=KEPT)

    # Choosing.

    def choose(self) -> Step[Tables]:
        """The next step."""
        name = self.random.choice(self._names)
        table = self.state.get(name)
        if table is None:
            return self._restore_dropped(name) if self.random.random() < 0.5 else self._ingest("create", name, None)
        choices: list[tuple[int, Choice]] = [
            (9, lambda: self._ingest("append", name, table)),
            (3, lambda: self._ingest("replace", name, table)),
            (5, lambda: self._ingest("upsert", name, table)),
            (5, lambda: self._delete_rows(name, table)),
            (4, lambda: self._change_columns(name, table)),
            (2, lambda: self._rename(name, table)),
            (3, lambda: self._restore(name)),
            (3, lambda: self._step("optimize", make_table_request("POST", name, "optimize"), name, table)),
            (1, self._expire),
            (2, lambda: self._step("drop", make_table_request("DELETE", name), name, None)),
            (2, self._register),
        ]
        weights = [weight for weight, _ in choices]
        if len(table.rows) > MAX_ROWS:
            weights[0] = 0
        return self.random.choices([choice for _, choice in choices], weights)[0]()

    def _step(self, kind: str, request: Request, name: str, after: Table | None) -> Step[Tables]:
        rest = {each: table for each, table in self.state.items() if each != name}
        return Step(kind, request, rest if after is None else {**rest, name: after})

    def _make_rows(self, columns: Sequence[str], count: int) -> dict[int, Row]:
        first, self._next_id = self._next_id, self._next_id + count
        return {
            key: tuple(f"{column}-{self.random.getrandbits(40):x}" for column in columns[1:])
            for key in range(first, first + count)
        }

    def _ingest(self, kind: str, name: str, table: Table | None) -> Step[Tables]:
        columns = ("id", "text") if table is None else table.columns
        rows = self._make_rows(columns, self.random.randint(1, BATCH))
        if kind == "upsert" and table is not None and table.rows:
            for present in self.random.sample(sorted(table.rows), min(20, len(table.rows))):
                rows[present] = tuple(f"upserted-{self.random.getrandbits(40):x}" for _ in columns[1:])
        upload = Table(columns, rows)
        after = table.put(rows) if kind in ("append", "upsert") and table is not None else upload
        keyed = self.random.random() < 0.5
        self._next_key += keyed
        key = f"{self.name}-{self._next_key}" if keyed else ""
        mode = "replace" if kind == "create" else kind
        request = make_ingest(name, upload.to_csv(), mode=mode, key=key, columns="id" if kind == "upsert" else "")
        return self._step(f"ingest {kind}{', keyed' if keyed else ''}", request, name, after)

    def _delete_rows(self, name: str, table: Table) -> Step[Tables]:
        rest = self.random.randrange(7)
        request = make_table_request("POST", name, "delete", {"where": f"id % 7 = {rest}"})
        return self._step("delete rows", request, name, table.keep(lambda key: key % 7 != rest))

    def _change_columns(self, name: str, table: Table) -> Step[Tables]:
        self._next_column += 1
        column = f"c{self._next_column}"
        verb = self.random.choice(("add", "rename", "drop"))
        if verb == "add" or len(table.columns) == 2:
            document: object = {"add": [{"name": column, "type": "VARCHAR"}]}
            after = table.add_column(column)
        elif verb == "rename":
            former = self.random.choice(table.columns[1:])
            document, after = {"rename": {former: column}}, table.rename_column(former, column)
        else:
            former = self.random.choice(table.columns[1:])
            document, after = {"drop": [former]}, table.drop_column(former)
        return self._step("change columns", make_table_request("POST", name, "columns", document), name, after)

    def _rename(self, name: str, table: Table) -> Step[Tables]:
        (to,) = (each for each in self._names if each != name)
        request = make_table_request("POST", name, "rename", {"to": to})
        if to in self.state:
            return Step("rename to a taken name", request, self.state, frozenset({409}), must_fail=True)
        rest = {each: value for each, value in self.state.items() if each != name}
        return Step("rename", request, {**rest, to: table})

    def _expire(self) -> Step[Tables]:
        request = make_json("POST", "/v1/catalog/expire", {"older_than": f"{EXPIRY:g}s"})
        return Step("expire", request, self.state)

    def _restore(self, name: str) -> Step[Tables]:
        """Restore an earlier snapshot of the table that has the name now."""
        kept = [each for each in self._kept if each.name == name]
        if not kept:
            return self._expire()
        chosen = self.random.choice(kept)
        return self._make_restore("restore", name, chosen)

    def _restore_dropped(self, name: str) -> Step[Tables]:
        kept = [each for each in self._kept if each.name == name]
        return (
            self._make_restore("restore dropped", name, self.random.choice(kept))
            if kept
            else self._ingest("create", name, None)
        )

    def _make_restore(self, kind: str, name: str, kept: Kept) -> Step[Tables]:
        """Refused if the snapshot has expired, or is of another table, which had the name before."""
        request = make_table_request("POST", name, "restore", {"snapshot_id": kept.snapshot_id})
        step = self._step(kind, request, name, kept.table)
        young = trio.current_time() - kept.sent < EXPIRY_MARGIN
        return Step(kind, request, step.after, frozenset() if young else frozenset({404}))

    def _register(self) -> Step[Tables]:
        """Put a Parquet object into the storage first, in `do`; here is what follows."""
        table = Table(("id", "text"), self._make_rows(("id", "text"), self.random.randint(1, BATCH)))
        content = make_parquet(table)
        key = f"{self.name}/registered-{hashlib.sha256(content).hexdigest()[:8]}.parquet"
        document = {
            "name": self._registered,
            "schema_fingerprint": "registered",
            "objects": [{"key": key, "size": len(content), "rows": len(table.rows)}],
            "row_count": len(table.rows),
        }
        self._object = (key, content)
        return self._step("register", make_json("POST", "/v1/catalog/register", document), self._registered, table)

    async def do(self, step: Step[Tables]) -> None:
        """Send a step. What it registers is put into the storage first, and deleted afterwards."""
        if step.kind != "register":
            await super().do(step)
            return
        key, content = self._object
        path = f"/v1/storage/objects/{key}"
        await self.client.read(Request("PUT", path, content))
        await super().do(step)
        await self.client.read(Request("DELETE", path))

    # Writing down, and comparing.

    def record(self, step: Step[Tables], reply: Reply) -> None:
        """Remember the snapshot. After a rename or a drop, snapshots belong to another name or to none."""
        document = reply.json()
        name, snapshot_id = document.get("name"), document.get("snapshot_id")
        if step.kind == "rename":
            self._kept.clear()
        elif step.kind.startswith("ingest create") or step.kind == "restore dropped":
            self._kept = deque((each for each in self._kept if each.name != name), maxlen=KEPT)
        if name in self.state and snapshot_id:
            self._kept.append(Kept(name, snapshot_id, self.state[name], self.sent))

    def forget(self) -> None:
        """Forget the snapshots."""
        self._kept.clear()

    async def observe(self) -> Tables:
        """The tables that the catalog lists, read by SQL."""
        listed = (await self.client.read(Request("GET", "/v1/catalog/list"))).json()["manifests"]
        mine = [manifest for manifest in listed if self._is_mine(manifest["name"])]
        found: dict[str, Table] = {}
        for manifest in mine:
            name = manifest["name"]
            table = await self._read(name)
            if table is None:
                continue
            found[name] = table
            columns = tuple(column["name"] for column in manifest["columns"])
            rows = sum(each["rows"] for each in manifest["objects"])
            if (columns, manifest["row_count"], rows) != (table.columns, len(table.rows), len(table.rows)):
                self.fail(f"the catalog says {columns}, {manifest['row_count']}, {rows} rows of {name}, SQL {table}")
        return found

    async def check(self) -> None:
        """Also read the snapshots that must be kept, and the objects of the tables through the storage."""
        await super().check()
        for kept in [each for each in self._kept if trio.current_time() - each.sent < EXPIRY_MARGIN]:
            if kept.name in self.state:
                table = await self._read(kept.name, kept.snapshot_id)
                self.report.checks["earlier snapshots"] += 1
                if table is None or table.rows != kept.table.rows:
                    self.fail(f"the snapshot {kept.snapshot_id} of {kept.name} is {table}, not {kept.table}")
        for name in self.state:
            manifest = (await self.client.read(make_manifest_request(name))).json()
            for entry in manifest["objects"]:
                reply = await self.client.read(Request("GET", f"/v1/storage/get/{entry['key']}"))
                self.report.reads["objects of tables"] += 1
                if reply.status != 200 or len(reply.body) != entry["size"]:
                    self.fail(f"the object {entry} of {name} is {reply.status}, {len(reply.body)} bytes")

    def describe(self, found: Tables, expected: Tables) -> str:
        """How two states differ."""
        return describe_difference(found, expected)

    def _is_mine(self, name: str) -> bool:
        return name in self._names or name == self._registered

    async def _read(self, name: str, snapshot: str = "") -> Table | None:
        reply = await self.client.read(make_sql(f'SELECT * FROM "{name}"', snapshot))
        self.report.reads["tables"] += 1
        if reply.status != 200:
            self.fail(f"{name} cannot be read: {reply}")
            return None
        document = reply.json()
        table = make_table(tuple(column["name"] for column in document["columns"]), document["rows"])
        if table is None:
            self.fail(f"{name} has an id twice")
        return table


def make_manifest_request(name: str) -> Request:
    """The request for a table's manifest."""
    return Request("GET", f"/v1/catalog/manifest/{name}")


def make_parquet(table: Table) -> bytes:
    """A file with the rows of a table that has the columns `id` and `text`."""
    import pyarrow as pa
    from pyarrow import parquet

    file = io.BytesIO()
    columns = {"id": list(table.rows), "text": [row[0] for row in table.rows.values()]}
    parquet.write_table(pa.table(columns), file)
    return file.getvalue()
