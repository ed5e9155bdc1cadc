"""The tables of the lake in the process of the services: the contract `services.contracts.tables`.

A state of a table that the child has described is kept, and the catalog's database says which one is the newest, so a
read that was planned before costs a look-up in SQLite and no call. The state after a commit comes with its reply.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from datetime import datetime, timedelta

import msgspec

from lakehouse.config import LakeTable
from lakehouse.core.errors import ErrBadRequest, ErrNotFound, ErrUnprocessable, LakehouseError
from lakehouse.process.tasks import open_background
from lakehouse.services.contracts.catalog import Column, Manifest, Snapshot
from lakehouse.services.contracts.tables import (
    ColumnChanges,
    Commit,
    DroppedTable,
    Removed,
    StagedFile,
    TablePlan,
    WriteMode,
    WritePlan,
)
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.lake.name_locks import NameLocks
from lakehouse.services.tables import messages
from lakehouse.services.tables.calls import TablesProcess, open_process
from lakehouse.services.tables.catalog_reader import CatalogReader, Locations, SharedCatalogReader
from lakehouse.services.tables.daily_expiry import WriteSignal, expire_daily
from lakehouse.services.tables.expire_all import expire_all
from lakehouse.services.tables.gauges import make_gauges
from lakehouse.services.tables.messages import (
    MAX_SNAPSHOTS,
    ColumnInfo,
    Committed,
    Dropped,
    TablesSettings,
    TableState,
    WriteToken,
)
from lakehouse.services.tables.names import canonical, check_name, list_data_files
from lakehouse.services.tables.state_cache import StateCache
from lakehouse.services.tables.values import (
    DescribedTable,
    convert_state,
    make_columns,
    make_dropped,
    make_snapshot,
)
from lakehouse.services.tables.widening import needs_rewrite
from lakehouse.services.warehouse.data_files import WarehouseFiles
from lakehouse.services.warehouse.settings import WarehouseSettings
from lakehouse.telemetry.gauges import Gauge

logger = logging.getLogger("lakehouse.tables")


class LakeTables:
    """The tables, as `open_tables` opens them."""

    def __init__(self, process: TablesProcess, catalog: Locations, files: WarehouseFiles | None = None) -> None:
        """`files` are those of a lake beyond one machine."""
        self.process = process
        self._catalog = catalog
        self._files = files
        self._cache = StateCache()
        self._writers = NameLocks()
        self._loading = NameLocks()
        self.written = WriteSignal()
        """For `expire_daily`."""

    def gauges(self) -> Iterable[Gauge]:
        """The gauges of the tables process, for the metrics of catalogd."""
        return make_gauges(self.process.pool)

    async def find(self, name: str, *, snapshot_id: str | None = None) -> Manifest | None:
        """Return a table, or None. Raises ErrNotFound for an unknown snapshot."""
        state = await self._find(check_name(name), snapshot_id)
        return None if state is None else state.manifest

    async def has(self, name: str) -> bool:
        """Whether there is a table of a name. Reads the catalog only."""
        return await self._catalog.find(name) is not None

    async def list(self) -> Sequence[Manifest]:
        """List all tables in the order of their names.

        A table that cannot be read here, because of what another engine has written, is left out and logged.
        """
        found: list[Manifest] = []
        for name, location in (await self._catalog.list()).items():
            state = self._cache.get(name, location, None) or await self._find_readable(name)
            if state is not None:
                found.append(state.manifest)
        return found

    async def snapshots(self, name: str) -> Sequence[Snapshot]:
        """List the snapshots, the newest first. Raises ErrNotFound."""
        request = messages.ListSnapshots(name=check_name(name))
        infos: Sequence[messages.SnapshotInfo] = await self.process.call(request, tuple[messages.SnapshotInfo, ...])
        return [make_snapshot(info) for info in infos]

    async def plan(self, name: str, *, snapshot_id: str | None = None) -> TablePlan:
        """Plan the read of a table at its newest or the given snapshot. Raises ErrNotFound."""
        state = await self._find(check_name(name), snapshot_id)
        if state is None:
            raise ErrNotFound(f"there is no table {name!r}")
        return state.plan

    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        """Exclude other writers of the table, and of names that SQL cannot distinguish from it."""
        return self._writers.hold(canonical(name))

    async def prepare(
        self,
        name: str,
        columns: Sequence[Column],
        *,
        mode: WriteMode,
        evolve: bool = False,
        key: Sequence[str] = (),
        label: str = "",
        open_types: Mapping[str, str] | None = None,
        texts: Sequence[str] = (),
    ) -> WritePlan:
        """Decide how rows with these columns are written into the table (`Tables.prepare`)."""
        request = messages.Prepare(
            name=check_name(name),
            columns=[ColumnInfo(column.name, column.type, column.nullable) for column in columns],
            mode=mode,
            evolve=evolve,
            key=key,
            label=label,
            open_types=dict(open_types or {}),
            texts=texts,
        )
        token: WriteToken = await self.process.call(request, WriteToken)
        return WritePlan(
            name=name,
            mode=mode,
            existing=bool(token.base),
            columns=make_columns(token.columns),
            field_ids=token.field_ids,
            token=msgspec.json.encode(token),
            rewrites=token.rewrites,
        )

    async def commit(
        self, plan: WritePlan, files: Sequence[StagedFile], *, remove: Sequence[str] = (), request_id: str = ""
    ) -> Commit:
        """Publish the files in one snapshot; durable at return (`Tables.commit`)."""
        token = msgspec.json.decode(plan.token, type=WriteToken)
        if self._files is not None:
            return await self._commit_uploaded(self._files, token, files, remove, request_id)
        request = messages.CommitWrite(
            token=token,
            files=[messages.StagedInfo(str(file.path), file.rows) for file in files],
            remove=remove,
            request_id=request_id,
        )
        return self._keep(await self.process.call(request, Committed))

    async def _commit_uploaded(
        self,
        local: WarehouseFiles,
        token: WriteToken,
        files: Sequence[StagedFile],
        remove: Sequence[str],
        request_id: str,
    ) -> Commit:
        """Upload the files, and then publish them. What is uploaded and not published is for the sweep."""
        keys = list_data_files(token.name, token.commit_id, len(files))
        uploads = [(file.path, key) for file, key in zip(files, keys, strict=True)]
        await local.upload(uploads)
        request = messages.CommitWrite(
            token=token,
            files=[messages.StagedInfo(key, file.rows) for file, key in zip(files, keys, strict=True)],
            remove=[local.find_key(path) for path in remove],
            request_id=request_id,
        )
        committed: Committed = await self.process.call(request, Committed)
        local.keep(uploads)
        return self._keep(committed)

    async def find_commit(self, name: str, request_id: str) -> Commit | None:
        """Find the commit with a request id among the kept snapshots."""
        request = messages.FindCommit(name=check_name(name), request_id=request_id)
        found: Committed | None = await self.process.call(request, Committed | None)
        return None if found is None else self._keep(found)

    async def rename(self, name: str, to: str) -> Manifest:
        """Rename a table. Raises ErrNotFound, ErrConflict, ErrBadRequest."""
        request = messages.Rename(name=check_name(name), to=check_name(to))
        async with self._writers.hold(canonical(name), canonical(to)):
            state: TableState = await self.process.call(request, TableState)
        return self._keep_state(state)

    async def drop(self, name: str) -> DroppedTable | None:
        """Drop a table, which can be restored until it expires."""
        async with self.lock(check_name(name)):
            dropped: Dropped | None = await self.process.call(messages.Drop(name=name), Dropped | None)
        return None if dropped is None else make_dropped(dropped)

    async def list_dropped(self, name: str | None = None) -> Sequence[DroppedTable]:
        """List the dropped tables, or those that had this name, the newest first."""
        found: Sequence[Dropped] = await self.process.call(messages.ListDropped(name=name), tuple[Dropped, ...])
        return [make_dropped(dropped) for dropped in found]

    async def restore(self, name: str, snapshot_id: str) -> Manifest:
        """Make a snapshot the newest one again; a dropped table comes back with it."""
        async with self.lock(check_name(name)):
            state: TableState = await self.process.call(
                messages.Restore(name=name, snapshot_id=snapshot_id), TableState
            )
        return self._keep_state(state)

    async def change_columns(self, name: str, changes: ColumnChanges) -> Commit:
        """Change the columns of a table in one snapshot."""
        request = messages.ChangeColumns(
            name=check_name(name),
            add=[ColumnInfo(column.name, column.type) for column in changes.add],
            drop=changes.drop,
            rename=changes.rename,
            widen=changes.widen,
        )
        async with self.lock(name):
            return self._keep(await self.process.call(request, Committed))

    async def needs_rewrite(self, name: str, changes: ColumnChanges) -> bool:
        """Whether a column gets a type for which the files are written again (`Tables.needs_rewrite`)."""
        manifest = await self.find(name)
        types = {} if manifest is None else {column.name: column.type for column in manifest.columns}
        return any(needs_rewrite(types.get(column, ""), wanted) for column, wanted in changes.widen)

    async def tag(self, name: str, tag: str, snapshot_id: str | None) -> None:
        """Name a snapshot, which keeps it from expiry; None removes the name."""
        if not tag:
            raise ErrBadRequest("`tag` is required", field="tag")
        async with self.lock(check_name(name)):
            await self.process.call(messages.Tag(name=name, tag=tag, snapshot_id=snapshot_id), None)

    async def expire(self, older_than: datetime) -> Removed:
        """Expire the snapshots and the dropped tables that are older, and delete the files that only they use."""
        return await expire_all(self.process, await self._catalog.list(), self.lock, older_than)

    async def _find(self, name: str, snapshot_id: str | None) -> DescribedTable | None:
        """The state of a table, from the cache or from the child; several callers wait for one call."""
        location = await self._catalog.find(name)
        if location is None:
            return None
        if (state := self._cache.get(name, location, snapshot_id)) is not None:
            return state
        async with self._loading.hold(name):
            if (state := self._cache.get(name, location, snapshot_id)) is not None:
                return state
            request = messages.Describe(name=name, snapshot_id=snapshot_id)
            described: TableState | None = await self.process.call(request, TableState | None)
            if described is None:
                return None
            state = self._convert(described)
            self._cache.put(state, snapshot_id)
            return state

    async def _find_readable(self, name: str) -> DescribedTable | None:
        try:
            return await self._find(name, None)
        except LakehouseError as error:
            if error.status not in (ErrUnprocessable.status, LakehouseError.status):
                raise
            logger.warning("the table %s is left out of the list: %s", name, error.message)
            return None

    def _convert(self, state: TableState) -> DescribedTable:
        return convert_state(state) if self._files is None else convert_state(state, self._files.locate)

    def _keep(self, committed: Committed) -> Commit:
        manifest = self._keep_state(committed.state)
        self.written.set()
        return Commit(manifest=manifest, created=committed.created, warnings=committed.warnings)

    def _keep_state(self, state: TableState) -> Manifest:
        described = self._convert(state)
        self._cache.put(described, None)
        return described.manifest


@asynccontextmanager
async def open_tables(
    directory: LakeDirectory,
    lake: LakeTable,
    *,
    max_snapshots: int = MAX_SNAPSHOTS,
    warehouse: WarehouseSettings | None = None,
    files: WarehouseFiles | None = None,
) -> AsyncIterator[LakeTables]:
    """Open the tables of a lake. The child starts with the first call, and has ended at the end of the block.

    Expired snapshots and dropped tables are deleted once a day while tables are written. `warehouse` and `files` are
    those of a lake beyond one machine.
    """
    settings = TablesSettings(
        directory=str(directory.path), retention=lake.retention, max_snapshots=max_snapshots, warehouse=warehouse
    )
    async with open_process(settings) as process, open_background() as nursery:
        catalog = CatalogReader(directory.catalog_db) if warehouse is None else SharedCatalogReader(process)
        with closing(catalog):
            tables = LakeTables(process, catalog, files)
            nursery.start_soon(expire_daily, tables, tables.written, timedelta(seconds=lake.retention))
            yield tables
