"""The registration of tables in a REST catalog, one after the other: what it does again, and what it refuses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pyiceberg.exceptions import BadRequestError, NoSuchTableError, TableAlreadyExistsError

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.promotion import rest_target
from lakehouse.services.promotion.messages import CatalogEntry


class ScriptedCatalog:
    """A catalog with tables by their names, which have identities; some cannot be registered, or get others."""

    def __init__(self, tables: dict[tuple[str, ...], str], refused: str = "", forgotten: str = "") -> None:
        self.tables = tables
        self._forgotten = forgotten
        self.namespaces: list[tuple[str, ...]] = []
        self.storage = SimpleNamespace(locate=lambda path: f"s3://b/{path}")
        self._refused = refused

    def load_table(self, where: tuple[str, ...]) -> Any:
        if where not in self.tables:
            raise NoSuchTableError(str(where))
        path = self.tables[where]
        uuid = "another" if where[-1] == self._forgotten else path
        return SimpleNamespace(metadata=SimpleNamespace(table_uuid=uuid), metadata_location=f"s3://b/{path}")

    def list_names(self) -> list[str]:
        return ["/".join(where).removeprefix("main/") for where in self.tables]

    def ensure_namespace(self, namespace: tuple[str, ...]) -> None:
        self.namespaces.append(namespace)

    def register_table(self, where: tuple[str, ...], location: str) -> None:
        if where[-1] == self._refused:
            raise BadRequestError("not here")
        if where in self.tables:
            raise TableAlreadyExistsError
        self.tables[where] = location.removeprefix("s3://b/")

    def drop_table(self, where: tuple[str, ...]) -> None:
        del self.tables[where]


def make_entry(namespace: str, table: str, *, dropped: bool = False) -> CatalogEntry:
    """An entry whose metadata file is at a path that is the identity of its table as well."""
    shown = table if namespace == "main" else f"{namespace.replace('.', '/')}/{table}"
    return CatalogEntry(namespace=namespace, table=table, location=f"{namespace}-{table}", shown=shown, dropped=dropped)


@pytest.fixture(autouse=True)
def identities(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_metadata(_catalog: object, location: str) -> Any:
        return SimpleNamespace(metadata=SimpleNamespace(table_uuid=location))

    monkeypatch.setattr(rest_target, "open_metadata", open_metadata)


ENTRIES = [make_entry("main", "a"), make_entry("x.y", "b")]


def check(tables: dict[tuple[str, ...], str], entries: list[CatalogEntry]) -> tuple[bool, int, tuple[str, ...]]:
    catalog: Any = ScriptedCatalog(tables)
    source: Any = None
    state = rest_target.check_rest(catalog, source, entries)
    return state.registered, state.found, state.conflicts


def test_tables_are_recognized_by_their_identity() -> None:
    own = {("main", "a"): "main-a", ("x", "y", "b"): "x.y-b"}
    assert check({}, ENTRIES) == (False, 0, ())
    assert check(own, ENTRIES) == (True, 2, ())
    assert check({("main", "a"): "main-a", ("other",): "z"}, ENTRIES) == (False, 1, ())
    assert check({("main", "a"): "of another table"}, ENTRIES) == (False, 0, ("a",))
    assert check({("main", "A"): "of another table"}, ENTRIES) == (False, 0, ("a",))
    with pytest.raises(CallError, match=r"dropped tables cannot be promoted to a REST catalog, .*dropped/gone"):
        check({}, [make_entry("lakehouse.dropped", "gone", dropped=True)])


def test_those_that_are_there_are_not_registered_again() -> None:
    catalog: Any = ScriptedCatalog({("main", "a"): "main-a"})
    source: Any = None
    assert rest_target.register_rest(catalog, source, ENTRIES) == 2
    assert catalog.tables == {("main", "a"): "main-a", ("x", "y", "b"): "x.y-b"}
    assert catalog.namespaces == [("x", "y")]


def test_the_first_that_is_refused_ends_it() -> None:
    source: Any = None
    refusing: Any = ScriptedCatalog({}, refused="b")
    with pytest.raises(CallError, match="the catalog does not register x/y/b: not here"):
        rest_target.register_rest(refusing, source, ENTRIES)
    assert list(refusing.tables) == [("main", "a")]
    taken: Any = ScriptedCatalog({("x", "y", "b"): "made meanwhile"})
    with pytest.raises(CallError, match="the catalog has got a table of the same name meanwhile: x/y/b"):
        rest_target.register_rest(taken, source, ENTRIES)
    assert taken.tables == {("main", "a"): "main-a", ("x", "y", "b"): "made meanwhile"}


def test_a_table_that_gets_other_metadata_is_removed_again() -> None:
    source: Any = None
    catalog: Any = ScriptedCatalog({}, forgotten="b")
    with pytest.raises(CallError, match=r"registered x/y/b by the file s3://b/x\.y-b, and answers with other metadata"):
        rest_target.register_rest(catalog, source, ENTRIES)
    assert list(catalog.tables) == [("main", "a")]
