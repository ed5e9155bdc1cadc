"""The tables that a statement reads, as views of the engine's database.

A view stays for the next statement, and is made again when its table has another snapshot. Before a statement that
reads the catalog, everything is dropped and each table of the lake gets a table without rows, so that the catalog shows
all tables with their columns, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from lakehouse.services.engines.database import quote_name
from lakehouse.services.engines.query_child.statements import address_of
from lakehouse.services.engines.query_messages import ListedTable, TableSource
from lakehouse.services.engines.table_files import select_rows

MAX_VIEWS = 256
"""Views that are kept at most. Then all are dropped."""


class TableDefinitions:
    """The views and schemas that exist in the database."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._defined: dict[tuple[str, str], TableSource | None] = {}  # None: a table without rows
        self._schemas: set[str] = set()
        self._listing: tuple[ListedTable, ...] | None = None

    def define(self, tables: Sequence[TableSource], listing: tuple[ListedTable, ...] | None) -> None:
        """Make the views of these tables, and with a listing the catalog of all tables."""
        if listing is None:
            if self._listing is not None or len(self._defined) + len(tables) > MAX_VIEWS:
                self.clear()
        elif listing != self._listing:
            self.clear()
            self._list(listing)
        for table in tables:
            self._define_view(table)

    def clear(self) -> None:
        """Drop everything."""
        statements = [f"DROP SCHEMA {quote_name(schema)} CASCADE" for schema in self._schemas]
        for (schema, name), source in self._defined.items():
            if schema == "main":
                statements.append(f"DROP {'TABLE' if source is None else 'VIEW'} main.{quote_name(name)}")
        self._run(statements)
        self._defined.clear()
        self._schemas.clear()
        self._listing = None

    def _define_view(self, source: TableSource) -> None:
        schema, name = address_of(source.path, source.version)
        key = schema.lower(), name.lower()
        present = self._defined.get(key)
        if present == source:
            return
        address = f"{quote_name(schema)}.{quote_name(name)}"
        if key in self._defined and present is None:
            self._run([f"DROP TABLE {address}"])
            del self._defined[key]
        self._run([*self._schema_statement(schema), f"CREATE OR REPLACE VIEW {address} AS {_select(source)}"])
        self._defined[key] = source

    def _list(self, listing: tuple[ListedTable, ...]) -> None:
        statements: list[str] = []
        for table in listing:
            schema, _, name = table.name.rpartition("/")
            schema = schema or "main"
            statements += self._schema_statement(schema)
            columns = ", ".join(f"{quote_name(column)} {kind}" for column, kind in table.columns)
            statements.append(f"CREATE TABLE {quote_name(schema)}.{quote_name(name)} ({columns})")
            self._defined[schema.lower(), name.lower()] = None
        self._run(statements)
        self._listing = listing

    def _schema_statement(self, schema: str) -> list[str]:
        if schema.lower() == "main" or schema.lower() in self._schemas:
            return []
        self._schemas.add(schema.lower())
        return [f"CREATE SCHEMA {quote_name(schema)}"]

    def _run(self, statements: Sequence[str]) -> None:
        if statements:
            self._connection.execute("; ".join(statements))


def _select(table: TableSource) -> str:
    """The query that reads the rows of one snapshot of a table."""
    if table.files:
        rows = select_rows(table.fields, table.files)
    else:
        columns = ", ".join(f"NULL::{field.type} AS {quote_name(field.name)}" for field in table.fields)
        rows = f"SELECT {columns} WHERE false"
    return table.query.replace("{rows}", f"({rows})") if table.query else rows
