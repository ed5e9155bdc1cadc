"""The routes of catalogd. Each is served with and without `/v1` before it.

    POST    /catalog/register
    GET     /catalog/list
    GET     /catalog/dropped
    GET     /catalog/manifest/{name}
    POST    /catalog/expire
    GET     /catalog/tables/{name}
    DELETE  /catalog/tables/{name}
    GET     /catalog/tables/{name}/snapshots
    POST    /catalog/tables/{name}/{verb}      restore, delete, rename, columns, optimize, tags

A name may contain slashes. The last segment of a path below `tables` is a verb if it is one of these words; a name that
ends with such a word is sent with `%2F` before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

import trio

from lakehouse.asgi import request_scope
from lakehouse.asgi.json_body import decode_json, receive_json
from lakehouse.asgi.path_names import decode_name
from lakehouse.asgi.responses import Response, json_response
from lakehouse.asgi.router import Methods, Mount, Route, Router, canonical_path
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.config import LakeTable
from lakehouse.core.errors import ErrNotFound
from lakehouse.services.catalogd import requests, responses
from lakehouse.services.catalogd.registration import Registrar
from lakehouse.services.catalogd.requests import BODY_LIMITS
from lakehouse.services.catalogd.upkeep import Upkeep, change_columns, delete_rows, find_table, optimize_table
from lakehouse.services.contracts.object_store import ObjectStore
from lakehouse.services.contracts.tables import DescribedTables, Tables
from lakehouse.services.contracts.traces import END_TIMEOUT, SourceEnds, end_rows
from lakehouse.services.contracts.write_engine import WriteEngine
from lakehouse.services.lake.directory import LakeDirectory

VERBS = frozenset({b"snapshots", b"restore", b"delete", b"rename", b"columns", b"optimize", b"tags"})

TableView = Callable[[str, Scope, Receive], Awaitable[Response]]
"""Answers a request about the table of a name."""


class CatalogdApp:
    """The ASGI application of catalogd."""

    def __init__(
        self,
        tables: Tables,
        registrar: Registrar,
        engine: WriteEngine,
        retention: float,
        ends: SourceEnds | None,
        system: DescribedTables | None,
    ) -> None:
        """`retention` is how long snapshots are kept, in seconds; `ends` is told of tables that are dropped.

        `system` are tables that can only be read.
        """
        self._system = system
        self._tables = tables
        self._ends = ends
        self._registrar = registrar
        self._engine = engine
        self._retention = retention
        self._verbs: dict[bytes, App] = {
            b"snapshots": Methods(GET=partial(_answer, self._list_snapshots)),
            b"restore": Methods(POST=partial(_answer, self._restore)),
            b"delete": Methods(POST=partial(_answer, self._delete)),
            b"rename": Methods(POST=partial(_answer, self._rename)),
            b"columns": Methods(POST=partial(_answer, self._change_columns)),
            b"optimize": Methods(POST=partial(_answer, self._optimize)),
            b"tags": Methods(POST=partial(_answer, self._tag)),
        }
        self._table = Methods(GET=partial(_answer, self._describe), DELETE=partial(_answer, self._drop))
        self._router = Router([*self._make_routes(b""), *self._make_routes(b"/v1")])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    def _make_routes(self, root: bytes) -> Iterable[Route | Mount]:
        yield Route(root + b"/catalog/list", Methods(GET=self._list))
        yield Route(root + b"/catalog/dropped", Methods(GET=self._list_dropped))
        yield Route(root + b"/catalog/register", Methods(POST=self._register))
        yield Route(root + b"/catalog/expire", Methods(POST=self._expire))
        yield Mount(root + b"/catalog/manifest", Methods(GET=partial(_answer, self._describe)))
        yield Mount(root + b"/catalog/tables", self._route_table)

    async def _route_table(self, scope: Scope, receive: Receive, send: Send) -> None:
        verb = _split_path(scope)[1]
        await (self._verbs[verb] if verb else self._table)(scope, receive, send)

    # Tables.

    async def _list(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        system = None if self._system is None else self._system.list_columns()
        await json_response(responses.make_list(await self._tables.list(), system)).send_to(send)

    async def _list_dropped(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await json_response(responses.make_dropped_list(await self._tables.list_dropped())).send_to(send)

    async def _register(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await receive_json(scope, receive, requests.Registration, BODY_LIMITS)
        request.check()
        request_scope.get(scope).context.begin_phase("writing")
        commit = await self._registrar.register(request)
        document = responses.make_registered(commit.manifest, existing=not commit.created, warnings=commit.warnings)
        await json_response(document).send_to(send)

    async def _expire(self, scope: Scope, receive: Receive, send: Send) -> None:
        older_than = requests.parse_older_than(await requests.receive_optional(scope, receive), self._retention)
        request_scope.get(scope).context.begin_phase("writing")
        await json_response(responses.make_removed(await self._tables.expire(older_than))).send_to(send)

    # One table.

    async def _describe(self, name: str, _scope: Scope, _receive: Receive) -> Response:
        found = None if self._system is None else await self._system.find(name)
        return json_response(responses.make_manifest(found or await find_table(self._tables, name)))

    async def _drop(self, name: str, _scope: Scope, _receive: Receive) -> Response:
        dropped = await self._tables.drop(name)
        if dropped is None:
            raise ErrNotFound(f"there is no table {name!r}")
        retired: Sequence[str] = ()
        if self._ends is not None:
            with trio.CancelScope(shield=True, relative_deadline=END_TIMEOUT):
                retired = await self._ends.end_table(name)
        return json_response(responses.make_dropped(dropped, retired))

    async def _list_snapshots(self, name: str, _scope: Scope, _receive: Receive) -> Response:
        return json_response(responses.make_snapshots(name, await self._tables.snapshots(name)))

    async def _restore(self, name: str, scope: Scope, receive: Receive) -> Response:
        request = await receive_json(scope, receive, requests.RestoreRequest, BODY_LIMITS)
        manifest = await self._tables.restore(name, requests.parse_snapshot(request.snapshot_id))
        return json_response(responses.extend_manifest(manifest, **await self._end_rows(name)))

    async def _delete(self, name: str, scope: Scope, receive: Receive) -> Response:
        request = await receive_json(scope, receive, requests.DeleteRequest, BODY_LIMITS)
        request_scope.get(scope).context.begin_phase("writing")
        done = await delete_rows(self._tables, self._engine, name, request.where)
        ended = await self._end_rows(name) if done.rows_deleted else {}
        return _make_upkeep_response(done, rows_deleted=done.rows_deleted, **ended)

    async def _end_rows(self, name: str) -> dict[str, object]:
        """The traces that end because a table has lost rows, as a member of an answer, if there are some."""
        retired = () if self._ends is None else await end_rows(self._ends, name)
        return {"retired": retired} if retired else {}

    async def _rename(self, name: str, scope: Scope, receive: Receive) -> Response:
        request = await receive_json(scope, receive, requests.RenameRequest, BODY_LIMITS)
        manifest = await self._tables.rename(name, request.to)
        if self._ends is not None:
            with trio.CancelScope(shield=True, relative_deadline=END_TIMEOUT):
                await self._ends.rename_table(name, request.to)
        return json_response(responses.make_manifest(manifest))

    async def _change_columns(self, name: str, scope: Scope, receive: Receive) -> Response:
        request = await receive_json(scope, receive, requests.ColumnsRequest, BODY_LIMITS)
        request_scope.get(scope).context.begin_phase("writing")
        commit = await change_columns(self._tables, self._engine, name, request.to_changes())
        return json_response(responses.extend_manifest(commit.manifest, warnings=commit.warnings))

    async def _optimize(self, name: str, scope: Scope, receive: Receive) -> Response:
        decode_json(await requests.receive_optional(scope, receive), dict)
        request_scope.get(scope).context.begin_phase("writing")
        done = await optimize_table(self._tables, self._engine, name)
        return _make_upkeep_response(done, files_before=done.files_before, files_after=len(done.manifest.objects))

    async def _tag(self, name: str, scope: Scope, receive: Receive) -> Response:
        request = await receive_json(scope, receive, requests.TagRequest, BODY_LIMITS)
        wanted = request.snapshot_id
        await self._tables.tag(name, request.tag, None if wanted is None else requests.parse_snapshot(wanted))
        return json_response(responses.make_snapshots(name, await self._tables.snapshots(name)))


def _make_upkeep_response(done: Upkeep, **members: object) -> Response:
    return json_response(responses.extend_manifest(done.manifest, **members, warnings=done.warnings))


async def _answer(view: TableView, scope: Scope, receive: Receive, send: Send) -> None:
    await (await view(_read_name(scope), scope, receive)).send_to(send)


def _split_path(scope: Scope) -> tuple[bytes, bytes]:
    """The raw name in the path, and the verb, which is empty below `manifest` and where there is none."""
    path = canonical_path(scope["raw_path"]).removeprefix(b"/v1")
    _, _, parent, below = path.split(b"/", 3)
    before, _, last = below.rpartition(b"/")
    return (before, last) if before and last in VERBS and parent == b"tables" else (below, b"")


def _read_name(scope: Scope) -> str:
    """The table's name in the path, without the verb, decoded once."""
    return decode_name(_split_path(scope)[0])


def make_catalogd_app(
    tables: Tables,
    store: ObjectStore,
    write_engine: WriteEngine,
    directory: LakeDirectory,
    lake: LakeTable,
    ends: SourceEnds | None = None,
    system: DescribedTables | None = None,
) -> CatalogdApp:
    """The application of catalogd over open tables, with the retention of `[lake]`.

    `ends` is told of tables that are dropped or renamed; what was retired with a table is in the answer. `system` are
    listed as well, and can only be read.
    """
    registrar = Registrar(tables, store, write_engine, directory)
    return CatalogdApp(tables, registrar, write_engine, lake.retention, ends, system)
