"""A lake of its own with ingestd and queryd behind a listener on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from lakehouse.asgi.router import Mount, Router
from lakehouse.config import IngestdTable, LakeTable, QuerydTable
from lakehouse.services.engines.query import open_query_engine
from lakehouse.services.engines.writer import EngineWriter, open_write_engine
from lakehouse.services.ingestd.app import make_ingestd_app
from lakehouse.services.lake.directory import LakeDirectory, open_lake_directory
from lakehouse.services.queryd.app import make_queryd_app
from lakehouse.services.tables.client import LakeTables, open_tables
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
    lake = LakeTable(memory=str(2 * 2**30), engines=1)
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(open_lake_directory(folder))
        tables = await stack.enter_async_context(open_tables(directory, lake))
        engine = await stack.enter_async_context(open_write_engine(directory, lake))
        queries = await stack.enter_async_context(open_query_engine(directory, tables, lake))
        app = Router(
            [
                Mount(b"/ingest", make_ingestd_app(tables, engine, directory, table or IngestdTable()), exact=True),
                Mount(b"/v1/ingest", make_ingestd_app(tables, engine, directory, table or IngestdTable()), exact=True),
                Mount(b"/sql", make_queryd_app(queries, lake, QuerydTable()), exact=True),
            ]
        )
        server = await stack.enter_async_context(serve_app(app, lifetime=True))
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=60)
        yield IngestServer(directory, tables, engine, server, await stack.enter_async_context(client))
