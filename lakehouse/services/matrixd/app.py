"""matrixd over HTTP: its routes, each with and without `/v1` before it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

import msgspec

from lakehouse.asgi import request_scope
from lakehouse.asgi.json_body import receive_json, receive_json_bytes
from lakehouse.asgi.responses import Response, json_response
from lakehouse.asgi.router import Methods, Route, Router
from lakehouse.asgi.server_control import full_response
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.config import MatrixdTable
from lakehouse.services.contracts.embedder import Embedder
from lakehouse.services.contracts.known_indexes import KnownIndexes
from lakehouse.services.contracts.retrieval import RetrievalEngine, decode_hits
from lakehouse.services.matrixd.context import make_context
from lakehouse.services.matrixd.downgrade import DowngradeRequest, choose_mode
from lakehouse.services.matrixd.embedding import QuestionEmbedder
from lakehouse.services.matrixd.judge import make_judge
from lakehouse.services.matrixd.playbook_application import PlaybookApplication
from lakehouse.services.matrixd.playbook_memory import PlaybookMemory
from lakehouse.services.matrixd.relevance import RelevanceRequest, divide_chunks
from lakehouse.services.matrixd.requests import (
    BODY_LIMITS,
    ContextRequest,
    PlaybookBatch,
    PlaybookRequest,
    SearchRequests,
)
from lakehouse.services.matrixd.search import MatrixSearch
from lakehouse.services.matrixd.search_cache import SearchCache
from lakehouse.telemetry.gauges import Gauge
from lakehouse.telemetry.metric_store import Family

_CACHE = Family("matrixd_cache_lookups", "gauge", "Searches that looked for a known result.", ("result",))
_CACHED = Family("matrixd_cached_searches", "gauge", "Results of searches that are kept.")
_CACHED_BYTES = Family("matrixd_cached_bytes", "gauge", "Memory for these results.")
_PLAYBOOKS = Family("matrixd_playbooks_recorded", "gauge", "Playbooks that were recorded since the start.")


class MatrixdApp:
    """The ASGI application of matrixd."""

    def __init__(
        self,
        search: MatrixSearch,
        cache: SearchCache,
        memory: PlaybookMemory,
        weak_models: Collection[str],
        list_corpora: App,
    ) -> None:
        self._requests = SearchRequests()
        self._search = search
        self._cache = cache
        self._memory = memory
        self._weak_models = frozenset(weak_models)
        self._list_corpora = list_corpora
        self._router = Router([*self._make_routes(b""), *self._make_routes(b"/v1")])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    def gauges(self) -> Iterable[Gauge]:
        """Searches, and the cache of their results."""
        return (
            Gauge(_CACHE, lambda: [(("hit",), self._cache.hits), (("miss",), self._cache.misses)]),
            Gauge(_CACHED, lambda: [((), len(self._cache))]),
            Gauge(_CACHED_BYTES, lambda: [((), self._cache.size)]),
            Gauge(_PLAYBOOKS, lambda: [((), self._memory.recorded)]),
        )

    def _make_routes(self, root: bytes) -> Iterable[Route]:
        for path, methods in (
            (b"/matrix/search", Methods(POST=self._post_search)),
            (b"/matrix/context", Methods(POST=self._post_context)),
            (b"/matrix/corpora", Methods(GET=self._list_corpora)),
            (b"/matrix/playbooks/record", Methods(POST=self._post_record)),
            (b"/matrix/playbooks/bulk", Methods(POST=self._post_bulk)),
            (b"/matrix/relevance", Methods(POST=self._post_relevance)),
            (b"/matrix/downgrade", Methods(POST=self._post_downgrade)),
        ):
            yield Route(root + path, methods)

    async def _post_search(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = self._requests.read(await receive_json_bytes(scope, receive, BODY_LIMITS))
        request_scope.get(scope).context.begin_phase("searching")
        answer = Response((await self._search.search(request)).encode())
        await send(full_response(answer.status, answer.make_headers(), answer.body))

    async def _post_context(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await receive_json(scope, receive, ContextRequest, BODY_LIMITS)
        request.check()
        request_scope.get(scope).context.begin_phase("searching")
        wanted = msgspec.structs.replace(request, extras=[*request.extras, "text", "metadata"])
        found = await self._search.search(wanted)
        context = make_context(decode_hits(found.results), request.max_tokens)
        await Response(found.encode_with(context)).send_to(send)

    async def _post_record(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await receive_json(scope, receive, PlaybookRequest, BODY_LIMITS)
        request_scope.get(scope).context.begin_phase("writing")
        await json_response({"playbook_id": await self._memory.record(request)}).send_to(send)

    async def _post_bulk(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await receive_json(scope, receive, PlaybookBatch, BODY_LIMITS)
        request_scope.get(scope).context.begin_phase("writing")
        results = await self._memory.record_all(request)
        failed = sum(1 for result in results if result.error)
        document = {"recorded": len(results) - failed, "failed": failed, "results": results}
        await json_response(document).send_to(send)

    async def _post_relevance(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await receive_json(scope, receive, RelevanceRequest, BODY_LIMITS)
        await json_response(await divide_chunks(request)).send_to(send)

    async def _post_downgrade(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await receive_json(scope, receive, DowngradeRequest, BODY_LIMITS)
        answer = choose_mode(request, weak_models=self._weak_models, environment=os.environ)
        await json_response(answer).send_to(send)


def make_matrixd_app(
    engine: RetrievalEngine,
    embedder: Embedder,
    table: MatrixdTable,
    *,
    default_model: str,
    embedded_model: str,
    weak_models: Collection[str],
    list_corpora: App,
) -> MatrixdApp:
    """Make the application around an open engine.

    `default_model` embeds questions for indexes without a model, and playbooks; empty: the `embedded_model`, which the
    engine has itself. `weak_models` are those of `[models]`.
    """
    questions = QuestionEmbedder(
        embedder=embedder, default_model=default_model or embedded_model, embedded_model=embedded_model
    )
    memory = PlaybookMemory(engine, questions)
    playbooks = PlaybookApplication(engine, memory, make_judge(table))
    cache = SearchCache(engine, table.cache_size)
    search = MatrixSearch(engine, questions, KnownIndexes(engine), playbooks, cache)
    return MatrixdApp(search, cache, memory, weak_models, list_corpora)
