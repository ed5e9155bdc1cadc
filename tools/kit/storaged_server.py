"""storaged over a folder of its own, behind a listener on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from lakehouse.config import StoragedTable
from lakehouse.services.lake.directory import LakeDirectory, open_lake_directory
from lakehouse.services.storaged.app import StoragedApp, make_storaged_app
from lakehouse.services.storaged.store import LakeObjectStore, open_object_store
from tools.kit.raw_http import RunningServer, serve_app


@dataclass
class Storaged:
    """A running storaged, and an HTTP client for it."""

    directory: LakeDirectory
    store: LakeObjectStore
    app: StoragedApp
    server: RunningServer
    http: httpx.AsyncClient

    def blobs(self) -> list[Path]:
        """The files of larger objects."""
        return [path for path in self.directory.objects.rglob("*") if path.is_file()]


@asynccontextmanager
async def open_storaged(folder: Path, table: StoragedTable | None = None) -> AsyncIterator[Storaged]:
    """Serve the lake in `folder`, for the length of the block."""
    table = table or StoragedTable()
    with open_lake_directory(folder) as directory:
        async with open_object_store(directory) as store:
            app = make_storaged_app(store, table)
            async with (
                serve_app(app, lifetime=True) as server,
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as http,
            ):
                yield Storaged(directory, store, app, server, http)
