"""A lake with a history, and all that its services say about it, to be compared after a promotion."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lakehouse.config import parse_config
from lakehouse.services.postgres.address import PostgresAddress
from lakehouse.services.promotion.progress import Progress
from lakehouse.services.promotion.promoter import Outcome, open_promotion
from lakehouse.services.promotion.target import Target
from lakehouse.services.warehouse.configured import make_settings
from tests.services.warehouse.two_services import LakeCalls, Table

History = tuple[Path, dict[str, Any]]
"""The folder of a lake, and what its services say."""
CopyLake = Callable[[], Path]
"""Makes a copy of the folder."""

OBJECTS = {
    "a/b.txt": ("text/plain; charset=utf-8", b"hello"),
    "page.html": ("text/html", b"<p>"),
    "größe/ %41+&=?#'.bin": ("application/octet-stream", bytes(range(256)) * 400),
    "empty": ("application/json", b""),
    "large": ("video/mp4", bytes(range(251)) * 80_000),  # several parts
    "datasets-of-mine/x": ("image/svg+xml", b"<svg/>"),
    "~.-_/deep/er/est": ("x/y", b"z" * 70_000),
}


REPEATED = {"rows": "4,w\n5,v", "query": "&mode=append", "idempotency_key": "k1"}
"""An upload to `sales`."""


async def tell_history(service: LakeCalls) -> None:
    """Make tables in every way in which they get a history, and objects."""

    async def post(name: str, verb: str, document: object) -> Any:
        path = f"/catalog/tables/{name.replace('/', '%2F')}/{verb}"
        return await service.call("catalogd", "POST", path, json.dumps(document).encode())

    first = await service.ingest("sales", "1,x\n2,y\n3,z")
    await service.ingest("sales", **REPEATED)
    await service.ingest("sales", "2,changed\n6,u", "&mode=upsert&key=id")
    await post("sales", "delete", {"where": "id = 1"})
    await post("sales", "tags", {"tag": "first", "snapshot_id": first["snapshot_id"]})
    await post("sales", "columns", {"add": [{"name": "n", "type": "INTEGER"}]})
    await post("sales", "columns", {"rename": {"word": "text"}})
    await post("sales", "columns", {"widen": {"n": "BIGINT"}})
    await service.call("ingestd", "POST", "/ingest?name=sales&mode=append", b"id,text,n\n7,t,8\n8,,9\n")
    await service.ingest("a/b", "1,x")
    await service.ingest("a/b", "2,y", "&mode=append")
    await post("a/b", "rename", {"to": "Odd-1_x.y/z"})
    await service.ingest("Odd-1_x.y/z", "3,z", "&mode=append")
    second = await service.ingest("restored", "1,a")
    await service.ingest("restored", "9,b")
    await post("restored", "restore", {"snapshot_id": second["snapshot_id"]})
    await service.ingest("gone", "1,a\n2,b")
    await service.call("catalogd", "DELETE", "/catalog/tables/gone")
    await service.ingest("gone", "3,c")
    await service.ingest("lost", "4,d")
    await service.call("catalogd", "DELETE", "/catalog/tables/lost")
    for key, (content_type, data) in OBJECTS.items():
        await service.call("storaged", "PUT", f"/storage/put/{quote(key)}", data, content_type=content_type)
    await service.call("storaged", "PUT", "/storage/put/deleted", b"x")
    await service.call("storaged", "DELETE", "/storage/delete/deleted")


async def read_all(service: LakeCalls) -> dict[str, Any]:
    """Every table at every snapshot, the dropped tables, every object with its content type."""
    tables: dict[str, Any] = {}
    for manifest in (await service.call("catalogd", "GET", "/catalog/list"))["manifests"]:
        name = manifest["name"]
        path = f"/catalog/tables/{name.replace('/', '%2F')}/snapshots"
        snapshots = (await service.call("catalogd", "GET", path))["snapshots"]
        rows = {}
        for snapshot in snapshots:
            number = snapshot["snapshot_id"]
            rows[number] = await service.sql(f'FROM "{name}" AT (VERSION => {number}) ORDER BY ALL')
        tables[name] = {
            "manifest": manifest,
            "snapshots": snapshots,
            "rows": rows,
            "now": await service.sql(f'FROM "{name}" ORDER BY ALL'),
        }
    dropped = await service.call("catalogd", "GET", "/catalog/dropped")
    return {"tables": tables, "dropped": dropped, "objects": await read_objects(service)}


async def read_objects(service: LakeCalls) -> dict[str, tuple[str, int, str]]:
    """The objects of the storage, by key: content types, sizes and hashes."""
    listed = await service.call("storaged", "GET", "/storage/list?limit=10000")
    found: dict[str, tuple[str, int, str]] = {}
    for entry in listed["objects"]:
        key = entry["key"]
        if key.startswith("datasets/"):
            continue
        content_type, data = await service.download("storaged", f"/storage/get/{quote(key)}")
        found[key] = (content_type, len(data), hashlib.sha256(data).hexdigest())
    return found


def make_target(table: Table, records: PostgresAddress | None = None) -> Target:
    """The target of a table `[lake]`, with a database for traces and operations."""
    lake = parse_config({"lake": table}).config.lake
    settings = make_settings(lake, {})
    assert settings is not None
    return Target(warehouse=lake.warehouse, catalog=settings.catalog, settings=settings, records=records)


async def promote(folder: Path, table: Table, *, dry_run: bool = False) -> Outcome:
    """Promote a folder, as the command does."""
    async with open_promotion(folder, make_target(table), Progress()) as promotion:
        return await (promotion.plan() if dry_run else promotion.run())
