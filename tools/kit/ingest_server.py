"""A lake of its own with its services behind a listener on a real socket, in the process of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from lakehouse.asgi.router import Router
from lakehouse.config import Config, IngestdTable, LakeTable
from lakehouse.services.engines.writer import EngineWriter
from lakehouse.services.host.app import service_mounts
from lakehouse.services.host.composition import make_apps, open_parts
from lakehouse.services.lake.directory import LakeDirectory, open_lake_directory
from lakehouse.services.tables.client import LakeTables
from tools.kit.raw_http import RunningServer, serve_app


@dataclass
class IngestServer:
    """A running lake, and an HTTP client for it."""

    directory: LakeDirectory
    tables: LakeTables
    engine: EngineWriter
    server: RunningServer
    http: httpx.AsyncClient

    async def send(
        self,
        name: str,
        body: bytes,
        *,
        file: str | None = None,
        content_type: str = "application/octet-stream",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        **parameters: str,
    ) -> httpx.Response:
        """Upload a file: as a form if it has a name, else as the raw body."""
        path = f"/ingest?{httpx.QueryParams({'name': name, **(query or {}), **parameters})}"
        if file is None:
            fields = {"Content-Type": content_type, **(headers or {})}
            return await self.http.post(path, content=body, headers=fields)
        return await self.http.post(path, files={"file": (file, body, content_type)}, headers=headers)

    async def ask(self, sql: str) -> list[list[Any]]:
        """The rows of a SELECT."""
        answer = await self.http.post("/sql", json={"sql": sql})
        document = answer.json()
        assert answer.status_code == 200, document
        rows: list[list[Any]] = document["rows"]
        return rows

    def staged(self) -> list[Path]:
        """What is in the staging folder."""
        return list(self.directory.staging.iterdir())


@asynccontextmanager
async def open_ingest_server(folder: Path, table: IngestdTable | None = None) -> AsyncIterator[IngestServer]:
    """Serve the lake in `folder`, for the length of the block."""
    config = Config(lake=LakeTable(memory=str(2 * 2**30), engines=1), ingestd=table or IngestdTable())
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(open_lake_directory(folder))
        lake = await stack.enter_async_context(open_parts(directory, config))
        app = Router([*service_mounts(make_apps(lake))])
        server = await stack.enter_async_context(serve_app(app, lifetime=True))
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=60)
        yield IngestServer(directory, lake.tables, lake.write_engine, server, await stack.enter_async_context(client))
