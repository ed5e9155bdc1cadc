"""The idempotency keys of the last day's uploads: a repeated upload is answered in the warehouse as it was here."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import trio

from lakehouse.services.ingestd.idempotency import LIFETIME
from lakehouse.services.ingestd.shared_records import SharedRecords
from lakehouse.services.lake.concurrency import run_all
from lakehouse.services.warehouse.bucket import Bucket

AT_ONCE = 16

Row = tuple[str, str, float, int | None, bytes]


async def copy_upload_keys(path: Path, bucket: Bucket) -> int:
    """Copy the records of the database at `path`; one that the warehouse has stays. Returns how many there are."""
    rows = await trio.to_thread.run_sync(_read_rows, path, time.time() - LIFETIME)

    async def copy(row: Row) -> None:
        key, request, begun, status, document = row
        records = SharedRecords(bucket, clock=lambda: begun)
        if await records.find(key) is not None:
            return
        await records.begin(key, request, document)
        if status is not None:
            await records.finish(key, request, status, document)

    await run_all(copy, rows, at_once=AT_ONCE)
    return len(rows)


def _read_rows(path: Path, since: float) -> list[Row]:
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        try:
            query = "SELECT key, request, begun, status, document FROM ingest_keys WHERE begun >= ?"
            return database.execute(query, (since,)).fetchall()
        except sqlite3.OperationalError:  # a lake that has never had such a key
            return []
