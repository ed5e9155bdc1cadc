"""Data files of tables: uploaded before a commit that names them, and on the local disk while an engine reads them.

An engine opens no connection. What a statement reads is fetched before it starts, each file once, and stays for as long
as there is room (`file_cache`).
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import trio

from lakehouse.core.errors import ErrUnavailable, ErrUnprocessable, ErrUpstream, LakehouseError
from lakehouse.services.contracts.tables import DataFile
from lakehouse.services.lake.concurrency import run_all
from lakehouse.services.lake.directory import CACHE, LakeDirectory
from lakehouse.services.lake.name_locks import NameLocks
from lakehouse.services.warehouse.bucket import Bucket
from lakehouse.services.warehouse.file_cache import FileCache
from lakehouse.services.warehouse.s3_errors import NAME
from lakehouse.services.warehouse.uploads import upload_file
from lakehouse.telemetry.gauges import Gauge
from lakehouse.telemetry.metric_store import Family
from lakehouse.upstream.http1.response import UpstreamResponse

FETCHED_AT_ONCE, UPLOADED_AT_ONCE = 8, 2
WRITTEN_AT_ONCE = 1024 * 1024
"""Bytes of a file that is fetched that one call of a thread writes."""
REMOVAL_TIMEOUT = 5.0

_CACHED = Family("queryd_cached_bytes", "gauge", "Data files of the warehouse that are on the local disk.")
_FETCHING = Family("queryd_fetching", "gauge", "Data files of the warehouse that are being fetched.")


class Wanted(NamedTuple):
    """A file that a reader needs. The size is 0 where the table's metadata does not say it (position deletes)."""

    key: str
    size: int


class WarehouseFiles:
    """The data files of a lake whose tables are in a bucket."""

    def __init__(self, bucket: Bucket, directory: LakeDirectory, cache: FileCache) -> None:
        self._bucket = bucket
        self._directory = directory
        self.cache = cache
        self._fetching = NameLocks()
        self._slots = trio.CapacityLimiter(FETCHED_AT_ONCE)

    def gauges(self) -> Iterable[Gauge]:
        """The gauges of the files on the local disk, for the metrics of queryd."""
        return (
            Gauge(_CACHED, lambda: [((), self.cache.size)]),
            Gauge(_FETCHING, lambda: [((), self._slots.borrowed_tokens)]),
        )

    def locate(self, key: str) -> str:
        """The path of a data file on the local disk, relative to the folder of the lake."""
        return CACHE + key

    def find_key(self, path: str) -> str:
        """The key of such a path."""
        return path.removeprefix(CACHE)

    async def upload(self, files: Sequence[tuple[Path, str]]) -> None:
        """Store files under their keys. If it fails or is cancelled, those that were stored are deleted if possible."""
        stored: list[str] = []

        async def store(file: tuple[Path, str]) -> None:
            path, key = file
            await upload_file(self._bucket, key, path)
            stored.append(key)

        try:
            await run_all(store, files, at_once=UPLOADED_AT_ONCE)
        except BaseException:
            with trio.CancelScope(shield=True, relative_deadline=REMOVAL_TIMEOUT):
                await self._delete(stored)
            raise

    async def _delete(self, keys: Sequence[str]) -> None:
        try:
            for key in keys:
                await self._bucket.delete(key)
        except LakehouseError:
            return  # the sweep deletes what no table uses

    def keep(self, files: Sequence[tuple[Path, str]]) -> None:
        """Take files that were uploaded into the cache, as far as there is room."""
        for path, key in files:
            try:
                self.cache.add(key, path, path.stat().st_size)
            except ErrUnavailable:
                continue
            self.cache.release([key])

    @asynccontextmanager
    async def hold(self, files: Iterable[DataFile]) -> AsyncIterator[None]:
        """Have data files on the local disk for the length of the block.

        Raises ErrUnprocessable for more bytes than the cache may have, ErrUnavailable if files in use leave no room,
        and what the bucket raises.
        """
        wanted = {file.key: file for file in _list_wanted(files)}
        if not wanted:
            yield
            return
        total = sum(file.size for file in wanted.values())
        if total > self.cache.max_bytes:
            raise ErrUnprocessable(
                f"the tables of this statement have {total} bytes, and lake.cache is {self.cache.max_bytes}: raise it,"
                " or use an engine that reads the bucket itself, such as Spark or Trino on the same catalog",
                details={"bytes": total, "cache": self.cache.max_bytes},
            )
        held: list[str] = []
        absent: list[Wanted] = []
        for file in wanted.values():
            if self.cache.use(file.key, file.size):
                held.append(file.key)
            else:
                absent.append(file)
        try:
            await self._fetch_all(absent, held)
            yield
        finally:
            self.cache.release(held)

    async def _fetch_all(self, files: Sequence[Wanted], held: list[str]) -> None:
        """Fetch files; those that are here and in use are added to `held`."""

        async def fetch(file: Wanted) -> None:
            async with self._fetching.hold(file.key):
                if not self.cache.use(file.key, file.size):  # it may have been fetched meanwhile
                    await self._fetch(file)
                held.append(file.key)

        await run_all(fetch, files, at_once=FETCHED_AT_ONCE)

    async def _fetch(self, file: Wanted) -> None:
        """Fetch a file into the cache, and use it."""
        draft = self._directory.staging / f"fetch-{secrets.token_hex(8)}"
        try:
            async with self._slots, self._bucket.open(file.key) as response:
                if response is None:
                    raise ErrUnavailable(
                        f"the data file {file.key} is not there any more: its snapshot has expired meanwhile",
                        retryable=True,
                        retry_after=1.0,
                    )
                size = await _write(response, draft)
            if file.size and size != file.size:
                raise ErrUpstream(f"{NAME} has {size} bytes of {file.key}, not {file.size}", provider=NAME)
            self.cache.add(file.key, draft, size)
        finally:
            draft.unlink(missing_ok=True)


async def _write(response: UpstreamResponse, path: Path) -> int:
    """Write the body of a response to a new file. Returns its bytes."""
    size = 0
    with path.open("wb", buffering=0) as file:
        pieces: list[bytes] = []
        waiting = 0
        while data := await response.receive():
            pieces.append(data)
            waiting += len(data)
            size += len(data)
            if waiting >= WRITTEN_AT_ONCE:
                await trio.to_thread.run_sync(file.write, b"".join(pieces))
                pieces, waiting = [], 0
        file.write(b"".join(pieces))
    return size


def _list_wanted(files: Iterable[DataFile]) -> Iterator[Wanted]:
    """The files that are in the bucket, with their deletes; others are those of the system tables."""
    for file in files:
        if file.path.startswith(CACHE):
            yield Wanted(file.path.removeprefix(CACHE), file.size)
            yield from (Wanted(path.removeprefix(CACHE), 0) for path in file.deletes)
