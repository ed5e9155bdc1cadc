"""queryd over HTTP: `POST /sql`, on the engine that the request names, and `GET /sql/engines`, also below `/v1`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from time import perf_counter

import msgspec

from lakehouse.asgi import request_scope
from lakehouse.asgi.body import BodyLimits
from lakehouse.asgi.json_body import receive_json
from lakehouse.asgi.responses import send_json
from lakehouse.asgi.router import Methods, Route, Router
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.config import LakeTable, QuerydTable
from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.query_engine import QueryEngine
from lakehouse.services.queryd.request import SqlRequest, choose_format
from lakehouse.services.queryd.responses import send_document, send_result
from lakehouse.telemetry.gauges import Gauge
from lakehouse.telemetry.metric_store import Family

MAX_BODY = 4 * 1024 * 1024

_ROWS = Family("queryd_scanned_rows", "gauge", "Rows that statements have read since the start.")
_BYTES = Family("queryd_scanned_bytes", "gauge", "Bytes that statements have read since the start.")


class EngineList(msgspec.Struct, frozen=True, kw_only=True):
    """The names of the engines that a request can name; `default` is that of requests that name none."""

    engines: tuple[str, ...]
    default: str


class QuerydApp:
    """The ASGI application of queryd. `default` is the name of the engine for requests that name none."""

    def __init__(self, engines: Mapping[str, QueryEngine], lake: LakeTable, *, default: str) -> None:
        self._engines = engines
        self._default = default
        self._max_rows = lake.max_rows
        self._limits = BodyLimits(max_size=MAX_BODY, max_size_key="4 MiB, fixed")
        post, listing = Methods(POST=self._post), Methods(GET=self._list_engines)
        routes = ((b"/sql", post), (b"/sql/engines", listing))
        self._router = Router([Route(prefix + path, app) for path, app in routes for prefix in (b"", b"/v1")])
        self._rows = self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    def gauges(self) -> Iterable[Gauge]:
        """The rows and bytes that whole answers were made from."""
        return (Gauge(_ROWS, lambda: [((), self._rows)]), Gauge(_BYTES, lambda: [((), self._bytes)]))

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one statement, and answer in the format that the client accepts."""
        started = perf_counter()
        request = request_scope.get(scope)
        body = await receive_json(scope, receive, SqlRequest, self._limits)
        answer = choose_format(scope["headers"])
        engine = self._find_engine(body.engine)
        query = body.make_query(answer, self._max_rows)
        request.context.begin_phase("queued")
        async with engine.run(query, on_start=partial(request.context.begin_phase, "scanning")) as result:
            if answer == "json":
                await send_document(send, result, started)
            else:
                await send_result(send, result, answer, request)
            self._rows += result.scanned.rows
            self._bytes += result.scanned.bytes

    async def _list_engines(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_json(send, 200, EngineList(engines=tuple(self._engines), default=self._default))

    def _find_engine(self, name: str | None) -> QueryEngine:
        """The engine of a request. Raises ErrBadRequest for a name that is not configured."""
        found = self._engines.get(self._default if name is None else name)
        if found is None:
            configured = ", ".join(self._engines)
            raise ErrBadRequest(
                f"`engine` must be one that is configured: {configured} (got {name!r})",
                field="engine",
                details={"engines": list(self._engines)},
            )
        return found


def make_queryd_app(engines: Mapping[str, QueryEngine], lake: LakeTable, table: QuerydTable) -> App:
    """Make the application around open query engines by their names."""
    return QuerydApp(engines, lake, default=table.engine)
