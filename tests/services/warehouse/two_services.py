"""Services on one warehouse, called in this process or over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from lakehouse.asgi.in_process import call_app
from lakehouse.config import parse_config
from lakehouse.services.host.composition import OpenServices, open_apps
from lakehouse.services.lake.directory import open_directory

Table = dict[str, object]


class LakeCalls:
    """What tests ask of a service, however it is reached."""

    async def call(self, service: str, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
        """The document of an answer, None for an empty one."""
        raise NotImplementedError

    async def download(self, service: str, path: str) -> tuple[str, bytes]:
        """The content type and the bytes of an answer."""
        raise NotImplementedError

    async def ingest(self, name: str, rows: str, query: str = "", **headers: str) -> Any:
        body = f"id,word\n{rows}\n".encode()
        return await self.call("ingestd", "POST", f"/ingest?name={name}{query}", body, **headers)

    async def post(self, service: str, path: str, document: object) -> Any:
        """The document that answers a request with a JSON body."""
        return await self.call(service, "POST", path, msgspec.json.encode(document), content_type="application/json")

    async def sql(self, statement: str, **members: object) -> list[list[Any]]:
        rows: list[list[Any]] = (await self.ask(statement, **members))["rows"]
        return rows

    async def ask(self, statement: str, **members: object) -> Any:
        """The document of an answer to SQL; `members` are further ones of the request."""
        return await self.post("queryd", "/sql", {"sql": statement, **members})


class Service(LakeCalls):
    """One of the services, called in this process. Calls raise the errors of the service."""

    def __init__(self, services: OpenServices, folder: Path) -> None:
        self.apps = services.apps
        self.folder = folder

    async def call(self, service: str, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
        sent = [(name.replace("_", "-"), value) for name, value in headers.items()]
        path, _, query = path.partition("?")
        async with call_app(self.apps[service], method, path, query=query, headers=sent, body=body) as answer:
            data = await answer.read()
            return msgspec.json.decode(data) if data else None

    async def download(self, service: str, path: str) -> tuple[str, bytes]:
        async with call_app(self.apps[service], "GET", path) as answer:
            headers = {name.decode().lower(): value.decode() for name, value in answer.headers}
            return headers["content-type"], await answer.read()

    def cached(self) -> int:
        """Bytes of data files on the local disk."""
        return sum(path.stat().st_size for path in (self.folder / "cache").rglob("*") if path.is_file())


class ServedLake(LakeCalls):
    """A service in a process of its own, called over HTTP. A call that is refused raises httpx.HTTPStatusError."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def call(self, service: str, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self._client.request(method, f"/v1{path}", content=body, headers=sent)
        return answer.raise_for_status().json() if answer.content else None

    async def download(self, service: str, path: str) -> tuple[str, bytes]:
        answer = (await self._client.get(f"/v1{path}")).raise_for_status()
        return answer.headers["content-type"], answer.content


@asynccontextmanager
async def open_service(folder: Path, table: Table, **tables: Table) -> AsyncIterator[Service]:
    """A service with a folder of its own; `table` is `[lake]`, and `tables` are others of the configuration."""
    config = parse_config({"lake": table, "chatd": {"ollama_url": ""}, **tables}).config
    async with open_directory(folder) as directory, open_apps(directory, config) as services:
        yield Service(services, folder)
