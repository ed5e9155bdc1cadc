"""The routes of observerd. Each is served with and without `/v1` before it.

    GET     /observer/health           the service, and the number of operations in memory
    GET     /observer/stats
    POST    /observer/event            one operation
    POST    /observer/inbox            one message
    POST    /observer/import           operations as JSON lines, the form in which former systems kept them

The gateway itself runs workflows (`/v1/observer/workflow/...`): they need its models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import trio

from lakehouse.asgi import request_scope
from lakehouse.asgi.body import BodyLimits, receive_body
from lakehouse.asgi.json_body import receive_json
from lakehouse.asgi.responses import json_response
from lakehouse.asgi.router import Methods, Mount, Route, Router
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.errors import ErrNotImplemented
from lakehouse.services.observerd.operations import Message, Operation, complete, record_message
from lakehouse.services.observerd.store import OperationStore

BODY_LIMITS = BodyLimits(max_size=4 * 1024 * 1024, max_size_key="4 MiB for a request to the observer")
IMPORT_LIMITS = BodyLimits(max_size=64 * 1024 * 1024, max_size_key="64 MiB for an import")


LINES_AT_ONCE = 500
"""Lines of an import that are decoded before other requests have their turn."""


class ObserverdApp:
    """The ASGI application of observerd."""

    def __init__(self, store: OperationStore) -> None:
        self._store = store
        self._router = Router([*self._make_routes(b""), *self._make_routes(b"/v1")])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    def _make_routes(self, root: bytes) -> Iterable[Route | Mount]:
        yield Route(root + b"/observer/health", Methods(GET=self._health))
        yield Route(root + b"/observer/stats", Methods(GET=self._stats))
        yield Route(root + b"/observer/event", Methods(POST=self._event))
        yield Route(root + b"/observer/inbox", Methods(POST=self._inbox))
        yield Route(root + b"/observer/import", Methods(POST=self._import))
        yield Mount(root + b"/observer/workflow", _refuse_workflow)

    async def _health(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        document = {"status": "ok", "service": "observerd", "ring_size": self._store.ring_size}
        await json_response(document).send_to(send)

    async def _stats(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await json_response(await self._store.count()).send_to(send)

    async def _event(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = complete(await receive_json(scope, receive, Operation, BODY_LIMITS))
        await self._record(scope, send, operation)

    async def _inbox(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._record(scope, send, record_message(await receive_json(scope, receive, Message, BODY_LIMITS)))

    async def _record(self, scope: Scope, send: Send, operation: Operation) -> None:
        request_scope.get(scope).context.begin_phase("writing")
        await self._store.record([operation])
        await json_response({"accepted": True, "ring_size": self._store.ring_size}).send_to(send)

    async def _import(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await receive_body(scope, receive, IMPORT_LIMITS)
        lines = [line for line in body.split(b"\n") if line.strip()]
        operations: list[Operation] = []
        for start in range(0, len(lines), LINES_AT_ONCE):
            operations += _decode_lines(lines[start : start + LINES_AT_ONCE])
            await trio.lowlevel.checkpoint()
        request_scope.get(scope).context.begin_phase("writing")
        if operations:
            await self._store.record(operations)
        document = {"imported": len(operations), "skipped": len(lines) - len(operations)}
        await json_response(document).send_to(send)


def make_observerd_app(store: OperationStore) -> ObserverdApp:
    """The application of observerd over open records."""
    return ObserverdApp(store)


def _decode_lines(lines: Iterable[bytes]) -> Iterator[Operation]:
    """The operations of lines; a line that is damaged or has no endpoint is left out, as former systems did."""
    for line in lines:
        try:
            operation = msgspec.json.decode(line, type=Operation)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if operation.endpoint:
            yield complete(operation)


async def _refuse_workflow(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise ErrNotImplemented(
        "workflows are run by the gateway, which has the models: POST /v1/observer/workflow/run there"
    )
