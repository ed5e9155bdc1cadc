"""What two programs do to one table at the same moment: the later one is told, and destroys nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError
from pyiceberg.schema import Schema

from lakehouse.services.tables.call_errors import EXPECTED, explain_failure
from lakehouse.services.tables.catalog import TABLE_PROPERTIES, list_dropped
from lakehouse.services.tables.describe import ManifestCache
from lakehouse.services.tables.expiry import Expiry
from lakehouse.services.tables.lifecycle import drop_table, rename_table, restore
from lakehouse.services.tables.messages import Restore
from lakehouse.services.tables.names import DROPPED
from tests.services.tables.deletes import make_catalog

NAME = ("main", "t")
LATER = 2**62


@pytest.fixture
def catalogs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """The catalogs of two programs, with two tables of one snapshot each."""
    monkeypatch.chdir(tmp_path)
    with closing(make_catalog()) as one, closing(make_catalog()) as other:
        one.create_namespace("main")
        for name in ("t", "u"):
            table = one.create_table(("main", name), Schema(), location=f"datasets/{name}", properties=TABLE_PROPERTIES)
            with table.transaction() as transaction:
                transaction.update_snapshot().fast_append().commit()
        yield one, other


def do_before(monkeypatch: pytest.MonkeyPatch, catalog: Any, method: str, other: Callable[[], object]) -> None:
    """Let another program do something just before a method of the catalog is called."""
    original = getattr(catalog, method)

    def call(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(catalog, method, original)
        other()
        return original(*arguments, **options)

    monkeypatch.setattr(catalog, method, call)


def test_a_table_that_is_dropped_twice(catalogs: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = catalogs
    do_before(monkeypatch, one, "rename_table", lambda: drop_table(other, "t"))
    with pytest.raises(NoSuchTableError):
        drop_table(one, "t")
    assert len(list_dropped(one, "t")) == 1


def test_a_name_that_two_tables_get(catalogs: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = catalogs
    do_before(monkeypatch, one, "rename_table", lambda: rename_table(other, "u", "v"))
    with pytest.raises(TableAlreadyExistsError):
        rename_table(one, "t", "v")


def test_a_dropped_table_that_is_restored_while_it_expires(
    catalogs: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = catalogs
    dropped = drop_table(other, "t")
    assert dropped is not None
    before = sorted(Path("datasets").rglob("*.avro"))
    request = Restore(name="t", snapshot_id=dropped.snapshot_id)
    do_before(monkeypatch, one, "drop_table", lambda: restore(other, request))
    expiry = Expiry(one, ManifestCache(), retention=60, max_snapshots=100)
    assert expiry.expire_dropped(LATER).tables == 0
    assert sorted(Path("datasets").rglob("*.avro")) == before != []
    assert one.load_table(NAME).metadata.current_snapshot() is not None


def test_the_errors_have_statuses() -> None:
    for error, kind in ((NoSuchTableError("x"), "not found"), (TableAlreadyExistsError("x"), "conflict")):
        assert isinstance(error, EXPECTED)
        for shared in (False, True):
            explained = explain_failure(error, shared=shared)
            assert explained is not None
            assert (explained.failure.kind, "another program" in str(explained)) == (kind, True)


def test_a_namespace_that_two_programs_make(catalogs: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = catalogs
    other.create_namespace(DROPPED)
    monkeypatch.setattr(one, "namespace_exists", lambda _namespace: False)  # as it was a moment ago
    one.create_namespace_if_not_exists(DROPPED)
