"""The promotion of a folder's lake to a warehouse: read, copy, compare, switch.

Nothing of the folder is changed but the journal and the mark. Until the tables are registered, no service sees any of
them in the target; objects can be seen as soon as they are stored. A promotion that was ended at any moment is run
again, and continues where it was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lakehouse.core.errors import ErrUpstream
from lakehouse.services.lake.directory import LakeDirectory, open_directory
from lakehouse.services.lake.layout import LAYOUT_NAME
from lakehouse.services.lake.promoted import Promoted, remove_mark, write_mark
from lakehouse.services.promotion import messages
from lakehouse.services.promotion.journal import Journal, Stored, open_journal, read_promotion
from lakehouse.services.promotion.lake_objects import LakeObjects, open_objects
from lakehouse.services.promotion.messages import (
    CatalogEntry,
    CatalogState,
    CheckedTable,
    PromotionSettings,
    TableSource,
)
from lakehouse.services.promotion.plan import Plan, make_plan
from lakehouse.services.promotion.process import PromotionProcess, Refused, open_process
from lakehouse.services.promotion.progress import Progress
from lakehouse.services.promotion.records import RecordCounts, Records
from lakehouse.services.promotion.target import Target
from lakehouse.services.promotion.target_objects import (
    Found,
    check_keys,
    check_owner,
    forget_lost,
    list_target,
    remove_stale,
)
from lakehouse.services.promotion.transfer import Transfer
from lakehouse.services.promotion.upload_keys import copy_upload_keys
from lakehouse.services.warehouse.bucket import Bucket, make_bucket


@dataclass(slots=True)
class Outcome:
    """What was promoted, or would be. `again`: it had been promoted before, and nothing was done."""

    plan: Plan
    checked: dict[str, CheckedTable] = field(default_factory=dict)
    copied: int = 0
    removed: int = 0
    records: RecordCounts | None = None
    again: bool = False
    mark: Promoted | None = None

    def find_checked(self, entry: CatalogEntry) -> CheckedTable | None:
        """What was compared of a table, None if nothing was."""
        return self.checked.get(entry.location)


class Promotion:
    """One promotion, as `open_promotion` opens it. The folder is locked."""

    def __init__(
        self,
        directory: LakeDirectory,
        target: Target,
        process: PromotionProcess,
        bucket: Bucket,
        objects: LakeObjects,
        records: Records | None,
        progress: Progress,
    ) -> None:
        self._directory = directory
        self._target = target
        self._process = process
        self._bucket = bucket
        self._objects = objects
        self._records = records
        self._progress = progress
        self._transfer = Transfer(directory, objects, process, bucket, progress)

    async def plan(self) -> Outcome:
        """Read what would be copied, and look whether the target can take it. Writes nothing.

        Raises Refused, LakeError, and what the bucket raises.
        """
        mark, plan = self._target.read_mark(self._directory.path), await self._read_plan()
        if mark is not None and mark.state == "promoted":
            return await self._end_again(plan, mark)
        promotion = read_promotion(self._directory.path)
        state = await self._check_catalog(plan, promotion)
        if not state.registered:
            await self._check_target(plan, promotion, {})
        return Outcome(plan, mark=mark)

    async def run(self) -> Outcome:
        """Promote the lake. Raises Refused, LakeError, and what the bucket raises; nothing was switched then.

        Only if it fails, or is cancelled, while it switches, the folder is closed to services without the warehouse
        until it has been run again.
        """
        mark, plan = self._target.read_mark(self._directory.path), await self._read_plan()
        if mark is not None and mark.state == "promoted":
            return await self._end_again(plan, mark)
        target, path = self._target, self._directory.path
        promotion = read_promotion(path)
        state = await self._check_catalog(plan, promotion)
        if state.registered and mark is None:
            raise Refused(
                f"the tables of this folder are in the catalog of {target.warehouse} already, from an earlier promotion"
                ", and the folder was used since: promote to another target"
            )
        if state.registered:  # it was interrupted after that
            await self._check_records(promotion)
            return self._end(Outcome(plan), promotion)
        name = target.settings.catalog_name
        with open_journal(path, warehouse=target.warehouse, catalog=target.catalog, name=name) as journal:
            return await self._run(plan, journal)

    async def _run(self, plan: Plan, journal: Journal) -> Outcome:
        existing = await self._check_target(plan, journal.promotion, journal.stored)
        forget_lost(journal, existing)
        journal.begin(plan.files)
        outcome = Outcome(plan)
        await self._transfer.copy(plan, journal, existing)
        outcome.copied = self._progress.copied
        outcome.removed = await remove_stale(self._bucket, journal, plan)
        outcome.checked = await self._transfer.compare(plan, journal)
        await copy_upload_keys(self._directory.state_db, self._bucket)
        if self._records is not None:
            self._progress.begin("copying traces and operations", 0)
            outcome.records = await self._records.copy(self._directory, journal.promotion)
        await self._switch(plan, journal.promotion)
        return self._end(outcome, journal.promotion)

    async def _read_plan(self) -> Plan:
        entries: list[CatalogEntry] = await self._list_entries()
        self._progress.begin("reading the tables", len(entries))
        tables: list[TableSource] = []
        for entry in entries:
            tables.append(await self._process.call(messages.ReadTable(entry=entry), TableSource))
            self._progress.advance()
        plan = make_plan(tables, await self._objects.list())
        if long := plan.find_long_keys(self._target.settings.prefix):
            raise Refused(f"{len(long)} keys are too long for the prefix of the target, such as {long[0]}")
        return plan

    async def _list_entries(self) -> list[CatalogEntry]:
        if not self._directory.catalog_db.exists():
            return []
        entries: list[CatalogEntry] = await self._process.call(messages.ListEntries(), list[CatalogEntry])
        return entries

    async def _read_catalog(self, plan: Plan, promotion: str) -> CatalogState:
        entries = [table.entry for table in plan.tables]
        request = messages.CheckCatalog(entries=entries, promotion=promotion)
        state: CatalogState = await self._process.call(request, CatalogState)
        return state

    async def _check_catalog(self, plan: Plan, promotion: str) -> CatalogState:
        """What the target's catalog has. Raises Refused for other tables with the names of this lake."""
        state = await self._read_catalog(plan, promotion)
        if state.conflicts:
            names = ", ".join(state.conflicts[:3])
            more = " and more" if len(state.conflicts) > 3 else ""
            raise Refused(
                f"the catalog of the target has tables with the names of this lake: {names}{more}. Rename them on one"
                " side, or name another catalog and prefix"
            )
        return state

    async def _check_target(self, plan: Plan, promotion: str, stored: Mapping[str, Stored]) -> Mapping[str, Found]:
        """Look whether the warehouse can take the lake. Returns what it has."""
        self._progress.begin("looking at the target", 0)
        if self._records is not None:
            await self._records.check(promotion)
        existing = await list_target(self._bucket)
        await check_owner(self._bucket, self._target.settings)
        await check_keys(self._bucket, promotion, plan.files, existing, stored)
        return existing

    async def _switch(self, plan: Plan, promotion: str) -> None:
        self._progress.begin("registering the tables", 0)
        write_mark(self._directory.path, self._target.make_mark("switching", promotion))
        entries = [table.entry for table in plan.tables]
        try:
            await self._process.call(messages.Register(entries=entries, promotion=promotion), int)
        except Refused:
            if self._target.is_sql or not (await self._read_catalog(plan, promotion)).found:  # none is registered
                remove_mark(self._directory.path)
            raise
        except ErrUpstream as error:
            raise ErrUpstream(
                f"{error.message}; the tables may be registered or not: promote again, which finds out, and until then"
                " no service opens the folder"
            ) from None

    def _end(self, outcome: Outcome, promotion: str) -> Outcome:
        outcome.mark = self._target.make_mark("promoted", promotion)
        write_mark(self._directory.path, outcome.mark)
        return outcome

    async def _end_again(self, plan: Plan, mark: Promoted) -> Outcome:
        if self._target.is_sql and not (await self._check_catalog(plan, mark.promotion)).registered:
            raise Refused(
                f"the lake was promoted to {mark.warehouse} at {mark.time}, but its catalog does not have the tables"
                " any more: restore the catalog, or delete promoted.json and promotion.db to promote again"
            )
        await self._check_records(mark.promotion)
        return Outcome(plan, again=True, mark=mark)

    async def _check_records(self, promotion: str) -> None:
        """Refuse a database without the traces, which the configuration must not name."""
        if self._records is not None:
            await self._records.check_copied(promotion)


@asynccontextmanager
async def open_promotion(path: Path, target: Target, progress: Progress) -> AsyncIterator[Promotion]:
    """Lock the folder, for the length of the block. Raises LakeError if there is no lake, or a process uses it."""
    if not (path / LAYOUT_NAME).exists():
        raise Refused(f"there is no lake in the folder {path}: name its folder as lake.path, or with --lake")
    async with AsyncExitStack() as stack:
        directory = await stack.enter_async_context(open_directory(path))
        objects = stack.enter_context(open_objects(directory))
        bucket = make_bucket(target.settings)
        stack.callback(bucket.close)
        records = None if target.records is None else Records(target.records)
        if records is not None:
            stack.callback(records.close)
        settings = PromotionSettings(directory=str(directory.path), target=target.settings)
        process = await stack.enter_async_context(open_process(settings))
        yield Promotion(directory, target, process, bucket, objects, records, progress)
