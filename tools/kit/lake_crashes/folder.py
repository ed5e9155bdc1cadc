"""The folder of a lake that no process has open: what must not be in it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.config import Config
from lakehouse.services.lake.directory import open_lake_directory
from lakehouse.services.tables import messages
from lakehouse.services.tables.client import open_tables
from tools.kit.lake_crashes.report import CrashReport

if TYPE_CHECKING:
    from pyiceberg.io.pyarrow import PyArrowFile

TOP = frozenset({
    "lake.lock", "lake.json", "objects", "objects.db", "datasets", "catalog.db", "state.db", "staging", "spill",
    "vectors", "pathway.db", "observer.db", "system.db", "system", "cache",
})  # fmt: skip


def check_folder(lake: Path, report: CrashReport) -> None:
    """Compare the files of a lake that was closed with its two databases."""
    report.checks["folders"] += 1
    names = {entry.name for entry in lake.iterdir()}
    if unknown := {name for name in names if name.removesuffix("-wal").removesuffix("-shm") not in TOP}:
        report.wrong.append(f"unknown files in the lake: {sorted(unknown)}")
    for place in ("staging", "spill"):
        if left := [entry.name for entry in (lake / place).iterdir()]:
            report.wrong.append(f"{len(left)} entries are left in {place}/")
    stored = {path.name for path in (lake / "objects").rglob("*") if path.is_file()}
    with closing(sqlite3.connect(lake / "objects.db")) as database:
        named = {name for (name,) in database.execute("SELECT blob FROM objects WHERE blob IS NOT NULL")}
        unused = database.execute(
            "SELECT count(*) FROM contents WHERE id NOT IN (SELECT content FROM objects WHERE content IS NOT NULL)"
        ).fetchone()[0]
    if stored != named or unused:
        report.wrong.append(
            f"objects/ has {len(stored - named)} files too many and {len(named - stored)} too few;"
            f" {unused} contents of the index are not used"
        )


async def sweep_datasets(lake: Path, report: CrashReport) -> None:
    """Run the sweep of `datasets/` as if a day had passed; what it leaves must be what the catalog uses, all of it.

    In the service, the sweep leaves files alone for 24 hours after they were written: another program may be about to
    commit them. So the files of killed commits wait there for a day.
    """
    before = _list_files(lake)
    with open_lake_directory(lake) as directory:
        async with open_tables(directory, Config().lake) as tables:
            tomorrow = time.time_ns() // 1_000_000 + 86_400_000
            await tables.process.call(messages.Sweep(before_ms=tomorrow), messages.Expired)
    after, used = _list_files(lake), set(_list_used(lake))
    report.checks["files in datasets/"] += len(after)
    report.checks["files of killed commits, swept"] += len(before - after)
    if after - used:
        report.wrong.append(f"{len(after - used)} files that no table uses are left: {sorted(after - used)[:3]}")
    if used - after:
        report.wrong.append(f"{len(used - after)} files that a table uses are missing: {sorted(used - after)[:3]}")


def _list_files(lake: Path) -> set[str]:
    return {str(path.relative_to(lake)) for path in (lake / "datasets").rglob("*") if path.is_file()}


def _list_used(lake: Path) -> Iterator[str]:
    """The files of all tables and dropped tables, read from the catalog, the metadata and the manifests."""
    from pyiceberg.io.pyarrow import PyArrowFileIO
    from pyiceberg.manifest import read_manifest_list
    from pyiceberg.table.metadata import TableMetadataUtil

    class LakeFileIO(PyArrowFileIO):
        def new_input(self, location: str) -> PyArrowFile:
            return super().new_input(str(lake / location))

    with closing(sqlite3.connect(lake / "catalog.db")) as database:
        locations = [str(location) for (location,) in database.execute("SELECT metadata_location FROM iceberg_tables")]
    io = LakeFileIO()
    for location in locations:
        yield location
        metadata = TableMetadataUtil.parse_raw((lake / location).read_text())
        yield from (entry.metadata_file for entry in metadata.metadata_log)
        for snapshot in metadata.snapshots:
            yield snapshot.manifest_list
            for manifest in read_manifest_list(io.new_input(snapshot.manifest_list)):
                yield manifest.manifest_path
                yield from (entry.data_file.file_path for entry in manifest.fetch_manifest_entry(io))
