"""What was acknowledged survives `kill -9`, and nothing else remains; the order in which the disk is synced."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from lakehouse.services.lake.directory import open_lake_directory
from lakehouse.services.lake.durability import sync_directory
from lakehouse.services.storaged.files import blob_files
from lakehouse.services.storaged.files.blob_files import BlobWriter
from lakehouse.services.storaged.index.object_index import Change, ObjectIndex, Outcome
from lakehouse.services.storaged.object_writes import ObjectWrites
from lakehouse.services.storaged.store import open_object_store
from tools.kit.matrices import spread
from tools.kit.storaged_server import open_storaged

WRITER = """
import hashlib, sys, trio
from pathlib import Path
from lakehouse.services.lake.directory import open_lake_directory
from lakehouse.services.storaged.store import open_object_store

async def body(seed, size):
    piece = hashlib.sha256(seed.encode()).digest() * 2048
    while size:
        part = piece[:size]
        size -= len(part)
        yield part
        await trio.lowlevel.checkpoint()

async def write(store, task):
    for number in range(1000):
        key, size = f"{task}/{number % 7}", (number * 7919 + task * 104729) % 300_000
        if number % 5 == 4:
            await store.delete(key)
            print("deleted", key, flush=True)
        else:
            seed = f"{task}.{number}"
            print("began", key, seed, size, flush=True)
            await store.write(key, body(seed, size))
            print("stored", key, seed, size, flush=True)

async def main():
    with open_lake_directory(Path(sys.argv[1])) as directory:
        async with open_object_store(directory) as store, trio.open_nursery() as nursery:
            for task in range(3):
                nursery.start_soon(write, store, task)

trio.run(main)
"""


def content(seed: str, size: int) -> bytes:
    piece = hashlib.sha256(seed.encode()).digest() * 2048
    return (piece * (size // len(piece) + 1))[:size]


async def run_and_kill(folder: Path, seconds: float) -> list[list[str]]:
    """Write until the process is killed. Returns the lines that it wrote."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert process.stdout is not None
    lines = bytearray()
    killed = False
    async with process.stdout:
        async for data in process.stdout:
            if not lines:
                nursery_deadline = trio.current_time() + seconds
            lines += data
            if not killed and trio.current_time() >= nursery_deadline:
                process.send_signal(signal.SIGKILL)
                killed = True
    assert await process.wait() == -signal.SIGKILL
    return [line.split() for line in lines.decode().splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.parametrize("round_", spread(range(3), 3))
async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, round_: int) -> None:
    folder = tmp_path / "lake"
    with trio.fail_after(60):
        lines = await run_and_kill(folder, random.Random(round_).uniform(0.1, 0.5))
    acknowledged: dict[str, tuple[str, int] | None] = {}
    begun: dict[str, tuple[str, int]] = {}
    for verb, key, *rest in lines:
        if verb == "deleted":
            acknowledged[key] = None
            begun.pop(key, None)
        elif verb == "began":
            begun[key] = rest[0], int(rest[1])
        else:
            acknowledged[key] = rest[0], int(rest[1])
            begun.pop(key, None)
    assert sum(value is not None for value in acknowledged.values()) > 0
    async with open_storaged(folder) as storaged:
        for key, value in acknowledged.items():
            possible = [] if value is None else [content(*value)]
            if key in begun:
                possible.append(content(*begun[key]))
            answer = await storaged.http.get(f"/storage/get/{key}")
            if answer.status_code == 404:
                # Deleted, or its deletion was under way.
                assert value is None or last_operation_may_delete(lines, key)
            else:
                assert answer.content in possible, key
        listed = (await storaged.store.list()).objects
        assert {info.key for info in listed} <= {*acknowledged, *begun}
        assert len(storaged.blobs()) == sum(info.size > 65536 for info in listed)


def last_operation_may_delete(lines: list[list[str]], key: str) -> bool:
    """Whether the operation after the last one that was acknowledged is a deletion of this key."""
    task = key.partition("/")[0]
    ended = [line for line in lines if line[0] != "began" and line[1].startswith(f"{task}/")]
    number = len(ended)
    return number % 5 == 4 and key == f"{task}/{number % 7}"


