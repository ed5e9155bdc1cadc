"""storaged over a folder of its own, behind a listener on a real socket."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from lakehouse.config import StoragedTable
from lakehouse.services.lake.directory import LakeDirectory, open_lake_directory
from lakehouse.services.storaged.app import StoragedApp, make_storaged_app
from lakehouse.services.storaged.store import LakeObjectStore, open_object_store
from lakehouse.services.warehouse.bucket import Bucket
from tools.kit.raw_http import RunningServer, serve_app


@dataclass
class Storaged:
    """A running storaged, and an HTTP client for it."""

    directory: LakeDirectory
    store: LakeObjectStore
    app: StoragedApp
    server: RunningServer
    http: httpx.AsyncClient
    bucket: Bucket | None = None

    def make_etag(self, data: bytes) -> str:
        """The etag of an object with these bytes."""
        digest = hashlib.sha256(data) if self.bucket is None else hashlib.md5(data)
        return f'"{digest.hexdigest()}"'

    async def wait_for_upload(self) -> None:
        """Wait until an upload has begun, as far as that can be seen."""
        while not self.blobs() if self.bucket is None else not self.app.uploads:
            await self.http.get("/storage/list")

    async def add_table_file(self, key: str, data: bytes) -> None:
        """Store a file as a commit of a table does."""
        if self.bucket is not None:
            await self.bucket.put(key, data)
            return
        file = self.directory.path / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def blobs(self) -> list[Path]:
        """The files of larger objects."""
        return [path for path in self.directory.objects.rglob("*") if path.is_file()]


@asynccontextmanager
async def open_storaged(
    folder: Path, table: StoragedTable | None = None, bucket: Bucket | None = None
) -> AsyncIterator[Storaged]:
    """Serve the lake in `folder`, for the length of the block. With a bucket, its objects are there."""
    table = table or StoragedTable()
    with open_lake_directory(folder) as directory:
        async with open_object_store(directory, bucket) as store:
            app = make_storaged_app(store, table)
            async with (
                serve_app(app, lifetime=True) as server,
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as http,
            ):
                yield Storaged(directory, store, app, server, http, bucket)
