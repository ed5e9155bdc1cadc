"""The registration of tables in a REST catalog, one after the other: what it does again, and what it refuses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pyiceberg.exceptions import NoSuchTableError, RESTError

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.promotion import target_catalog
from lakehouse.services.promotion.messages import CatalogEntry


class ScriptedCatalog:
    """A catalog with tables by their names, which have identities; some cannot be registered."""

    def __init__(self, tables: dict[tuple[str, ...], str], refused: str = "") -> None:
        self.tables = tables
        self.namespaces: list[tuple[str, ...]] = []
        self.storage = SimpleNamespace(locate=lambda path: f"s3://b/{path}")
        self._refused = refused

    def load_table(self, where: tuple[str, ...]) -> Any:
        if where not in self.tables:
            raise NoSuchTableError(str(where))
        return SimpleNamespace(metadata=SimpleNamespace(table_uuid=self.tables[where]))

    def list_names(self) -> list[str]:
        return ["/".join(where).removeprefix("main/") for where in self.tables]

    def ensure_namespace(self, namespace: tuple[str, ...]) -> None:
        self.namespaces.append(namespace)

    def register_table(self, where: tuple[str, ...], location: str) -> None:
        if where[-1] == self._refused:
            raise RESTError("not here")
        self.tables[where] = location.removeprefix("s3://b/")


def make_entry(namespace: str, table: str, *, dropped: bool = False) -> CatalogEntry:
    """An entry whose metadata file is at a path that is the identity of its table as well."""
    shown = table if namespace == "main" else f"{namespace.replace('.', '/')}/{table}"
    return CatalogEntry(namespace=namespace, table=table, location=f"{namespace}-{table}", shown=shown, dropped=dropped)


@pytest.fixture(autouse=True)
def identities(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_metadata(_catalog: object, location: str) -> Any:
        return SimpleNamespace(metadata=SimpleNamespace(table_uuid=location))

    monkeypatch.setattr(target_catalog, "open_metadata", open_metadata)


ENTRIES = [make_entry("main", "a"), make_entry("x.y", "b")]


def check(tables: dict[tuple[str, ...], str], entries: list[CatalogEntry]) -> tuple[bool, tuple[str, ...]]:
    catalog: Any = ScriptedCatalog(tables)
    source: Any = None
    state = target_catalog._check_rest(catalog, source, entries)
    return state.registered, state.conflicts


def test_tables_are_recognized_by_their_identity() -> None:
    own = {("main", "a"): "main-a", ("x", "y", "b"): "x.y-b"}
    assert check({}, ENTRIES) == (False, ())
    assert check(own, ENTRIES) == (True, ())
    assert check({("main", "a"): "main-a", ("other",): "z"}, ENTRIES) == (False, ())
    assert check({("main", "a"): "of another table"}, ENTRIES) == (False, ("a",))
    assert check({("main", "A"): "of another table"}, ENTRIES) == (False, ("a",))
    with pytest.raises(CallError, match=r"dropped tables cannot be promoted to a REST catalog, .*dropped/gone"):
        check({}, [make_entry("lakehouse.dropped", "gone", dropped=True)])


def test_those_that_are_there_are_not_registered_again() -> None:
    catalog: Any = ScriptedCatalog({("main", "a"): "main-a"})
    source: Any = None
    assert target_catalog._register_rest(catalog, source, ENTRIES) == 2
    assert catalog.tables == {("main", "a"): "main-a", ("x", "y", "b"): "x.y-b"}
    assert catalog.namespaces == [("x", "y")]
    refusing: Any = ScriptedCatalog({}, refused="b")
    with pytest.raises(CallError, match="the catalog does not register x/y/b: not here"):
        target_catalog._register_rest(refusing, source, ENTRIES)
    assert list(refusing.tables) == [("main", "a")]
