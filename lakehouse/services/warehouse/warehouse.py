"""The open warehouse of a lake: the bucket and its data files, or nothing for a lake in its folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from lakehouse.config import LakeTable
from lakehouse.services.contracts.tables import IN_FOLDER, LocalFiles
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.lake.errors import LakeError
from lakehouse.services.lake.promoted import refuse_promoted
from lakehouse.services.warehouse.bucket import Bucket, make_bucket
from lakehouse.services.warehouse.configured import find_problem
from lakehouse.services.warehouse.data_files import WarehouseFiles
from lakehouse.services.warehouse.file_cache import FileCache
from lakehouse.services.warehouse.settings import WarehouseSettings


@dataclass(frozen=True, slots=True)
class Warehouse:
    """Where objects and data files are. Without a bucket, everything is in the folder of the lake."""

    bucket: Bucket | None = None
    files: WarehouseFiles | None = None

    @property
    def local_files(self) -> LocalFiles:
        """How data files get to the local disk."""
        return IN_FOLDER if self.files is None else self.files


@asynccontextmanager
async def open_warehouse(
    settings: WarehouseSettings | None, directory: LakeDirectory, lake: LakeTable
) -> AsyncIterator[Warehouse]:
    """The warehouse for the length of the block. No connection is opened before one is needed.

    Data files that an earlier process has fetched are used again. Raises LakeError if a package is missing, and for a
    folder without a warehouse whose tables were promoted to one.
    """
    if settings is None:
        refuse_promoted(directory.path)
        yield Warehouse()
        return
    if problem := find_problem(lake):
        raise LakeError(problem)
    bucket = make_bucket(settings)
    try:
        cache = await trio.to_thread.run_sync(FileCache, directory.cache, lake.cache)
        yield Warehouse(bucket, WarehouseFiles(bucket, directory, cache))
    finally:
        bucket.close()
