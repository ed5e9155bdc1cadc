"""Stores: an upload to S3, and searches in PostgreSQL with pgvector."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import trio

from lakehouse.services.warehouse.bucket import make_bucket
from tools.kit.engine_leaving.engines import Engine, Setup
from tools.kit.engine_leaving.left_work import Work, make_request, make_upload
from tools.kit.scaleout import configure_warehouse, find_missing
from tools.kit.scaleout.object_storage import ObjectStorage, open_object_storage
from tools.kit.scaleout.postgres import open_postgres

INDEX = "/v1/vectors/index"
ITEMS, BATCH, DIMENSION = 10_000, 1_000, 256
SEARCHES = 60
WORDS = [f"word{number}" for number in range(5_000)]
PAUSE, GROWTH = 0.5, 65_536
"""Seconds in which the files of a server must not grow by more bytes than notes of what was deleted take."""


def open_s3(folder: Path, stack: ExitStack) -> Setup:
    """Objects in a bucket."""
    storage = stack.enter_context(open_object_storage(folder / "s3"))
    lake = configure_warehouse(folder, storage, stack.enter_context(open_postgres(folder / "postgres")))
    return Setup(
        tables={"lake": {**lake, "path": str(folder / "lake")}},
        works=[Work(name="an upload", requests=[make_upload("/v1/storage/put/left")], endless=True, last=1.0)],
        pids=[storage.pid],
        before=[make_request("/v1/storage/put/first", {}, method="PUT")],
        find_rest=partial(find_uploads, storage, folder / "s3"),
    )


async def find_uploads(storage: ObjectStorage, files: Path) -> str:
    """Whether the files of the server still grow, and uploads that were neither completed nor aborted."""
    before = measure_files(files)
    await trio.sleep(PAUSE)
    grown = measure_files(files) - before
    bucket = make_bucket(storage.make_settings())
    try:
        listed = await bucket.request("GET", None, query={"uploads": ""})
    finally:
        bucket.close()
    uploads = listed.body.count(b"<UploadId>")
    return f"{grown} bytes more, {uploads} uploads" if grown > GROWTH or uploads else ""


def measure_files(folder: Path) -> int:
    """The bytes of data in a folder; the server's notes are none."""
    return sum(path.stat().st_size for path in folder.glob("**/*.dat"))


def open_pgvector(folder: Path, stack: ExitStack) -> Setup:
    """Indexes in PostgreSQL."""
    postgres = stack.enter_context(open_postgres(folder / "postgres"))
    chance = random.Random(1)
    vectors = [{"vector": make_vector(chance), "k": 1000} for _ in range(SEARCHES)]
    words = [{"text": " ".join(chance.choices(WORDS, k=60)), "mode": "keyword", "k": 1000} for _ in range(SEARCHES)]
    searches = {f"{SEARCHES} searches by vector": vectors, f"{SEARCHES} searches by 60 words": words}
    return Setup(
        tables={"lake": {"path": str(folder / "lake")}, "vectord": {"store": postgres.create_database()}},
        works=[
            Work(name=name, requests=[make_request(f"{INDEX}/left/search", query) for query in queries], last=1.0)
            for name, queries in searches.items()
        ],
        pids=[postgres.pid],
        before=[make_request(INDEX, {"name": "left", "dimension": DIMENSION}), *make_batches(chance)],
    )


def make_batches(chance: random.Random) -> Iterator[bytes]:
    """The items, with vectors and texts of 40 words."""
    for start in range(0, ITEMS, BATCH):
        items = [
            {"id": f"{number}", "vector": make_vector(chance), "text": " ".join(chance.choices(WORDS, k=40))}
            for number in range(start, start + BATCH)
        ]
        yield make_request(f"{INDEX}/left/add", {"items": items})


def make_vector(chance: random.Random) -> list[float]:
    """A vector of few digits."""
    return [round(chance.gauss(0, 1), 3) for _ in range(DIMENSION)]


STORES = {
    "s3": Engine(title="S3", find_missing=find_missing, open=open_s3),
    "pgvector": Engine(title="PostgreSQL with pgvector", find_missing=find_missing, open=open_pgvector),
}
