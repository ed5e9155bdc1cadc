"""embedd over HTTP, with and without `/v1`.

| route | form |
|---|---|
| `POST /embed`, `GET /embed/stats`, `GET /embed/models` | the former daemon's, with additions |
| `POST /embeddings` | OpenAI's |
| `POST /rerank` | that of Cohere and Jina |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lakehouse.asgi import request_scope
from lakehouse.asgi.body import BodyLimits
from lakehouse.asgi.json_body import receive_json
from lakehouse.asgi.responses import Response, send_json
from lakehouse.asgi.router import Methods, Route, Router
from lakehouse.asgi.server_control import full_response
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.services.contracts.embedder import EmbeddedJson, Embeddings, EmbeddingService
from lakehouse.services.embedd.fields import renamed_fields
from lakehouse.services.embedd.requests import (
    EmbeddingsRequest,
    EmbedRequest,
    Encoding,
    RerankRequest,
    check_dimension,
)
from lakehouse.services.embedd.responses import make_embed, make_openai_embeddings, make_reranking
from lakehouse.telemetry.gauges import Gauge

MAX_BODY = 16 * 1024 * 1024
OPENAI_NAMES = {"texts": "input", "dimension": "dimensions"}
RERANK_NAMES = {"texts": "documents"}


class EmbeddApp:
    """The ASGI application of embedd."""

    def __init__(self, embedder: EmbeddingService) -> None:
        self._embedder = embedder
        self._limits = BodyLimits(max_size=MAX_BODY, max_size_key="16 MiB, fixed")
        routes: dict[bytes, App] = {
            b"/embed": Methods(POST=self._embed),
            b"/embed/stats": Methods(GET=self._stats),
            b"/embed/models": Methods(GET=self._models),
            b"/embeddings": Methods(POST=self._embeddings),
            b"/rerank": Methods(POST=self._rerank),
        }
        self._router = Router([Route(prefix + path, app) for path, app in routes.items() for prefix in (b"", b"/v1")])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    def gauges(self) -> Iterable[Gauge]:
        """None of its own: the embedder has them."""
        return ()

    async def _embed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Embed texts, in the former daemon's form."""
        body = await receive_json(scope, receive, EmbedRequest, self._limits)
        texts, dimension = body.list_texts(), body.read_dimension()
        request_scope.get(scope).context.begin_phase("embedding")
        with renamed_fields(body.field_names):
            found = await self._find(texts, body, body.encoding, dimension)
        await send_document(send, make_embed(found))

    async def _embeddings(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Embed texts, in OpenAI's form."""
        body = await receive_json(scope, receive, EmbeddingsRequest, self._limits)
        texts, dimension = body.list_texts(), check_dimension(body.dimensions, "dimensions")
        request_scope.get(scope).context.begin_phase("embedding")
        with renamed_fields(OPENAI_NAMES):
            found = await self._find(texts, body, body.encoding_format, dimension)
        await send_document(send, make_openai_embeddings(found))

    async def _find(
        self, texts: Sequence[str], body: EmbedRequest | EmbeddingsRequest, encoding: Encoding, dimension: int
    ) -> EmbeddedJson | Embeddings:
        """The vectors of texts: as bytes if the answer has base64, else as JSON, which the embedder keeps."""
        embed = self._embedder.embed_dimension if encoding == "base64" else self._embedder.embed_json
        return await embed(texts, model=body.model, truncate=body.truncate, dimension=dimension)

    async def _rerank(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Order documents by their relevance to a query."""
        body = await receive_json(scope, receive, RerankRequest, self._limits)
        documents, top_n = body.list_documents(), body.read_top_n()
        request_scope.get(scope).context.begin_phase("embedding")
        with renamed_fields(RERANK_NAMES):
            ranking = await self._embedder.rerank(body.query, documents, model=body.model, top_n=top_n)
        await send_json(send, 200, make_reranking(ranking, documents if body.return_documents else None))

    async def _stats(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_json(send, 200, self._embedder.stats())

    async def _models(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_json(send, 200, {"models": await self._embedder.list_models()})


async def send_document(send: Send, document: bytes) -> None:
    """Send JSON in one message."""
    response = Response(document)
    await send(full_response(response.status, response.make_headers(), response.body))


def make_embedd_app(embedder: EmbeddingService) -> App:
    """Make the application around an open embedder."""
    return EmbeddApp(embedder)
