"""Which metadata file of a table is current: read from the catalog's database without the child, or from a shared one.

The row changes with every commit of any program, so it says whether a kept state is still the newest one. The database
is in WAL mode: a reader never waits for a writer, and a look-up takes some ten microseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lakehouse.services.tables import messages
from lakehouse.services.tables.calls import TablesProcess
from lakehouse.services.tables.names import CATALOG, decode_name, encode_name

_CURRENT = (
    "SELECT metadata_location FROM iceberg_tables"
    " WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND coalesce(iceberg_type, 'TABLE') = 'TABLE'"
)
_ALL = (
    "SELECT table_namespace, table_name, metadata_location FROM iceberg_tables"
    " WHERE catalog_name = ? AND coalesce(iceberg_type, 'TABLE') = 'TABLE'"
)


class Locations(Protocol):
    """The current metadata files of the tables."""

    async def find(self, name: str) -> str | None:
        """That of a table, None for an unknown table."""

    async def list(self) -> dict[str, str]:
        """Those of all tables by name, in the order of their names."""

    def close(self) -> None:
        """Close what is open."""


class CatalogReader:
    """Reads the catalog's database; a database that does not exist yet has no tables."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    async def find(self, name: str) -> str | None:
        """The current metadata file of a table, None for an unknown table."""
        rows = self._query(_CURRENT, (CATALOG, *encode_name(name)))
        return rows[0][0] if rows else None

    async def list(self) -> dict[str, str]:
        """All tables by name, in the order of their names, with their current metadata files."""
        found: dict[str, str] = {}
        for namespace, table, location in self._query(_ALL, (CATALOG,)):
            name = decode_name(namespace, table)
            if name is not None and location:
                found[name] = location
        return dict(sorted(found.items()))

    def close(self) -> None:
        """Close the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _query(self, statement: str, parameters: tuple[str, ...]) -> Sequence[tuple[str, ...]]:
        connection = self._connect()
        if connection is None:
            return []
        try:
            rows: Sequence[tuple[str, ...]] = connection.execute(statement, parameters).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # the child has made the file, and not its tables yet
                return []
            raise
        return rows

    def _connect(self) -> sqlite3.Connection | None:
        if self._connection is None and self._path.exists():
            self._connection = sqlite3.connect(self._path, isolation_level=None)
            self._connection.execute("PRAGMA query_only = 1")
        return self._connection


class SharedCatalogReader:
    """Asks the child for what other services have committed as well: some milliseconds for each look-up."""

    def __init__(self, process: TablesProcess) -> None:
        self._process = process

    async def find(self, name: str) -> str | None:
        """The current metadata file of a table, None for an unknown table."""
        found: str | None = await self._process.call(messages.FindLocation(name=name), str | None)
        return found

    async def list(self) -> dict[str, str]:
        """All tables by name, in the order of their names, with their current metadata files."""
        found: dict[str, str] = await self._process.call(messages.ListLocations(), dict[str, str])
        return dict(sorted(found.items()))

    def close(self) -> None:
        """Nothing is open."""
