"""pathwayd and storaged over HTTP, on one folder, with the retrieval engine that they have in the service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.config import StoragedTable
from lakehouse.services.contracts.retrieval import RetrievalEngine
from lakehouse.services.embedding.names import WORDLLAMA
from lakehouse.services.host.composition import EMBEDDED_MODEL
from lakehouse.services.lake.directory import open_lake_directory
from lakehouse.services.pathwayd.app import make_pathwayd_app
from lakehouse.services.pathwayd.service import Traces, open_traces
from lakehouse.services.retrieval.client import open_retrieval
from lakehouse.services.storaged.app import make_storaged_app
from lakehouse.services.storaged.store import open_object_store
from tools.kit.raw_http import serve_app


@dataclass
class Pathwayd:
    """A running pathwayd, and what is behind it."""

    http: httpx.AsyncClient
    traces: Traces
    engine: RetrievalEngine

    async def post(self, name: str, document: object, status: int = 200) -> Any:
        """The document that answers a request to `/pathway/{name}`."""
        answer = await self.http.post(f"/pathway/{name}", json=document)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def get(self, path: str, status: int = 200) -> Any:
        """The document that answers a GET of `/pathway/{path}`."""
        answer = await self.http.get(f"/pathway/{path}")
        assert answer.status_code == status, answer.text
        return answer.json()

    async def add(self, content: object = "", **fields: object) -> str:
        """Add a trace; returns its id."""
        return str((await self.post("add", {"content": content, **fields}))["uid"])


@asynccontextmanager
async def open_pathwayd(folder: Path) -> AsyncIterator[Pathwayd]:
    """Serve the lake in `folder`, for the length of the block."""
    with open_lake_directory(folder) as directory:
        async with (
            open_object_store(directory) as objects,
            open_retrieval(directory, model=EMBEDDED_MODEL, model_name=WORDLLAMA) as engine,
            open_traces(directory, engine, model=WORDLLAMA, exists={"object": _exists_in(objects)}) as traces,
        ):
            storaged = make_storaged_app(objects, StoragedTable(), traces)
            pathwayd = make_pathwayd_app(traces.store, traces.meanings)
            async with (
                serve_app(_choose(storaged, pathwayd), lifetime=True) as server,
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as http,
            ):
                yield Pathwayd(http, traces, engine)


def _exists_in(objects: Any) -> Any:
    async def exists(key: str) -> bool:
        return await objects.find(key) is not None

    return exists


def _choose(storaged: App, pathwayd: App) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (storaged if scope["path"].startswith("/storage") else pathwayd)(scope, receive, send)

    return app
