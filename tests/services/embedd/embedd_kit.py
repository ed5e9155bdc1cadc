"""embedd over real HTTP, with the packaged model in this process, and scripted providers on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import cast

import httpx
import trio

from lakehouse.config import ChatTable, Config, EmbeddTable
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.services.contracts.retrieval import EmbeddedTexts, RetrievalEngine
from lakehouse.services.embedd.app import make_embedd_app
from lakehouse.services.embedding.embedder import ModelEmbedder
from lakehouse.services.embedding.wordllama import EmbeddingModel, load_default_model
from lakehouse.services.host.app import make_host_app
from lakehouse.services.host.embedding import open_lake_embedder
from lakehouse.services.lake.directory import open_lake_directory
from lakehouse.testing.upstreams import ReceivedRequest, ScriptedUpstream, open_upstream, respond
from tools.kit.raw_http import serve_app

DIMENSION = 768
"""Of the model that the scripted Ollama has, as of the original's."""


class PackagedModel:
    """The engine of retrieval as far as an embedder knows it, in this process."""

    def __init__(self) -> None:
        self._model: EmbeddingModel | None = None

    async def embed(self, texts: Sequence[str], *, truncate: bool = False) -> EmbeddedTexts:
        assert truncate
        if self._model is None:
            self._model = await trio.to_thread.run_sync(load_default_model)
        tokens = self._model.tokenize(texts)
        limit = self._model.max_tokens
        vectors = self._model.embed([text[:limit] for text in tokens])
        return EmbeddedTexts(
            model=self._model.name,
            dimension=self._model.dimension,
            vectors=vectors.tobytes(),
            tokens=[len(text) for text in tokens],
            truncated=[position for position, text in enumerate(tokens) if len(text) > limit],
        )


def hash_vector(text: str) -> list[float]:
    """A vector that differs for different texts, not of unit length, as Ollama's models gave the original."""
    digest = sha256(text.encode()).digest()
    return [digest[n % 32] / 16 - 8 + n / 1000 for n in range(DIMENSION)]


@dataclass
class FakeOllama:
    """An Ollama with one model. The original's double had only `/api/tags` and `/api/embeddings`: `legacy`."""

    legacy: bool = False
    hold: bool = False
    upstream: ScriptedUpstream = field(default_factory=lambda: ScriptedUpstream(""))
    left: int = 0

    def calls(self) -> list[str]:
        """The paths that were asked, in order."""
        return [request.target for request in self.upstream.requests]

    async def answer(self, request: ReceivedRequest, stream: trio.SocketStream) -> None:
        if self.hold:
            await stream.receive_some()
            self.left += 1
            return
        await stream.send_all(self._respond(request))

    def _respond(self, request: ReceivedRequest) -> bytes:
        if request.target == "/api/tags":
            model = {"name": "nomic-embed-text:latest", "details": {"family": "nomic-bert"}}
            return respond({"models": [model, {"name": "qwen3:8b", "details": {"family": "qwen3"}}]})
        if request.target == "/api/embeddings" or (request.target == "/api/embed" and not self.legacy):
            if request.json["model"] != "nomic-embed-text":
                return respond({"error": f"model {request.json['model']!r} not found, try pulling it first"}, 404)
            if request.target == "/api/embeddings":
                return respond({"embedding": hash_vector(request.json["prompt"])})
            vectors: list[object] = [hash_vector(text) for text in request.json["input"]]
            return respond({"embeddings": vectors, "prompt_eval_count": 3 * len(vectors)})
        return respond(b"404 page not found\n", 404, content_type="text/plain")


@asynccontextmanager
async def open_fake_ollama(*, legacy: bool = False) -> AsyncIterator[FakeOllama]:
    """The server for the block."""
    ollama = FakeOllama(legacy=legacy)

    async def answer(request: ReceivedRequest, stream: trio.SocketStream) -> None:
        await ollama.answer(request, stream)

    async with open_upstream(answer) as ollama.upstream:
        yield ollama


@dataclass
class EmbeddServer:
    """A running embedd, and an HTTP client for it."""

    http: httpx.AsyncClient
    port: int
    embedder: ModelEmbedder

    async def embed(self, *texts: str, **fields: object) -> httpx.Response:
        """Embed texts in the former daemon's form."""
        return await self.http.post("/embed", json={"texts": texts, **fields})


@asynccontextmanager
async def open_embedd(
    folder: Path, table: EmbeddTable | None = None, chatd: ChatTable | None = None
) -> AsyncIterator[EmbeddServer]:
    """Serve embedd, for the length of the block. Without a URL in `table` there is no Ollama."""
    config = Config(embedd=table or EmbeddTable(), chatd=chatd or ChatTable(ollama_url=""))
    with open_lake_directory(folder) as directory:
        engine = cast("RetrievalEngine", PackagedModel())
        async with open_lake_embedder(engine, directory, config) as embedder:
            app = make_host_app(
                {"embedd": make_embedd_app(embedder)}, name="services", active_requests=ActiveRequests()
            )
            async with (
                serve_app(app) as server,
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=60) as http,
            ):
                yield EmbeddServer(http, server.port, embedder)
