"""The routes of pathwayd. Each is served with and without `/v1` before it.

POST    /pathway/add                 a new trace
POST    /pathway/add_idempotent      a new trace with the id of the caller, or a replay of the one that has it
POST    /pathway/update              another content for a trace
POST    /pathway/revise              a new version of a trace
POST    /pathway/retire              hide a trace, or what is derived from a source, and all that is derived from it
GET     /pathway/get/{uid}
GET     /pathway/history/{uid}
POST    /pathway/search
GET     /pathway/stats
GET     /pathway/export              Markdown
POST    /pathway/import              Markdown, in the form of the export
"""

from __future__ import annotations

from collections.abc import Iterable

from lakehouse.asgi import request_scope
from lakehouse.asgi.body import receive_body
from lakehouse.asgi.json_body import receive_json
from lakehouse.asgi.path_names import decode_name
from lakehouse.asgi.responses import json_response
from lakehouse.asgi.router import Methods, Mount, Route, Router, canonical_path
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.pathwayd import requests
from lakehouse.services.pathwayd.markdown import export_traces, import_traces
from lakehouse.services.pathwayd.meaning import TraceMeanings
from lakehouse.services.pathwayd.requests import BODY_LIMITS, MAX_LIMIT, read_content
from lakehouse.services.pathwayd.store import TraceStore
from lakehouse.services.pathwayd.traces import Trace, check_source, check_sources, check_tags, check_uid

MARKDOWN = b"text/markdown; charset=utf-8"


class PathwaydApp:
    """The ASGI application of pathwayd."""

    def __init__(self, store: TraceStore, meanings: TraceMeanings) -> None:
        self._store = store
        self._meanings = meanings
        self._router = Router([*self._make_routes(b""), *self._make_routes(b"/v1")])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    def _make_routes(self, root: bytes) -> Iterable[Route | Mount]:
        posts = {
            b"add": self._add,
            b"add_idempotent": self._add_idempotent,
            b"update": self._update,
            b"revise": self._revise,
            b"retire": self._retire,
            b"search": self._search,
            b"import": self._import,
        }
        for name, view in posts.items():
            yield Route(root + b"/pathway/" + name, Methods(POST=view))
        yield Route(root + b"/pathway/stats", Methods(GET=self._stats))
        yield Route(root + b"/pathway/export", Methods(GET=self._export))
        yield Mount(root + b"/pathway/get", Methods(GET=self._get))
        yield Mount(root + b"/pathway/history", Methods(GET=self._history))

    # Changes.

    async def _add(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await receive_json(scope, receive, requests.AddRequest, BODY_LIMITS)
        if request.uid:
            check_uid(request.uid)
        await _answer(send, await self._make(scope, request, replay=False))

    async def _add_idempotent(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await receive_json(scope, receive, requests.AddRequest, BODY_LIMITS)
        check_uid(request.uid)
        await _answer(send, await self._make(scope, request, replay=True))

    async def _make(self, scope: Scope, request: requests.AddRequest, *, replay: bool) -> Trace:
        predecessor = request.predecessor_uid
        content, tags, sources = read_content(request.content), check_tags(request.tags), check_sources(request.sources)
        _begin_writing(scope)
        return await self._store.add(
            content,
            uid=request.uid,
            tags=tags,
            sources=sources,
            predecessor=None if predecessor is None else check_uid(predecessor, "predecessor_uid"),
            replay=replay,
        )

    async def _update(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await receive_json(scope, receive, requests.UpdateRequest, BODY_LIMITS)
        uid, content = check_uid(request.uid), read_content(request.content)
        tags = None if request.tags is None else check_tags(request.tags)
        _begin_writing(scope)
        await _answer(send, await self._store.update(uid, content, tags))

    async def _revise(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await receive_json(scope, receive, requests.ReviseRequest, BODY_LIMITS)
        predecessor = check_uid(request.predecessor_uid or request.uid, "predecessor_uid")
        content, tags, sources = read_content(request.content), check_tags(request.tags), check_sources(request.sources)
        _begin_writing(scope)
        trace = await self._store.add(content, tags=tags, sources=sources, predecessor=predecessor)
        await _answer(send, trace)

    async def _retire(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await receive_json(scope, receive, requests.RetireRequest, BODY_LIMITS)
        if (request.source is None) == (not request.uid):
            raise ErrBadRequest("the body must have one of `uid` and `source`", field="uid")
        if request.source is not None and request.source.trace:
            raise ErrBadRequest("a trace that is a source is retired by its `uid`", field="source.trace")
        _begin_writing(scope)
        if request.source is not None:
            source = check_source(request.source, "source")
            retired = await self._store.retire_derived(source, reason=request.reason)
        else:
            retired = await self._store.retire(check_uid(request.uid), reason=request.reason)
        await json_response({"retired": retired}).send_to(send)

    async def _import(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await receive_body(scope, receive, BODY_LIMITS)
        _begin_writing(scope)
        await json_response(await import_traces(self._store, body)).send_to(send)

    # Reads.

    async def _get(self, scope: Scope, _receive: Receive, send: Send) -> None:
        await _answer(send, await self._store.get(_read_uid(scope)))

    async def _history(self, scope: Scope, _receive: Receive, send: Send) -> None:
        await json_response({"history": await self._store.history(_read_uid(scope))}).send_to(send)

    async def _search(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await receive_json(scope, receive, requests.SearchRequest, BODY_LIMITS)
        wanted, limit = request.make_filter(), min(request.limit, MAX_LIMIT)
        request_scope.get(scope).context.begin_phase("searching")
        if request.text:
            found = await self._meanings.search(request.text, wanted, k=limit)
            traces = await self._store.select(found.uids, wanted)
            await json_response({"traces": traces, "count": len(traces), "lag": found.lag}).send_to(send)
            return
        traces = await self._store.search(wanted, limit=limit, after=request.after)
        await json_response({"traces": traces, "count": len(traces)}).send_to(send)

    async def _stats(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await json_response(await self._store.count()).send_to(send)

    async def _export(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-type", MARKDOWN)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for piece in export_traces(self._store):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _begin_writing(scope: Scope) -> None:
    request_scope.get(scope).context.begin_phase("writing")


async def _answer(send: Send, trace: Trace) -> None:
    await json_response(trace).send_to(send)


def _read_uid(scope: Scope) -> str:
    """The id in the path, decoded once. Raises ErrBadRequest."""
    path = canonical_path(scope["raw_path"]).removeprefix(b"/v1")
    return check_uid(decode_name(path.split(b"/", 3)[3], "uid"))


def make_pathwayd_app(store: TraceStore, meanings: TraceMeanings) -> PathwaydApp:
    """The application of pathwayd over open traces."""
    return PathwaydApp(store, meanings)
