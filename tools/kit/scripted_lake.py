"""The routes of the lake with scripted answers: for tests of what a page and a command show of them."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote_plus

import trio

from lakehouse.asgi.body import read_body
from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.responses import send_json
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.errors import ErrBadRequest, ErrNotFound, ErrUnprocessable
from lakehouse.server.server import BoundApp, serve_listeners
from lakehouse.services.lake.directory import open_lake_directory

Document = dict[str, object]

SALES: Document = {
    "dataset_id": "0f1e", "name": "sales", "schema_fingerprint": "ab", "row_count": 1204, "bytes": 18_432,
    "objects": [{"key": "datasets/sales/data/0.parquet", "size": 18_432, "rows": 1204}], "snapshot_id": "8123456789012345678",
    "columns": [{"name": "day", "type": "DATE"}, {"name": "shop", "type": "VARCHAR"}, {"name": "revenue", "type": "DOUBLE"}],
    "created_at": "2026-11-01T08:00:00Z", "updated_at": "2026-11-02T09:30:00Z",
}  # fmt: skip

BY_SHOP: Document = {
    "columns": [{"name": "shop", "type": "VARCHAR"}, {"name": "revenue", "type": "DOUBLE"}, {"name": "note", "type": "VARCHAR"}],
    "rows": [["Berlin", 1820.5, None], ["Chicago", 240.25, "<b>two</b>"], ["Lagos", 990, ""]],
    "row_count": 3, "truncated": False, "elapsed_ms": 3.4, "scanned": {"rows": 1204, "bytes": 18_432},
}  # fmt: skip


HERON: Document = {
    "n": 1, "corpus": "birds", "id": "heron.md#1", "text": "A heron stands <still> in shallow water.", "distance": 0.2113,
    "metadata": {"source": "heron.md", "page": 3},
}  # fmt: skip
PLOVER: Document = {"n": 2, "corpus": "birds", "id": "plover.md#4", "text": "A plover runs.", "distance": 0.34}


class ScriptedLake:
    """Answers `/v1/catalog`, `/v1/ingest`, `/v1/sql` and `/v1/matrix`; while `go` is not set, uploads, queries and
    searches wait for it.

    `received` has the body of each upload and query; `cancelled` is set when one of them ended before its answer.
    """

    def __init__(self) -> None:
        self.manifests: list[Document] = [SALES]
        self.answer: Document = BY_SHOP
        self.engines = ["duckdb"]
        self.warnings: list[Document] = []
        self.passages: list[Document] = [HERON, PLOVER]
        self.error: ErrBadRequest | None = None
        self.cut = False
        self.refused = ""
        """The name of a document that is refused."""
        self.received: list[bytes] = []
        self.queries: list[Mapping[str, str]] = []
        self.go = trio.Event()
        self.go.set()
        self.waiting = trio.Event()
        self.cancelled = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix("/v1")
        if path == "/catalog/list":
            await send_json(send, 200, {"manifests": self.manifests, "count": len(self.manifests)})
        elif path == "/sql/engines":
            await send_json(send, 200, {"engines": self.engines, "default": self.engines[0]})
        elif path == "/matrix/corpora":
            listed: list[Document] = [
                {"name": "birds", "model": "wordllama-256", "length": 2},
                {"name": "raw", "model": None, "length": 9},
            ]
            await send_json(send, 200, {"indexes": listed, "count": len(listed)})
        elif path.startswith("/catalog/manifest/"):
            found = [one for one in self.manifests if one["name"] == path.removeprefix("/catalog/manifest/")]
            if not found:
                raise ErrNotFound("there is no such table")
            await send_json(send, 200, found[0])
        else:
            self.received.append(await read_body(receive, 10_000_000))
            await self._work(path, scope, send)

    async def _work(self, path: str, scope: Scope, send: Send) -> None:
        query = scope["query_string"].decode()
        given = dict(part.split("=", 1) for part in query.split("&") if part)
        self.queries.append(given)
        self.waiting.set()
        try:
            await self.go.wait()
        except trio.Cancelled:
            self.cancelled.set()
            raise
        if self.error is not None:
            raise self.error
        if (path == "/vectors/index" and scope["method"] == "GET") or path.endswith("/search"):
            await send_json(send, 200, self.answer)
        elif path.startswith("/vectors/index"):
            await send_json(send, 201, {"added": 2, "length": 2})
        elif path == "/matrix/context":
            text = "\n".join(f"[{one['n']}] {one['text']}" for one in self.passages)
            await send_json(send, 200, {"passages": self.passages, "text": text})
        elif path == "/ingest" and "source" in given:
            await send_json(send, 201, self._describe_document(given))
        elif path == "/ingest":
            name = self.queries[-1]["name"]
            self.manifests = [*self.manifests, SALES | {"name": name}]
            added: Document = {"rows_added": 1204, "existing": False, "bytes_in": 50_000, "bytes_stored": 18_432}
            await send_json(send, 201, SALES | {"name": name, "key": "k", "warnings": self.warnings} | added)
        else:
            await self._answer_query(scope, send)

    def _describe_document(self, given: Mapping[str, str]) -> Document:
        """The answer to a document, of which each upload has two passages."""
        query = {name: unquote_plus(value) for name, value in given.items()}
        if query["source"] == self.refused:
            raise ErrUnprocessable("the PDF has no text")
        pages = 3 if query["source"].endswith(".pdf") else None
        return {
            "corpus": query["name"], "source": query["source"], "passages": 2, "length": 2 * len(self.queries),
            "model": query.get("model", "wordllama-256"), "pages": pages, "warnings": self.warnings,
        }  # fmt: skip

    async def _answer_query(self, scope: Scope, send: Send) -> None:
        """CSV where it is asked for, and cut off if `cut` is set; else the JSON."""
        if (b"accept", b"text/csv") not in scope["headers"]:
            await send_json(send, 200, self.answer)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/csv")]})
        await send({"type": "http.response.body", "body": b"shop,revenue\r\nBerlin,1820.5\r\n", "more_body": True})
        if self.cut:
            raise ConnectionError("the engine failed in the middle")
        await send({"type": "http.response.body", "body": b"Lagos,990.0\r\n", "more_body": False})


@asynccontextmanager
async def scripted_lake(folder: Path, *, service: str = "") -> AsyncIterator[ScriptedLake]:
    """A scripted lake that has `folder` open, as the running service at the URL `service` has it, and answers on the
    socket in its lock."""
    lake = ScriptedLake()
    app = RequestLifetimeMiddleware(lake, active_requests=ActiveRequests(), on_end=lambda _: None)
    with TemporaryDirectory(prefix="lh-") as place, socket.socket(socket.AF_UNIX) as listener:
        path = f"{place}/lake.sock"
        listener.bind(path)
        listener.setblocking(False)
        with open_lake_directory(folder, socket=path, service=service):
            async with trio.open_nursery() as nursery:
                run = partial(
                    serve_listeners,
                    [BoundApp(app, listener)],
                    stopping=trio.Event(),
                    drain_timeout=0.1,
                    abort_requests=app.drain,
                )
                await nursery.start(run)
                yield lake
                nursery.cancel_scope.cancel()
