"""pathwayd and storaged over HTTP, on one folder, with the retrieval engine that they have in the service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import httpx

from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.config import StoragedTable
from lakehouse.config.urls import separate_credentials
from lakehouse.services.contracts.retrieval import RetrievalEngine
from lakehouse.services.embedding.names import WORDLLAMA
from lakehouse.services.host.composition import EMBEDDED_MODEL
from lakehouse.services.lake.directory import LakeDirectory, open_lake_directory
from lakehouse.services.pathwayd.app import make_pathwayd_app
from lakehouse.services.pathwayd.postgres_records import open_postgres_records
from lakehouse.services.pathwayd.records import TraceRecords, open_local_records
from lakehouse.services.pathwayd.service import Traces, open_traces
from lakehouse.services.postgres.database import open_postgres
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


class Opener(Protocol):
    """Serves the lake of a name for the length of a block."""

    def __call__(self, name: str = "lake") -> AbstractAsyncContextManager[Pathwayd]: ...


Records = Callable[[LakeDirectory], AbstractAsyncContextManager[TraceRecords]]
"""Opens the records of the traces of a lake."""


def open_records(store: str, name: str) -> Records:
    """Opens the records of the lake of a name in the database of a URL, or with an empty one in the folder."""
    return partial(_open_shared_records, store, name) if store else open_local_records


@asynccontextmanager
async def _open_shared_records(store: str, name: str, _directory: LakeDirectory) -> AsyncIterator[TraceRecords]:
    url = separate_credentials(store)
    async with (
        open_postgres(url, schema=f"lakehouse_{name}", load_password=str) as database,
        open_postgres_records(database) as records,
    ):
        yield records


@asynccontextmanager
async def serve_lake(folder: Path, open_them: Records) -> AsyncIterator[Pathwayd]:
    """Serve the lake in `folder`, for the length of the block."""
    with open_lake_directory(folder) as directory:
        async with (
            open_object_store(directory) as objects,
            open_retrieval(directory, model=EMBEDDED_MODEL, model_name=WORDLLAMA) as engine,
            open_them(directory) as records,
            open_traces(records, engine, model=WORDLLAMA, exists={"object": _exists_in(objects)}) as traces,
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
