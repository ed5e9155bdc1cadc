"""Services on one warehouse, called in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from lakehouse.asgi.in_process import call_app
from lakehouse.config import parse_config
from lakehouse.services.host.composition import OpenServices, open_apps
from lakehouse.services.lake.directory import open_directory

Table = dict[str, object]


class Service:
    """One of the services, called in this process."""

    def __init__(self, services: OpenServices, folder: Path) -> None:
        self.apps = services.apps
        self.folder = folder

    async def call(self, service: str, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
        """The document of an answer. Raises the error of the service."""
        sent = [(name.replace("_", "-"), value) for name, value in headers.items()]
        path, _, query = path.partition("?")
        async with call_app(self.apps[service], method, path, query=query, headers=sent, body=body) as answer:
            data = await answer.read()
            return msgspec.json.decode(data) if data else None

    async def ingest(self, name: str, rows: str, query: str = "", **headers: str) -> Any:
        body = f"id,word\n{rows}\n".encode()
        return await self.call("ingestd", "POST", f"/ingest?name={name}{query}", body, **headers)

    async def post(self, service: str, path: str, document: object) -> Any:
        """The document that answers a request with a JSON body. Raises the error of the service."""
        return await self.call(service, "POST", path, msgspec.json.encode(document), content_type="application/json")

    async def sql(self, statement: str, **members: object) -> list[list[Any]]:
        rows: list[list[Any]] = (await self.ask(statement, **members))["rows"]
        return rows

    async def ask(self, statement: str, **members: object) -> Any:
        """The document of an answer to SQL; `members` are further ones of the request."""
        return await self.post("queryd", "/sql", {"sql": statement, **members})

    def cached(self) -> int:
        """Bytes of data files on the local disk."""
        return sum(path.stat().st_size for path in (self.folder / "cache").rglob("*") if path.is_file())


@asynccontextmanager
async def open_service(folder: Path, table: Table, **tables: Table) -> AsyncIterator[Service]:
    """A service with a folder of its own; `table` is `[lake]`, and `tables` are others of the configuration."""
    config = parse_config({"lake": table, "chatd": {"ollama_url": ""}, **tables}).config
    async with open_directory(folder) as directory, open_apps(directory, config) as services:
        yield Service(services, folder)
