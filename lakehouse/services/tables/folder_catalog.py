"""The catalog of a folder: rows of an SQLite database in the layout of pyiceberg's `SqlCatalog`.

pyiceberg's class is built on SQLAlchemy, whose import is a third of the processor time in which the child starts. Here
a change is one statement of SQLite's module. Other programs read and write the same rows with their own catalogs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.table import CommitTableResponse, Table

from lakehouse.services.tables.kept_metadata import KeptMetadata
from lakehouse.services.tables.names import decode_name, encode_name
from lakehouse.services.tables.storage import Storage

if TYPE_CHECKING:
    from pyiceberg.table.update import TableRequirement, TableUpdate

    Identifier = str | tuple[str, ...]

_LAYOUT = (
    (
        "CREATE TABLE IF NOT EXISTS iceberg_tables (catalog_name VARCHAR(255) NOT NULL,"
        " table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000),"
        " previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5),"
        " PRIMARY KEY (catalog_name, table_namespace, table_name))"
    ),
    (
        "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (catalog_name VARCHAR(255) NOT NULL,"
        " namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255) NOT NULL, property_value VARCHAR(1000) NOT NULL,"
        " PRIMARY KEY (catalog_name, namespace, property_key))"
    ),
)
"""The tables as pyiceberg makes them."""

# A row without a type is a table; the others are views of other engines.
_LIST = (
    "SELECT table_namespace, table_name, metadata_location FROM iceberg_tables"
    " WHERE catalog_name = ? AND coalesce(iceberg_type, 'TABLE') = 'TABLE'"
)
_FIND = (
    "SELECT metadata_location FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?"
    " AND coalesce(iceberg_type, 'TABLE') = 'TABLE'"
)
_ENTRIES = (
    "SELECT metadata_location, coalesce(iceberg_type, 'TABLE') = 'TABLE' FROM iceberg_tables"
    " WHERE metadata_location IS NOT NULL"
)
_ADD = (
    "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)"
    " VALUES (?, ?, ?, ?, 'TABLE')"
)
_CHANGE = (
    "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ?"
    " WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND metadata_location = ?"
)
_RENAME = (
    "UPDATE iceberg_tables SET table_namespace = ?, table_name = ?"
    " WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND coalesce(iceberg_type, 'TABLE') = 'TABLE'"
)
_DROP = (
    "DELETE FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?"
    " AND coalesce(iceberg_type, 'TABLE') = 'TABLE'"
)
_FIND_NAMESPACE = (
    "SELECT 1 FROM (SELECT catalog_name, table_namespace AS namespace FROM iceberg_tables"
    " UNION ALL SELECT catalog_name, namespace FROM iceberg_namespace_properties)"
    " WHERE catalog_name = ? AND (namespace = ? OR substr(namespace, 1, ?) = ?) LIMIT 1"
)
_ADD_NAMESPACE = (
    "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value)"
    " VALUES (?, ?, 'exists', 'true')"
)
_PROPERTIES = "SELECT namespace, property_key, property_value FROM iceberg_namespace_properties WHERE catalog_name = ?"


class FolderCatalog(NoopCatalog, MetastoreCatalog):
    """The catalog in SQLite. What the lake does not use of pyiceberg's interface is `NoopCatalog`'s, and raises."""

    def __init__(self, name: str, storage: Storage, database: str, **properties: str) -> None:
        super().__init__(name, **properties)
        self.storage = storage
        self._kept = KeptMetadata()
        self._database = sqlite3.connect(database, isolation_level=None)  # each statement commits
        self._database.execute("PRAGMA journal_mode = WAL")  # kept in the file; its commits are synced by default
        for statement in _LAYOUT:
            self._database.execute(statement)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def ensure_namespace(self, namespace: tuple[str, ...]) -> None:
        """A namespace of a catalog in SQL is there with its first table."""

    def list_names(self) -> list[str]:
        """The names of all tables."""
        return list(self.list_current())

    def list_current(self) -> dict[str, str]:
        """The current metadata files of all tables, by name."""
        found: dict[str, str] = {}
        for namespace, table, location in self._database.execute(_LIST, (self.name,)):
            name = decode_name(namespace, table)
            if name is not None and location:
                found[name] = location
        return found

    def find_location(self, name: str) -> str | None:
        """The current metadata file of a table, None for an unknown table."""
        return self._find(*encode_name(name))

    def list_locations(self) -> list[tuple[str, bool]]:
        """The metadata files of all entries of the database, also of other catalogs in it, and which are tables."""
        return [(location, bool(is_table)) for location, is_table in self._database.execute(_ENTRIES)]

    def list_properties(self) -> list[tuple[str, str, str]]:
        """The properties of all namespaces: namespace, key, value."""
        return self._database.execute(_PROPERTIES, (self.name,)).fetchall()

    def load_table(self, identifier: Identifier) -> Table:
        """Load a table. Raises NoSuchTableError."""
        namespace, name = _split(identifier)
        location = self._find(namespace, name)
        if not location:
            raise NoSuchTableError(f"there is no table {namespace}.{name}, or it has no metadata")
        metadata = self._kept.load(location, self._load_file_io(location=location))
        return Table(
            identifier=(*namespace.split("."), name),
            metadata=metadata,
            metadata_location=location,
            io=self._load_file_io(metadata.properties, location),
            catalog=self,
        )

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Commit. Raises CommitFailedException, TableAlreadyExistsError if another program was quicker."""
        current = self.load_table(table.name()) if self._find(*_split(table.name())) else None
        staged = self._update_and_stage_table(current, table.name(), requirements, updates)
        if current is not None and staged.metadata == current.metadata:
            return _respond(current)
        self._write_metadata(staged.metadata, staged.io, staged.metadata_location)
        self._publish(table.name(), "" if current is None else current.metadata_location, staged.metadata_location)
        self._kept.keep(staged.metadata_location, staged.metadata)
        return _respond(staged)

    def _publish(self, identifier: Identifier, before: str, location: str) -> None:
        namespace, name = _split(identifier)
        if not before:
            self._change_row(_ADD, (self.name, namespace, name, location), f"{namespace}.{name}")
        elif not self._change_row(_CHANGE, (location, before, self.name, namespace, name, before)):
            raise CommitFailedException(f"{namespace}.{name} has been updated by another program")

    def rename_table(self, from_identifier: Identifier, to_identifier: Identifier) -> Table:
        """Rename a table. Raises NoSuchTableError, TableAlreadyExistsError."""
        before, after = _split(from_identifier), _split(to_identifier)
        if not self._change_row(_RENAME, (*after, self.name, *before), ".".join(after)):
            raise NoSuchTableError(f"there is no table {'.'.join(before)}")
        return self.load_table(to_identifier)

    def drop_table(self, identifier: Identifier) -> None:
        """Remove the row of a table. Raises NoSuchTableError."""
        if not self._change_row(_DROP, (self.name, *_split(identifier))):
            raise NoSuchTableError(f"there is no table {'.'.join(_split(identifier))}")

    def namespace_exists(self, namespace: Identifier) -> bool:
        """Whether there is a namespace, or a table in it or below it."""
        name = ".".join(self.identifier_to_tuple(namespace))
        values = (self.name, name, len(name) + 1, f"{name}.")
        return self._database.execute(_FIND_NAMESPACE, values).fetchone() is not None

    def create_namespace(self, namespace: Identifier, properties: object = None) -> None:  # noqa: ARG002
        """Create a namespace. Raises NamespaceAlreadyExistsError."""
        name = ".".join(self.identifier_to_tuple(namespace))
        if self.namespace_exists(namespace):
            raise NamespaceAlreadyExistsError(f"there is a namespace {name} already")
        self._database.execute(_ADD_NAMESPACE, (self.name, name))

    def list_tables(self, namespace: Identifier) -> list[tuple[str, ...]]:
        """The tables of a namespace."""
        wanted = self.identifier_to_tuple(namespace)
        rows = self._database.execute(_LIST, (self.name,))
        return [(*wanted, table) for found, table, _ in rows if found == ".".join(wanted)]

    def _find(self, namespace: str, table: str) -> str | None:
        found = self._database.execute(_FIND, (self.name, namespace, table)).fetchone()
        return None if found is None else found[0]

    def _change_row(self, statement: str, values: Sequence[str], new: str = "") -> bool:
        """Whether there was a row to change. Raises TableAlreadyExistsError if `new` is there already."""
        try:
            return self._database.execute(statement, values).rowcount > 0
        except sqlite3.IntegrityError as error:
            raise TableAlreadyExistsError(f"there is a table {new} already") from error


def _respond(table: Table) -> CommitTableResponse:
    values = {"metadata": table.metadata, "metadata-location": table.metadata_location}
    return CommitTableResponse.model_validate(values)


def _split(identifier: Identifier) -> tuple[str, str]:
    """The namespace as a row has it, and the name of a table."""
    *namespace, name = NoopCatalog.identifier_to_tuple(identifier)
    return ".".join(namespace), name
