"""storaged over HTTP: `/storage/put`, `/storage/get`, `/storage/delete`, `/storage/objects` and `/storage/list`.

Every path is also served below `/v1`. The key is what stands behind the route in the raw path, decoded once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from functools import lru_cache, partial

import trio

from lakehouse.asgi import request_scope
from lakehouse.asgi.body import BodyLimits, iterate_body
from lakehouse.asgi.conditional import Validators, is_not_modified
from lakehouse.asgi.content import send_content
from lakehouse.asgi.responses import Response, empty_response, json_response
from lakehouse.asgi.router import Methods, Mount, Route, Router
from lakehouse.asgi.server_control import full_response
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.config import StoragedTable
from lakehouse.core.errors import ErrBadRequest, ErrUnsupportedMediaType
from lakehouse.services.contracts.object_store import ObjectInfo
from lakehouse.services.contracts.traces import END_TIMEOUT, SourceEnds
from lakehouse.services.storaged.api.gauges import make_gauges
from lakehouse.services.storaged.api.object_list import make_list_document, make_listed_object, parse_list_query
from lakehouse.services.storaged.api.object_response import make_object_headers, read_content_type
from lakehouse.services.storaged.api.upload_slots import UploadSlots
from lakehouse.services.storaged.index.entries import Row
from lakehouse.services.storaged.index.object_index import Precondition
from lakehouse.services.storaged.keys import check_writable, decode_key
from lakehouse.services.storaged.object_reads import make_not_found, make_validators
from lakehouse.services.storaged.object_writes import PutResult
from lakehouse.services.storaged.store import PIECE, LakeObjectStore
from lakehouse.telemetry.gauges import Gauge

_READ_CONDITIONS = frozenset((b"range", b"if-none-match", b"if-match", b"if-modified-since", b"if-unmodified-since"))
_WRITE_CONDITIONS = frozenset((b"if-none-match", b"if-match", b"if-unmodified-since"))


MIN_REDIRECT = 1024 * 1024
"""Bytes of an object from which on a redirect is worth a second request of the client."""


class StoragedApp:
    """The ASGI application of storaged."""

    def __init__(self, store: LakeObjectStore, table: StoragedTable, ends: SourceEnds | None) -> None:
        self._store = store
        self._ends = ends
        self._slots = UploadSlots(table.max_puts)
        self._redirects = table.redirect
        self._limits = BodyLimits(max_size=table.max_put, max_size_key="storaged.max_put")
        self._router = Router([*self._make_routes(b""), *self._make_routes(b"/v1")])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    @property
    def uploads(self) -> int:
        """Objects that are being received."""
        return self._slots.in_use

    def gauges(self) -> Iterable[Gauge]:
        """The gauges of uploads and memory."""
        return make_gauges(self._slots, self._store.recent)

    def _make_routes(self, root: bytes) -> Iterable[Route | Mount]:
        slashes = root.count(b"/") + 3  # before the key
        get, put, delete = (partial(each, slashes) for each in (self._get, self._put, self._delete))
        tables: dict[bytes, dict[str, App]] = {
            b"put": {"PUT": put, "POST": put},
            b"get": {"GET": get},
            b"delete": {"DELETE": delete},
            b"objects": {"GET": get, "PUT": put, "DELETE": delete},
        }
        for name, methods in tables.items():
            yield Mount(root + b"/storage/" + name, Methods(**methods), exact=True)
        yield Route(root + b"/storage/list", Methods(GET=self._list))

    # Reading.

    async def _get(self, slashes: int, scope: Scope, _receive: Receive, send: Send) -> None:
        key = _read_key(scope, slashes)
        entry = self._store.recent.find(key.encode())
        if entry is not None and entry.data is not None and _is_plain_get(scope):
            await send(full_response(200, [*_make_plain_headers(entry.row)], entry.data))
            return
        presign = self._store.presign if self._redirects and scope["method"] == "GET" else None
        async with self._store.reads.open(key, whole=presign is None and _is_plain_get(scope)) as (row, content):
            if presign is not None and row.size >= MIN_REDIRECT:
                await empty_response(
                    307, [(b"location", presign(key).encode()), (b"cache-control", b"no-store")]
                ).send_to(send)
                return
            await send_content(
                scope,
                send,
                content,
                content_type=row.content_type,
                headers=make_object_headers(key, row.content_type),
                piece_size=PIECE,
            )

    async def _list(self, scope: Scope, _receive: Receive, send: Send) -> None:
        query = parse_list_query(scope["query_string"])
        page = await self._store.reads.list(
            query.prefix, delimiter=query.delimiter, limit=query.limit, cursor=query.cursor
        )
        await json_response(make_list_document(query.prefix, page)).send_to(send)

    # Writing.

    async def _put(self, slashes: int, scope: Scope, receive: Receive, send: Send) -> None:
        key = _read_key(scope, slashes)
        check_writable(key)
        content_type = self._check_upload(scope)
        check = _find_precondition(scope)
        await self._check_early(scope, key)
        context = request_scope.get(scope).context
        context.begin_phase("queued")
        async with self._slots.take():
            context.begin_phase("writing")
            async with aclosing(iterate_body(receive, self._limits)) as body:  # type: ignore[type-var]
                result = await self._store.writes.put(key, body, content_type=content_type, precondition=check)
        await _make_put_response(result).send_to(send)

    def _check_upload(self, scope: Scope) -> str:
        """The content type of an upload. Raises LakehouseError for one whose head shows that it cannot be stored."""
        fields = dict(scope["headers"])
        length = fields.get(b"content-length", b"")
        if length.isdigit():
            if int(length) > self._limits.max_size:
                raise self._limits.too_large()
            self._store.writes.check_space(int(length))
        if b"content-range" in fields:
            raise ErrBadRequest("a part of an object cannot be put (Content-Range): send the whole object")
        if fields.get(b"content-encoding", b"identity").lower() != b"identity":
            raise ErrUnsupportedMediaType(
                "the body has a Content-Encoding, which is not kept: send the bytes to be stored, without this header"
            )
        return read_content_type(fields.get(b"content-type"))

    async def _check_early(self, scope: Scope, key: str) -> None:
        """Refuse before the body is received what the conditions of the request forbid already."""
        if not _WRITE_CONDITIONS.isdisjoint(name for name, _ in scope["headers"]):
            row = await self._store.reads.find(key)
            _check_conditions(scope, None if row is None else row.to_info())

    async def _delete(self, slashes: int, scope: Scope, _receive: Receive, send: Send) -> None:
        key = _read_key(scope, slashes)
        check_writable(key)
        if not await self._store.writes.delete(key, precondition=_find_precondition(scope)):
            raise make_not_found(key)
        retired: Sequence[str] = ()
        if self._ends is not None:
            with trio.CancelScope(shield=True, relative_deadline=END_TIMEOUT):
                retired = await self._ends.end_object(key)
        if retired:
            await json_response({"key": key, "retired": retired}).send_to(send)
        else:
            await empty_response(204).send_to(send)


def make_storaged_app(store: LakeObjectStore, table: StoragedTable, ends: SourceEnds | None = None) -> StoragedApp:
    """The application of storaged over an open store, with the limits of `[storaged]`.

    `ends` is told of objects that are deleted; what was retired with one is in the answer.
    """
    return StoragedApp(store, table, ends)


def _read_key(scope: Scope, slashes: int) -> str:
    """The key behind so many slashes of the raw path. Raises ErrBadRequest."""
    parts = scope["raw_path"].split(b"/", slashes)
    return decode_key(parts[slashes] if len(parts) > slashes else b"")


def _is_plain_get(scope: Scope) -> bool:
    """Whether the response is the whole object, whatever else the request has."""
    return scope["method"] == "GET" and _READ_CONDITIONS.isdisjoint([name for name, _ in scope["headers"]])


@lru_cache(1024)
def _make_plain_headers(row: Row) -> list[tuple[bytes, bytes]]:
    """The headers of a response with the whole object."""
    return [
        (b"content-type", row.content_type.encode("latin-1")),
        (b"content-length", b"%d" % row.size),
        (b"accept-ranges", b"bytes"),
        *make_validators(row).headers(),
        *make_object_headers(row.key.decode(), row.content_type),
    ]


def _find_precondition(scope: Scope) -> Precondition | None:
    """The check of what a request demands of the present object, None for one that demands nothing."""
    if _WRITE_CONDITIONS.isdisjoint(name for name, _ in scope["headers"]):
        return None
    return partial(_check_conditions, scope)


def _check_conditions(scope: Scope, present: ObjectInfo | None) -> None:
    """Raises ErrPreconditionFailed when a condition of a request that writes does not hold."""
    validators = None
    if present is not None:
        validators = Validators(etag=present.etag.encode(), modified=present.last_modified.timestamp())
    is_not_modified(scope["method"], scope["headers"], validators)


def _make_put_response(result: PutResult) -> Response:
    document = make_listed_object(result.row)
    status = 201 if result.created else 200
    return json_response(document, status, [("etag", document.etag)])
