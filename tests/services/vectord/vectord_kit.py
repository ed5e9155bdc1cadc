"""vectord over HTTP, with the tables and the query engine that it has in the service, and an engine in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import trio

from lakehouse.config import LakeTable
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.services.contracts.tables import Tables
from lakehouse.services.engines.query import open_query_engine
from lakehouse.services.host.app import make_host_app
from lakehouse.services.vectord.app import make_vectord_app
from tests.services.memory_engine import EMBEDDED, MemoryEmbedder, MemoryEngine
from tests.services.queryd.sql_kit import FileTables, make_folder
from tools.kit.gateway_services import serve_ours


@dataclass
class Vectord:
    """A running vectord, and what is behind it."""

    client: httpx.AsyncClient
    engine: MemoryEngine
    embedder: MemoryEmbedder
    tables: FileTables
    active: ActiveRequests

    async def post(self, path: str, document: object, status: int = 200) -> Any:
        """The document of an answer."""
        answer = await self.client.post(f"/vectors/index{path}", json=document)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def error(self, path: str, document: object, method: str = "POST") -> tuple[int, str | None, dict[str, Any]]:
        """Status, message and details of an error."""
        answer = await self.client.request(method, f"/vectors/index{path}", json=document)
        error = answer.json()["error"]
        return answer.status_code, error["message"], error.get("details") or {}


@asynccontextmanager
async def open_vectord(path: Path) -> AsyncIterator[Vectord]:
    """vectord on a free port."""
    directory, tables = make_folder(path), FileTables(path)
    lake = LakeTable(engines=1, memory=str(900 * 2**20))
    engine, embedder, active = MemoryEngine(), MemoryEmbedder(), ActiveRequests()
    async with (
        trio.open_nursery() as nursery,
        open_query_engine(directory, cast("Tables", tables), lake) as queries,
    ):
        app = make_vectord_app(engine, embedder, queries, cast("Tables", tables), directory, embedded_model=EMBEDDED)
        host = make_host_app({"vectord": app}, name="vectord", active_requests=active)
        async with serve_ours(host, nursery) as (address, port):
            async with httpx.AsyncClient(base_url=f"http://{address}:{port}", timeout=30) as client:
                yield Vectord(client, engine, embedder, tables, active)
        nursery.cancel_scope.cancel()
