"""The catalog of a folder, beside pyiceberg's own catalog in SQL on the same database."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import LongType, NestedField

from lakehouse.services.tables.catalog import open_folder_catalog
from lakehouse.services.tables.folder_catalog import FolderCatalog

SCHEMA = Schema(NestedField(1, "id", LongType(), required=False))


@contextmanager
def open_foreign() -> Iterator[SqlCatalog]:
    """pyiceberg's catalog of the folder, as another program opens it."""
    with closing(SqlCatalog("lake", uri="sqlite:///catalog.db", warehouse="datasets")) as catalog:
        yield catalog


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FolderCatalog]:
    """The catalog of a new folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    with closing(open_folder_catalog()) as opened:
        yield opened


@pytest.fixture
def table(catalog: FolderCatalog) -> Table:
    """The table `a.b.t`, which pyiceberg's catalog has made."""
    with open_foreign() as foreign:
        foreign.create_namespace("a.b")
        foreign.create_table("a.b.t", SCHEMA, location="datasets/a/b/t")
    return catalog.load_table("a.b.t")


def read_layout(file: str) -> list[object]:
    """The columns of a database, with their types, and which are in the primary key."""
    with closing(sqlite3.connect(file)) as database:
        tables = ("iceberg_tables", "iceberg_namespace_properties")
        return [row for table in tables for row in database.execute(f"PRAGMA table_info({table})")]


def test_the_layout_is_that_of_pyiceberg(catalog: FolderCatalog) -> None:
    with closing(SqlCatalog("lake", uri="sqlite:///other.db", warehouse="datasets")):
        assert read_layout("catalog.db") == read_layout("other.db")
    assert len(read_layout("catalog.db")) == 10


def test_a_table_of_pyiceberg_is_found_changed_and_read_by_it_again(catalog: FolderCatalog, table: Table) -> None:
    before = table.metadata_location
    table.transaction().set_properties(owner="one").commit_transaction()
    assert catalog.list_current() == {"a/b/t": table.metadata_location}
    assert catalog.find_location("a/b/t") == table.metadata_location != before
    with open_foreign() as foreign:
        assert foreign.load_table("a.b.t").properties["owner"] == "one"
    with closing(sqlite3.connect("catalog.db")) as database:
        found = database.execute("SELECT previous_metadata_location FROM iceberg_tables").fetchall()
    assert found == [(before,)]


def test_a_change_that_pyiceberg_has_made_meanwhile_is_not_lost(catalog: FolderCatalog, table: Table) -> None:
    with open_foreign() as foreign:
        foreign.load_table("a.b.t").transaction().set_properties(owner="other").commit_transaction()
    with pytest.raises(CommitFailedException):
        catalog._publish(table.name(), table.metadata_location, "datasets/a/b/t/metadata/late.json")
    assert catalog.load_table("a.b.t").properties["owner"] == "other"


def test_a_new_table_of_a_name_that_is_taken(catalog: FolderCatalog, table: Table) -> None:
    with pytest.raises(TableAlreadyExistsError):
        catalog._publish(table.name(), "", "datasets/a/b/t/metadata/late.json")
    assert catalog.find_location("a/b/t") == table.metadata_location


@pytest.mark.parametrize(
    "change",
    [
        lambda catalog: catalog.rename_table("a.b.u", "a.b.v"),
        lambda catalog: catalog.drop_table("a.b.u"),
        lambda catalog: catalog.load_table("a.b.u"),
        lambda catalog: catalog.rename_table("b.t", "a.b.v"),
    ],
    ids=["rename", "drop", "load", "rename in another namespace"],
)
@pytest.mark.usefixtures("table")
def test_a_table_that_is_not_there(catalog: FolderCatalog, change: Callable[[FolderCatalog], object]) -> None:
    with pytest.raises(NoSuchTableError):
        change(catalog)


def test_a_renamed_table_and_a_dropped_one(catalog: FolderCatalog, table: Table) -> None:
    assert catalog.rename_table("a.b.t", "main.u").metadata == table.metadata
    with open_foreign() as foreign:
        assert foreign.list_tables("main") == [("main", "u")]
        foreign.create_table("a.b.t", SCHEMA, location="datasets/a/b/t2")
        with pytest.raises(TableAlreadyExistsError):
            catalog.rename_table("a.b.t", "main.u")
        catalog.drop_table("main.u")
        assert not foreign.table_exists("main.u")
    assert catalog.list_tables(("a", "b")) == [("a", "b", "t")]


@pytest.mark.usefixtures("table")
def test_namespaces_and_their_properties(catalog: FolderCatalog) -> None:
    catalog.create_namespace_if_not_exists(("c", "d"))
    catalog.create_namespace_if_not_exists(("c", "d"))
    found = {name: catalog.namespace_exists(name) for name in ("a", "a.b", "a.b.t", "c", "c.d", "c.d.e", "a_b", "d")}
    assert [name for name, exists in found.items() if exists] == ["a", "a.b", "c", "c.d"]
    with open_foreign() as foreign:
        assert found == {name: foreign.namespace_exists(name) for name in found}
    assert catalog.list_properties() == [("a.b", "exists", "true"), ("c.d", "exists", "true")]


@pytest.mark.usefixtures("table")
def test_a_view_of_another_engine_is_no_table(catalog: FolderCatalog) -> None:
    with closing(sqlite3.connect("catalog.db")) as database, database:
        database.execute("INSERT INTO iceberg_tables VALUES ('lake', 'a.b', 'v', 'views/v.json', NULL, 'VIEW')")
    assert catalog.list_names() == ["a/b/t"]
    assert catalog.find_location("a/b/v") is None
    assert ("views/v.json", False) in catalog.list_locations()
    with pytest.raises(NoSuchTableError):
        catalog.drop_table("a.b.v")


def test_metadata_is_parsed_once(catalog: FolderCatalog, table: Table) -> None:
    assert catalog.load_table("a.b.t").metadata is table.metadata
    table.transaction().set_properties(owner="one").commit_transaction()
    assert catalog.load_table("a.b.t").metadata is table.metadata


def test_the_child_of_a_folder_starts_without_what_a_shared_catalog_or_a_commit_needs() -> None:
    """Their imports take more processor time than all others of the child."""
    program = (
        "import sys; import lakehouse.services.tables.child;"
        "print(*{'sqlalchemy', 'pyarrow', 'numpy', 'requests', 'psycopg2'} & {*sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert found.stdout.split() == []
