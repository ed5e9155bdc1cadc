"""The metadata of tables with other locations: what was written is read from another folder, at every snapshot."""

from __future__ import annotations

import json
import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.tables import ColumnChanges
from lakehouse.services.promotion.child import list_entries, read_source
from lakehouse.services.promotion.locations import Move
from lakehouse.services.promotion.messages import CatalogEntry
from lakehouse.services.promotion.rewriting import rewrite_table
from lakehouse.services.promotion.table_checks import TableChecks
from lakehouse.services.promotion.table_files import read_graph
from lakehouse.services.tables.catalog import open_catalog
from lakehouse.services.tables.file_io import DurableFileIO
from lakehouse.services.tables.messages import TablesSettings
from lakehouse.services.tables.storage import LocalStorage
from tests.services.tables.deletes import commit_deletes, write_position_deletes
from tools.kit.lake_tables import ScratchLake, in_shared_lake

ROWS = "SELECT i AS id, 'x' || i AS word FROM range({}, {}) r(i)"


class MovedStorage(LocalStorage):
    """The files of a lake in another folder, with absolute locations."""

    def __init__(self, root: str) -> None:
        self._root = root

    def locate(self, path: str) -> str:
        return self._root + path

    def resolve(self, location: str) -> str:
        assert location.startswith(self._root), location
        return location.removeprefix(self._root)


class MovedCatalog:
    """As much of a catalog as the comparison of tables needs."""

    def __init__(self, root: str) -> None:
        self.storage = MovedStorage(root)

    def supports_server_side_planning(self) -> bool:
        return False

    def _load_file_io(self, properties: object = None, location: str | None = None) -> DurableFileIO:
        return DurableFileIO({})


def move_table(entry: CatalogEntry, target: Path) -> None:
    """Write a table for the folder `target`, with its data."""
    graph = read_graph(entry.location, entry.shown)
    written = rewrite_table(graph, Move(f"{target}/"), target)
    assert sorted(written) == sorted(
        str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()
    )  # and nothing else
    for path in graph.list_copied():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target / path)


def compare(entry: CatalogEntry, target: Path, max_bytes: int = 2**20) -> Any:
    moved: Any = MovedCatalog(f"{target}/")
    source = open_catalog(TablesSettings(directory=".", retention=0))
    return TableChecks(source, moved).check(entry.location, entry.shown, max_bytes=max_bytes)


@pytest.mark.extended
@in_shared_lake
async def test_a_table_with_a_history_is_the_same_in_another_folder(lake: ScratchLake) -> None:
    tables = lake.tables
    first = (await lake.write("a/b", ROWS.format(0, 10))).manifest
    await lake.write("a/b", ROWS.format(10, 20))
    await tables.change_columns("a/b", ColumnChanges(add=[Column(name="n", type="INTEGER")]))
    await tables.change_columns("a/b", ColumnChanges(rename=[("word", "text")]))
    await tables.tag("a/b", "first", first.snapshot_id)
    await tables.rename("a/b", "c.d")
    await tables.restore("c.d", first.snapshot_id)
    await lake.write("c.d", ROWS.format(50, 51))
    with chdir(lake.path):
        (entry,) = list_entries()
        target = lake.path / "staging" / "moved"
        move_table(entry, target)
        checked = compare(entry, target)
        source = read_source(entry)
    assert (source.snapshots, source.tags, source.rows) == (6, 1, 11)
    assert (len(checked.snapshots), checked.rows, checked.hashed) == (6, 11, True)
    metadata = json.loads((target / entry.location).read_bytes())
    assert metadata["location"] == f"{target}/datasets/c.d"
    assert "datasets" not in json.dumps(metadata).replace(f"{target}/datasets", "")
    assert len(metadata["metadata-log"]) == 7
    with chdir(lake.path):
        assert compare(entry, target, max_bytes=0).rows == 11  # by the footers of the files
        for path in source.files[:1]:
            (target / path.path).write_bytes(b"")
        with pytest.raises(Exception, match="Parquet file size is 0 bytes"):
            compare(entry, target)


@in_shared_lake
async def test_position_deletes_of_another_engine_apply_in_the_other_folder(lake: ScratchLake) -> None:
    await lake.write("t", ROWS.format(0, 3))
    data = (await lake.write("t", ROWS.format(3, 6))).manifest.objects[1].key
    path = write_position_deletes(lake, data, 0, 2)
    commit_deletes(lake, "POSITION_DELETES", path, 2, only=data)
    assert (await lake.tables.plan("t")).row_count == 4
    with chdir(lake.path):
        (entry,) = list_entries()
        target = lake.path / "staging" / "deletes"
        move_table(entry, target)
        checked = compare(entry, target)
    assert checked.rows == 4
    assert checked.hashed
    assert checked.claims[path] == (target / path).stat().st_size
    moved = lake.connection.execute(f"SELECT DISTINCT file_path FROM '{target / path}'").fetchall()
    assert moved == [(f"{target}/{data}",)]


@in_shared_lake
async def test_what_cannot_be_moved_is_refused_by_name(lake: ScratchLake) -> None:
    await lake.write("t", ROWS.format(0, 3))
    write_position_deletes(lake, "x", 0)
    commit_deletes(lake, "POSITION_DELETES", "file:///etc/passwd", 1)
    with chdir(lake.path):
        (entry,) = list_entries()
        with pytest.raises(CallError, match=r"a data file of t is at 'file:///etc/passwd', which is not in the folder"):
            read_source(entry)
    await lake.tables.drop("t")
    await lake.write("u", ROWS.format(0, 3))
    with chdir(lake.path):
        dropped, entry = list_entries()
        assert (dropped.shown, dropped.dropped, entry.shown) == ("t (dropped)", True, "u")
        next(Path("datasets/u/data").iterdir()).unlink()
        with pytest.raises(
            CallError, match=r"the file datasets/u/data/.* is missing: the table that names it is damag"
        ):
            read_source(entry)


def test_locations_outside_of_the_tables_are_refused(tmp_path: Path) -> None:
    with chdir(tmp_path):
        move = Move("s3://b/p/")
        assert move.move(f"file:{tmp_path}/datasets/t", "x") == "s3://b/p/datasets/t"
        for location in ("/etc/passwd", "s3://other/datasets/t", "objects/a", "datasets/../objects/a"):
            with pytest.raises(CallError, match=r"x is at .* which is not in the folder of the tables"):
                move.move(location, "x")
            assert move.try_move(location) == location
