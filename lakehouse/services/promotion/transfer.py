"""The files of a lake on their way: copied to the bucket, and compared there with what the folder has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.promotion import messages
from lakehouse.services.promotion.copying import Content, Copying
from lakehouse.services.promotion.journal import Journal
from lakehouse.services.promotion.lake_objects import LakeObjects
from lakehouse.services.promotion.messages import CheckedTable
from lakehouse.services.promotion.plan import Plan, PlannedFile
from lakehouse.services.promotion.process import PromotionProcess, Refused
from lakehouse.services.promotion.progress import Progress
from lakehouse.services.promotion.target_objects import Found, check_stored
from lakehouse.services.warehouse.bucket import Bucket

HASHED_BYTES = 64 * 2**20
"""Bytes of the newest data files of a table up to which all of its values are compared."""


class Transfer:
    """Copies and compares the files of one lake."""

    def __init__(
        self,
        directory: LakeDirectory,
        objects: LakeObjects,
        process: PromotionProcess,
        bucket: Bucket,
        progress: Progress,
    ) -> None:
        self._directory = directory
        self._objects = objects
        self._process = process
        self._bucket = bucket
        self._progress = progress

    async def copy(self, plan: Plan, journal: Journal, existing: Mapping[str, Found]) -> None:
        """Copy what is not there yet, the metadata of tables last. Raises Refused, and what the bucket raises."""
        self._progress.begin("copying", len(plan.files), plan.size)
        copying = Copying(self._bucket, journal, existing, self._progress)
        async with self._directory.stage() as folder:
            find = partial(self._find_content, folder)
            await copying.copy_all([file for file in plan.files.values() if not file.rewritten], find)
            for table in plan.tables:
                request = messages.RewriteTable(entry=table.entry, folder=str(folder))
                paths: list[str] = await self._process.call(request, list[str])
                await copying.copy_all([plan.files[path] for path in paths], find)

    async def _find_content(self, folder: Path, file: PlannedFile) -> Content:
        if file.is_object:
            return await self._objects.find(file.key)
        return (folder if file.rewritten else self._directory.path) / file.key

    async def compare(self, plan: Plan, journal: Journal) -> dict[str, CheckedTable]:
        """Compare what was stored, and the tables. Returns what was found of each. Raises Refused for a difference."""
        self._progress.begin("comparing", len(plan.tables))
        sizes = await check_stored(self._bucket, journal, plan)
        checked: dict[str, CheckedTable] = {}
        for table in plan.tables:
            request = messages.CheckTable(entry=table.entry, max_bytes=HASHED_BYTES)
            found: CheckedTable = await self._process.call(request, CheckedTable)
            for path, size in found.claims.items():
                if sizes.get(path) != size:
                    raise Refused(
                        f"the check failed, and nothing was switched: {table.entry.shown} says that {path} has {size}"
                        f" bytes, and the object has {sizes.get(path)}"
                    )
            checked[table.entry.location] = found
            self._progress.advance()
        return checked
