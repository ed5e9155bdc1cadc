"""queryd over HTTP with the embedded engine and one on a server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import trio

from lakehouse.config import LakeTable
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.services.contracts.tables import Tables
from lakehouse.services.engines.query import open_query_engine
from lakehouse.services.engines.remote.client import Client
from lakehouse.services.engines.remote.configured import RemoteEngines, open_remote_engine
from lakehouse.services.engines.remote.secrets import SecretSource
from lakehouse.services.host.app import make_host_app
from lakehouse.services.queryd.app import QuerydApp
from tests.services.queryd.sql_kit import FileTables, make_folder
from tools.kit.gateway_services import serve_ours
from tools.kit.http_stream import HttpStream

ARROW, CSV, JSON, NDJSON = "application/vnd.apache.arrow.stream", "text/csv", "application/json", "application/x-ndjson"
PARQUET = "application/vnd.apache.parquet"


class RemoteSql:
    """queryd over HTTP; `remote` is the engine of statements that name none."""

    def __init__(self, client: httpx.AsyncClient, engines: RemoteEngines, address: tuple[str, int]) -> None:
        self.client = client
        self.engines = engines
        self.pool = engines.engines["remote"].pool
        self._address = address

    async def post(self, sql: str, accept: str = JSON, engine: str = "remote", **more: object) -> httpx.Response:
        """The response to a statement."""
        document = {"sql": sql, "engine": engine, **more}
        return await self.client.post("/sql", json=document, headers={"accept": accept})

    async def rows(self, sql: str, **more: Any) -> list[list[Any]]:
        """The rows of a statement that succeeds."""
        response = await self.post(sql, **more)
        assert response.status_code == 200, response.text
        return cast("list[list[Any]]", response.json()["rows"])

    async def error(self, sql: str, **more: Any) -> tuple[int, str]:
        """Status and message of a statement that fails."""
        response = await self.post(sql, **more)
        return response.status_code, response.json()["error"]["message"]

    @asynccontextmanager
    async def begin(self, sql: str, accept: str = NDJSON) -> AsyncIterator[HttpStream]:
        """A connection on which a statement was sent."""
        body = json.dumps({"sql": sql, "engine": "remote"}).encode()
        head = f"POST /sql HTTP/1.1\r\nhost: lake\r\naccept: {accept}\r\ncontent-length: {len(body)}\r\n\r\n"
        async with HttpStream(await trio.open_tcp_stream(*self._address)) as stream:
            await stream.send(head.encode() + body)
            yield stream


@asynccontextmanager
async def open_remote_sql(
    path: Path, client: Client, *, engine: str, secrets: Mapping[str, str], timeout: float = 30.0
) -> AsyncIterator[RemoteSql]:
    """Serve queryd. `secrets` are the variables of the engine's password and token."""
    lake = LakeTable(engines=1, memory=str(900 * 2**20), query_timeout=timeout)
    directory = make_folder(path)
    source = SecretSource(engine, "", secrets)
    async with (
        trio.open_nursery() as nursery,
        open_query_engine(directory, cast("Tables", FileTables(path)), lake) as duckdb,
        open_remote_engine(directory, client, source, timeout=timeout) as remote,
    ):
        remote.pool.warm()
        with trio.fail_after(60):
            while not remote.pool.idle:
                await trio.sleep(0.02)
        app = QuerydApp({"duckdb": duckdb, "remote": remote}, lake, default="duckdb")
        host = make_host_app({"queryd": app}, name="queryd", active_requests=ActiveRequests())
        async with serve_ours(host, nursery) as (address, port):
            async with httpx.AsyncClient(base_url=f"http://{address}:{port}", timeout=30) as http:
                yield RemoteSql(http, RemoteEngines({"remote": remote}), (address, port))
        nursery.cancel_scope.cancel()
