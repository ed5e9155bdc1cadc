"""The process that commits and plans with pyiceberg: a target of `process.bootstrap`.

It is trusted: it reads metadata that this program and other engines of the same lake have written, and footers of
Parquet files that an engine child has written. Its working directory is the folder of the lake. It can be killed at any
moment: a commit is one row of the catalog's database.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import msgspec

from lakehouse.process.bootstrap import Startup
from lakehouse.process.calls.rpc_child import Call, serve_calls
from lakehouse.services.tables import messages
from lakehouse.services.tables.call_errors import EXPECTED, explain_failure
from lakehouse.services.tables.catalog import find_table, load_table, open_catalog
from lakehouse.services.tables.commit import Writer
from lakehouse.services.tables.describe import ManifestCache, describe, list_snapshots
from lakehouse.services.tables.expiry import Expiry
from lakehouse.services.tables.lifecycle import describe_dropped, drop_table, rename_table, restore
from lakehouse.services.tables.messages import MAX_FRAME, AnyRequest, TablesSettings
from lakehouse.services.tables.prepare import prepare
from lakehouse.services.tables.snapshots import change_columns, commit_transaction, set_tag
from lakehouse.services.tables.transaction import begin


def run(startup: Startup) -> None:
    """Answer requests until standard input ends."""
    settings = msgspec.json.decode(startup.settings, type=TablesSettings)
    logging.basicConfig(level=logging.ERROR)  # pyiceberg warns about each attempt of a commit
    os.chdir(settings.directory)
    os.umask(0o077)
    import pyiceberg.catalog.sql

    if settings.warehouse is not None:  # before the first call, which has a deadline; a folder needs it to commit only
        import pyiceberg.io.pyarrow  # noqa: F401

    serve_calls(startup, Calls(settings).handle, max_frame=MAX_FRAME)


class Calls:
    """The calls of the process. Its handler is made with the first one; if that fails, with the next one."""

    def __init__(self, settings: TablesSettings) -> None:
        self._settings = settings
        self._handler: Handler | None = None

    def handle(self, call: Call) -> bytes:
        """Answer one request. Raises CallError."""
        try:
            if self._handler is None:
                self._handler = Handler(self._settings)
            return self._handler.handle(msgspec.json.decode(call.payload, type=AnyRequest))
        except EXPECTED as error:
            explained = explain_failure(error, shared=self._settings.warehouse is not None)
            if explained is None:
                raise
            raise explained from None


class Handler:
    """Answers requests."""

    def __init__(self, settings: TablesSettings) -> None:
        """Open the catalog. Raises what that raises, for a shared one that cannot be reached."""
        self._catalog = open_catalog(settings)
        self._manifests = ManifestCache()
        self._expiry = Expiry(
            self._catalog, self._manifests, retention=settings.retention, max_snapshots=settings.max_snapshots
        )
        self._writer = Writer(self._catalog, self._manifests, self._expiry)
        self._handlers: dict[type, Callable[..., object]] = {
            messages.Describe: self._describe,
            messages.FindLocation: lambda request: self._catalog.find_location(request.name),
            messages.ListLocations: lambda _: self._catalog.list_current(),
            messages.ListSnapshots: self._list_snapshots,
            messages.Prepare: lambda request: prepare(self._catalog, request),
            messages.CommitWrite: self._writer.commit,
            messages.FindCommit: lambda request: self._writer.find(request.name, request.request_id),
            messages.Restore: self._restore,
            messages.Rename: self._rename,
            messages.Drop: lambda request: drop_table(self._catalog, request.name),
            messages.ListDropped: lambda request: describe_dropped(self._catalog, request.name),
            messages.ChangeColumns: self._change_columns,
            messages.Tag: self._tag,
            messages.ExpireTable: lambda request: self._expiry.expire_table(request.name, request.before_ms),
            messages.ExpireDropped: lambda request: self._expiry.expire_dropped(request.before_ms),
            messages.Sweep: lambda request: self._expiry.sweep(request.before_ms),
        }

    def handle(self, request: messages.Request) -> bytes:
        """Answer one request. Raises CallError, and what pyiceberg raises."""
        return msgspec.json.encode(self._handlers[type(request)](request))

    def _describe(self, request: messages.Describe) -> messages.TableState | None:
        table = find_table(self._catalog, request.name)
        return None if table is None else describe(table, request.name, self._manifests, request.snapshot_id)

    def _list_snapshots(self, request: messages.ListSnapshots) -> list[messages.SnapshotInfo]:
        return list(list_snapshots(load_table(self._catalog, request.name).metadata))

    def _restore(self, request: messages.Restore) -> messages.TableState:
        return describe(restore(self._catalog, request), request.name, self._manifests)

    def _rename(self, request: messages.Rename) -> messages.TableState:
        return describe(rename_table(self._catalog, request.name, request.to), request.to, self._manifests)

    def _change_columns(self, request: messages.ChangeColumns) -> messages.Committed:
        table = load_table(self._catalog, request.name)
        transaction = begin(table)
        change_columns(table, request, transaction)
        expired = self._expiry.stage(transaction)
        table = commit_transaction(transaction)
        self._expiry.delete_after_commit(table, expired)
        state = describe(table, request.name, self._manifests)
        return messages.Committed(state=state, created=False, warnings=expired.warnings)

    def _tag(self, request: messages.Tag) -> None:
        set_tag(load_table(self._catalog, request.name), request.tag, request.snapshot_id)
