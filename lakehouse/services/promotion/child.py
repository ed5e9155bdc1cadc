"""The process that reads, rewrites and compares the metadata of tables: a target of `process.bootstrap`.

It is trusted, like the tables process: it has the keys of the target. Its working directory is the folder of the lake.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import cast

import msgspec
from pyiceberg.exceptions import CommitStateUnknownException, RESTError
from sqlalchemy.exc import DBAPIError

from lakehouse.process.bootstrap import Startup
from lakehouse.process.calls.rpc_child import Call, CallError, serve_calls
from lakehouse.services.promotion import messages
from lakehouse.services.promotion.locations import Move
from lakehouse.services.promotion.messages import (
    MAX_FRAME,
    AnyRequest,
    CatalogEntry,
    PromotionSettings,
    SourceFile,
    TableSource,
)
from lakehouse.services.promotion.rewriting import rewrite_table
from lakehouse.services.promotion.table_checks import TableChecks
from lakehouse.services.promotion.table_files import TableGraph, find_size, list_documents, read_graph
from lakehouse.services.promotion.target_catalog import check_catalog, register_tables
from lakehouse.services.tables.call_errors import explain_failure
from lakehouse.services.tables.catalog import DATABASE, open_catalog
from lakehouse.services.tables.messages import TablesSettings
from lakehouse.services.tables.names import CATALOG, DROPPED, decode_dropped, decode_name

_ENTRIES = (
    "SELECT catalog_name, table_namespace, table_name, metadata_location, coalesce(iceberg_type, 'TABLE')"
    " FROM iceberg_tables ORDER BY table_namespace, table_name"
)


def run(startup: Startup) -> None:
    """Answer requests until standard input ends."""
    settings = msgspec.json.decode(startup.settings, type=PromotionSettings)
    logging.basicConfig(level=logging.ERROR)
    os.chdir(settings.directory)
    os.umask(0o077)
    import pyiceberg.catalog.sql
    import pyiceberg.io.pyarrow  # noqa: F401

    serve_calls(startup, Handler(settings).handle, max_frame=MAX_FRAME)


class Handler:
    """Answers requests."""

    def __init__(self, settings: PromotionSettings) -> None:
        self._target = settings.target
        self._source = open_catalog(TablesSettings(directory=settings.directory, retention=0))
        self._move = Move(settings.target.location)
        self._handlers: dict[type, Callable[..., object]] = {
            messages.ListEntries: lambda _: list_entries(),
            messages.ReadTable: lambda request: read_source(request.entry),
            messages.RewriteTable: self._rewrite,
            messages.CheckTable: self._check,
            messages.CheckCatalog: self._check_catalog,
            messages.Register: self._register,
        }

    def handle(self, call: Call) -> bytes:
        """Answer one request. Raises CallError."""
        try:
            request = msgspec.json.decode(call.payload, type=AnyRequest)
            return msgspec.json.encode(self._handlers[type(request)](request))
        except (OSError, DBAPIError, sqlite3.OperationalError, RESTError, CommitStateUnknownException) as error:
            explained = explain_failure(error, shared=True)
            if explained is None:
                raise
            raise explained from None

    @cached_property
    def _checks(self) -> TableChecks:
        target = TablesSettings(directory=".", retention=0, warehouse=self._target)
        return TableChecks(self._source, open_catalog(target))

    def _rewrite(self, request: messages.RewriteTable) -> list[str]:
        graph = read_graph(request.entry.location, request.entry.shown)
        return rewrite_table(graph, self._move, Path(request.folder))

    def _check(self, request: messages.CheckTable) -> messages.CheckedTable:
        return self._checks.check(request.entry.location, request.entry.shown, max_bytes=request.max_bytes)

    def _check_catalog(self, request: messages.CheckCatalog) -> messages.CatalogState:
        return check_catalog(self._target, self._source, request.entries, request.promotion)

    def _register(self, request: messages.Register) -> int:
        return register_tables(self._target, self._source, request.entries, request.promotion)


def list_entries() -> list[CatalogEntry]:
    """The tables of the folder's catalog. Raises CallError for an entry that has no place in a lake's catalog."""
    with closing(sqlite3.connect(DATABASE)) as connection:
        rows = connection.execute(_ENTRIES).fetchall()
    return [_make_entry(*row) for row in rows]


def _make_entry(catalog: str, namespace: str, table: str, location: str | None, kind: str) -> CatalogEntry:
    shown = decode_name(namespace, table)
    dropped = decode_dropped(table) if namespace == ".".join(DROPPED) else None
    if dropped is not None:
        shown = f"{dropped[0]} (dropped)"
    shown = shown or f"{namespace}.{table}"
    if catalog != CATALOG or kind != "TABLE" or not location:
        raise CallError(
            "unprocessable",
            f"the catalog has the entry {shown}, which another program has made (catalog {catalog!r}, {kind.lower()}):"
            " it cannot be promoted, so remove it first",
        )
    return CatalogEntry(namespace=namespace, table=table, location=location, shown=shown, dropped=dropped is not None)


def read_source(entry: CatalogEntry) -> TableSource:
    """The files of a table with their sizes, as they are. Raises CallError for one that is missing or was changed."""
    graph = read_graph(entry.location, entry.shown)
    for file in graph.data.values():
        if not file.names_files and (size := find_size(file.path)) != file.size:
            raise CallError(
                "unprocessable", f"{entry.shown} is damaged: {file.path} has {size} bytes, and {file.size} were written"
            )
    files = [SourceFile(path, find_size(path)) for path in graph.list_copied()]
    files += [SourceFile(path, find_size(path), rewritten=True) for path in graph.list_rewritten()]
    return TableSource(
        entry=entry,
        files=tuple(files),
        snapshots=len(list_documents(graph.metadata, "snapshots")),
        tags=sum(1 for reference in _references(graph) if reference.get("type") == "tag"),
        rows=_count_rows(graph),
    )


def _references(graph: TableGraph) -> list[dict[str, object]]:
    return list(cast("dict[str, dict[str, object]]", graph.metadata.get("refs") or {}).values())


def _count_rows(graph: TableGraph) -> int:
    """The rows of the newest snapshot, as its summary has them."""
    newest = graph.metadata.get("current-snapshot-id")
    for snapshot in list_documents(graph.metadata, "snapshots"):
        if snapshot["snapshot-id"] == newest:
            summary = cast("dict[str, str]", snapshot.get("summary") or {})
            return int(summary.get("total-records", 0))
    return 0