async def test_leftovers_are_swept_at_the_next_start_after_a_crash(tmp_path: Path) -> None:
    folder = tmp_path / "lake"

    async def body() -> AsyncIterator[bytes]:
        yield bytes(100_000)

    async with open_storaged(folder) as storaged:
        await storaged.store.write("kept", body())
        kept = storaged.blobs()
        leftover = kept[0].with_name("0" * 32)
        leftover.write_bytes(b"incomplete")
        other = kept[0].with_name("not ours")
        other.write_bytes(b"")
    async with open_storaged(folder) as storaged:
        assert sorted(storaged.blobs()) == sorted([*kept, leftover, other])  # closed in order: no sweep
        shutil.copytree(folder, tmp_path / "crashed")
    (tmp_path / "crashed" / "lake.lock").unlink()
    async with open_storaged(tmp_path / "crashed") as storaged:
        assert sorted(path.name for path in storaged.blobs()) == sorted([kept[0].name, other.name])
        assert (await storaged.http.get("/storage/get/kept")).content == bytes(100_000)


async def test_a_file_and_its_name_are_durable_before_the_index_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of the calls that make a large object durable, and the mode of the index."""
    order: list[str] = []
    real_sync, real_directory, real_apply = os.fdatasync, sync_directory, ObjectIndex.apply

    def sync(descriptor: int) -> None:
        order.append("bytes")
        real_sync(descriptor)

    def directory(path: Path) -> None:
        order.append("names")
        real_directory(path)

    def apply(self: ObjectIndex, changes: list[Change]) -> list[Outcome]:
        order.append("index")
        return real_apply(self, changes)

    async def body() -> AsyncIterator[bytes]:
        yield bytes(100_000)

    monkeypatch.setattr(ObjectIndex, "apply", apply)
    async with open_storaged(tmp_path / "lake") as storaged:
        monkeypatch.setattr(os, "fdatasync", sync)
        monkeypatch.setattr(blob_files, "sync_directory", directory)
        await storaged.store.write("k", body())
        assert isinstance(storaged.store.writes, ObjectWrites)
        db = storaged.store.writes._index._db
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert order in (["names", "bytes", "names", "index"], ["bytes", "names", "index"])  # first: a new folder


async def test_a_folder_that_moved_has_its_objects(tmp_path: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield bytes(100_000)

    async with open_storaged(tmp_path / "lake") as storaged:
        await storaged.store.write("large", body())
        await storaged.http.put("/storage/put/small", content=b"1")
    (tmp_path / "lake").rename(tmp_path / "moved")
    async with open_storaged(tmp_path / "moved") as storaged:
        assert (await storaged.http.get("/storage/get/large")).content == bytes(100_000)
        assert (await storaged.http.get("/storage/get/small")).content == b"1"


async def test_an_index_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    async with open_storaged(tmp_path / "lake") as storaged:
        assert isinstance(storaged.store.writes, ObjectWrites)
        storaged.store.writes._index._db.execute("PRAGMA user_version = 99")
    with open_lake_directory(tmp_path / "lake") as directory, pytest.raises(Exception, match="version 99"):
        async with open_object_store(directory):
            pass


def test_a_large_file_is_on_its_way_to_the_disk_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    real = blob_files.start_writeback

    def start(descriptor: int, start: int, size: int) -> None:
        asked.append((start, size))
        real(descriptor, start, size)

    monkeypatch.setattr(blob_files, "start_writeback", start)
    writer = blob_files.BlobFiles(tmp_path).create()
    piece = bytes(3 * 1024 * 1024)
    for _ in range(7):
        writer.write([piece])
    writer.finish()
    assert asked == [(0, 3 * len(piece)), (3 * len(piece), 3 * len(piece))]
    assert blob_files.BlobFiles(tmp_path).path(writer.name).stat().st_size == 7 * len(piece)


def test_a_file_is_written_whole_when_the_kernel_takes_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "writev", lambda descriptor, pieces: os.write(descriptor, b"".join(pieces)[:5]))
    writer: BlobWriter = blob_files.BlobFiles(tmp_path).create()
    writer.write([b"abc", b"defgh", b"ij"])
    writer.finish()
    assert blob_files.BlobFiles(tmp_path).path(writer.name).read_bytes() == b"abcdefghij"
