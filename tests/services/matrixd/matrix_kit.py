"""A matrixd over doubles of engine and embedder, behind a real listener."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from lakehouse.asgi.types import App
from lakehouse.config import MatrixdTable
from lakehouse.services.contracts.retrieval import IndexOptions, Item
from lakehouse.services.matrixd.app import make_matrixd_app
from tests.services.matrixd.embedder_double import EMBEDDED, EmbedderDouble, embed_text, pack
from tests.services.memory_engine import MemoryEngine
from tools.kit.raw_http import hello, serve_app


class Matrix:
    """A matrixd over doubles, its application, and an HTTP client for it."""

    def __init__(self, engine: MemoryEngine, embedder: EmbedderDouble, app: App, http: httpx.AsyncClient) -> None:
        self.app = app
        self.engine = engine
        self.embedder = embedder
        self.http = http

    async def fill(self, index: str, *items: Item, model: str = "", dimension: int = 3) -> None:
        await self.engine.create_index(IndexOptions(name=index, dimension=dimension, model=model))
        await self.engine.add(index, items, model=model)

    async def post(self, path: str, status: int = 200, **body: Any) -> Any:
        answer = await self.http.post(f"/matrix/{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def search(self, *, corpora: list[Any], **body: Any) -> list[tuple[str, Any]]:
        """The ids and distances of a search."""
        answer = await self.post("search", corpora=corpora, **body)
        return [(hit["id"], pytest.approx(hit["distance"], abs=1e-6)) for hit in answer["results"]]


@asynccontextmanager
async def open_matrix(table: MatrixdTable | None = None, default_model: str = "") -> AsyncIterator[Matrix]:
    engine, embedder = MemoryEngine(embed_text, model=EMBEDDED), EmbedderDouble()
    app = make_matrixd_app(
        engine,
        embedder,
        table or MatrixdTable(),
        default_model=default_model,
        embedded_model=EMBEDDED,
        weak_models=("tiny",),
        list_corpora=hello,
    )
    async with serve_app(app, lifetime=True) as server:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as http:
            yield Matrix(engine, embedder, app, http)


def item(key: str, *vector: float, text: str | None = None, **metadata: object) -> Item:
    return Item(
        id=key,
        vector=pack(*vector) if vector else b"",
        text=text,
        metadata=json.dumps(metadata).encode() if metadata else b"",
    )


def error_of(answer: Mapping[str, Any]) -> tuple[str, str]:
    return answer["error"]["code"], answer["error"]["message"]
