"""The routes of vectord. Each is served with and without `/v1` before it.

    POST    /vectors/index                    create an index
    GET     /vectors/index                    list the indexes
    GET     /vectors/index/{name}             describe an index
    DELETE  /vectors/index/{name}             delete an index
    POST    /vectors/index/{name}/add         add and replace items
    POST    /vectors/index/{name}/search      search
    POST    /vectors/index/{name}/merge       copy the items to another index
    DELETE  /vectors/index/{name}/items       delete items; also POST /vectors/index/{name}/delete
    POST    /vectors/index/{name}/sync        bring the index to the newest snapshot of a table

A name may contain slashes. The last segment of a path is a verb if it is one of these words; a name that ends with such
a word is sent with `%2F` before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from time import perf_counter

from lakehouse.asgi import request_scope
from lakehouse.asgi.json_body import decode_json, receive_json, receive_json_bytes
from lakehouse.asgi.path_names import decode_name
from lakehouse.asgi.responses import Response, empty_response, json_response
from lakehouse.asgi.router import Methods, Mount, Route, Router, canonical_path
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.services.contracts.embedder import NamedEmbedder
from lakehouse.services.contracts.query_engine import QueryEngine
from lakehouse.services.contracts.retrieval import IndexOptions, RetrievalEngine
from lakehouse.services.contracts.tables import Tables
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.vectord import requests, responses
from lakehouse.services.vectord.items import convert_items, decode_vectors
from lakehouse.services.vectord.models import IndexModels
from lakehouse.services.vectord.requests import BODY_LIMITS, is_given
from lakehouse.services.vectord.searching import Searcher
from lakehouse.services.vectord.sync import TableSync
from lakehouse.telemetry.gauges import Gauge
from lakehouse.telemetry.metric_store import Family

VERBS = frozenset({b"add", b"search", b"merge", b"items", b"delete", b"sync"})

_SEARCHES = Family("vectord_searches", "gauge", "Searches that were answered since the start.")
_SECONDS = Family("vectord_search_seconds", "gauge", "Seconds that these searches took, added up.")
_SEARCHING = Family("vectord_searching", "gauge", "Searches in progress.")
_SYNCS = Family("vectord_syncing", "gauge", "Syncs of indexes to tables in progress.")

IndexView = Callable[[str, Scope, Receive], Awaitable[Response]]
"""Answers a request about the index of a name."""


class VectordApp:
    """The ASGI application of vectord."""

    def __init__(self, engine: RetrievalEngine, models: IndexModels, sync: TableSync) -> None:
        self._engine = engine
        self._models = models
        self._sync = sync
        self._searcher = Searcher(engine, models)
        self._verbs: dict[bytes, App] = {
            b"add": Methods(POST=partial(_answer, self._add)),
            b"search": Methods(POST=partial(_answer, self._search)),
            b"merge": Methods(POST=partial(_answer, self._merge)),
            b"items": Methods(DELETE=partial(_answer, self._delete_items)),
            b"delete": Methods(POST=partial(_answer, self._delete_items)),
            b"sync": Methods(POST=partial(_answer, self._sync_index)),
        }
        self._index = Methods(GET=partial(_answer, self._describe), DELETE=partial(_answer, self._delete))
        self._router = Router([*self._make_routes(b""), *self._make_routes(b"/v1")])
        self._searches = self._searching = self._syncing = 0
        self._seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    def gauges(self) -> Iterable[Gauge]:
        """Searches and their time."""
        return (
            Gauge(_SEARCHES, lambda: [((), self._searches)]),
            Gauge(_SECONDS, lambda: [((), self._seconds)]),
            Gauge(_SEARCHING, lambda: [((), self._searching)]),
            Gauge(_SYNCS, lambda: [((), self._syncing)]),
        )

    def _make_routes(self, root: bytes) -> Iterable[Route | Mount]:
        yield Route(root + b"/vectors/index", Methods(GET=self.list_indexes, POST=self._create))
        yield Mount(root + b"/vectors/index", self._route_index)

    async def _route_index(self, scope: Scope, receive: Receive, send: Send) -> None:
        verb = _split_path(scope)[1]
        await (self._verbs[verb] if verb else self._index)(scope, receive, send)

    # Indexes.

    async def list_indexes(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer with the list of the indexes; an ASGI application, which matrixd has as its list of corpora."""
        infos = [responses.make_info(info, None) for info in await self._engine.list_indexes()]
        await json_response({"indexes": infos, "count": len(infos)}).send_to(send)

    async def _create(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await receive_json(scope, receive, requests.CreateRequest, BODY_LIMITS)
        request.check()
        model = self._models.resolve(request.model)
        request_scope.get(scope).context.begin_phase("embedding")
        dimension = request.dimension or await self._models.find_dimension(model)
        request_scope.get(scope).context.begin_phase("writing")
        options = IndexOptions(
            name=request.name,
            dimension=dimension,
            distance=request.distance,
            model=model,
            keyword=request.keyword,
            fields=request.fields,
            approximate=request.approximate,
        )
        await json_response(responses.make_info(await self._engine.create_index(options), None), 201).send_to(send)

    async def _describe(self, index: str, _scope: Scope, _receive: Receive) -> Response:
        info = await self._engine.get_index(index)
        return json_response(responses.make_info(info, await self._sync.describe(info)))

    async def _delete(self, index: str, scope: Scope, _receive: Receive) -> Response:
        request_scope.get(scope).context.begin_phase("writing")
        await self._engine.delete_index(index)
        return empty_response(204)

    # Items.

    async def _add(self, index: str, scope: Scope, receive: Receive) -> Response:
        request = decode_vectors(await receive_json_bytes(scope, receive, BODY_LIMITS), requests.AddRequest)
        items = await convert_items(request)
        context = request_scope.get(scope).context
        context.begin_phase("embedding")
        info = await self._models.describe(index)
        embedded = await self._models.embed_items(items, info, truncate=request.truncate)
        context.begin_phase("writing")
        model = self._models.resolve(request.model)
        return json_response(responses.make_added(await self._engine.add(index, embedded, model=model)))

    async def _search(self, index: str, scope: Scope, receive: Receive) -> Response:
        request = decode_vectors(await receive_json_bytes(scope, receive, BODY_LIMITS), requests.SearchRequest)
        request.check()
        started = perf_counter()
        self._searching += 1
        try:
            hits = await self._searcher.search(index, request, request_scope.get(scope).context.begin_phase)
        finally:
            self._searching -= 1
        self._searches += 1
        self._seconds += perf_counter() - started
        return responses.make_results(hits, has_text=request.text is not None)

    async def _merge(self, index: str, scope: Scope, receive: Receive) -> Response:
        request = await receive_json(scope, receive, requests.MergeRequest, BODY_LIMITS)
        request_scope.get(scope).context.begin_phase("writing")
        merged = await self._engine.merge(index, request.dest, clear_source=request.clear_source)
        return json_response(responses.make_merged(merged))

    async def _delete_items(self, index: str, scope: Scope, receive: Receive) -> Response:
        request = await receive_json(scope, receive, requests.DeleteRequest, BODY_LIMITS)
        request.check()
        request_scope.get(scope).context.begin_phase("writing")
        given = bytes(request.filter) if is_given(request.filter) else b""
        written = await self._engine.delete_items(index, ids=request.ids or (), where=given)
        return json_response(responses.make_deleted(written))

    async def _sync_index(self, index: str, scope: Scope, receive: Receive) -> Response:
        body = await receive_json_bytes(scope, receive, BODY_LIMITS) or b"{}"
        request = decode_json(body, requests.SyncRequest)
        self._syncing += 1
        try:
            done = await self._sync.run(index, request, request_scope.get(scope).context.begin_phase)
        finally:
            self._syncing -= 1
        return json_response(done)


async def _answer(view: IndexView, scope: Scope, receive: Receive, send: Send) -> None:
    await (await view(_read_name(scope), scope, receive)).send_to(send)


def _split_path(scope: Scope) -> tuple[bytes, bytes]:
    """The raw name in the path, and the verb, which is empty where there is none."""
    path = canonical_path(scope["raw_path"]).removeprefix(b"/v1")
    below = path.split(b"/", 3)[3]
    before, _, last = below.rpartition(b"/")
    return (before, last) if before and last in VERBS else (below, b"")


def _read_name(scope: Scope) -> str:
    """The index's name in the path, without the verb, decoded once."""
    return decode_name(_split_path(scope)[0])


def make_vectord_app(
    engine: RetrievalEngine,
    embedder: NamedEmbedder,
    query_engine: QueryEngine,
    tables: Tables,
    directory: LakeDirectory,
    *,
    embedded_model: str,
) -> VectordApp:
    """The application of vectord. `embedded_model` is the name of the model that the engine itself has."""
    models = IndexModels(engine, embedder, embedded=embedded_model)
    return VectordApp(engine, models, TableSync(engine, models, query_engine, tables, directory.spill))
