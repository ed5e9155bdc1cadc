"""The rows of an inspected upload in the types of a table, and the error for a value that its type cannot hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.contracts.catalog import Column
from lakehouse.services.engines.database import quote_name
from lakehouse.services.engines.writer_child.call_errors import unprocessable
from lakehouse.services.engines.writer_child.data_files import select_columns, write_loss
from lakehouse.services.engines.writer_child.messages import Recipe
from lakehouse.services.engines.writer_child.type_verdict import MAX_COLUMNS_AT_ONCE, ROW, number_rows

if TYPE_CHECKING:
    import duckdb

MAX_SHOWN = 200


class UploadRows:
    """The SELECT of an upload's rows with the columns of a table, `sql`."""

    def __init__(self, recipe: Recipe, columns: Sequence[Column]) -> None:
        self._recipe = recipe
        self._columns = columns
        types = {column.name: column.type for column in recipe.columns}
        empty = set(recipe.empty)
        as_text = {
            column.name
            for column in columns
            if column.type == "VARCHAR" and column.name in recipe.texts and types[column.name] != "VARCHAR"
        }
        self._present = {name: type_ for name, type_ in types.items() if name not in empty}
        self._present |= dict.fromkeys(as_text, "VARCHAR")
        self._source = self._select(as_text) if as_text else recipe.sql
        self.sql = select_columns(columns, self._present, f"({self._source})")

    def _select(self, as_text: set[str]) -> str:
        """Write the SELECT of the upload's own columns, some of them with the text of the file."""
        recipe = self._recipe
        parts = ", ".join(
            f"{recipe.texts[name] if name in as_text else recipe.values[name]} AS {quote_name(name)}"
            for name in recipe.values
        )
        return f"SELECT {parts} FROM ({recipe.text_sql})"

    @contextmanager
    def explain_loss(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Turn an error of the engine into the error 422 that names the value, if one does not fit into the table."""
        import duckdb

        try:
            yield
        except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
            found = self._find_loss(connection)
            if found is None:
                raise
            raise found from error

    def _find_loss(self, connection: duckdb.DuckDBPyConnection) -> CallError | None:
        """Find the first row with a value that does not fit."""
        conditions = {
            column: condition
            for column in self._columns
            if (present := self._present.get(column.name)) and (condition := write_loss(column, present))
        }
        first: tuple[int, Column] | None = None
        for column in self._find_columns(connection, conditions):
            condition = conditions[column]
            rows = number_rows(self._source, quote_name(column.name))
            found = connection.execute(f"SELECT min({ROW}) FROM ({rows}) WHERE {condition}").fetchone()
            if found is not None and found[0] is not None and (first is None or int(found[0]) < first[0]):
                first = int(found[0]), column
        return None if first is None else self._describe(connection, *first)

    def _find_columns(
        self, connection: duckdb.DuckDBPyConnection, conditions: Mapping[Column, str]
    ) -> Iterator[Column]:
        """Find the columns with a value that does not fit, with one read of the rows for many columns."""
        checked = list(conditions)
        for start in range(0, len(checked), MAX_COLUMNS_AT_ONCE):
            columns = checked[start : start + MAX_COLUMNS_AT_ONCE]
            counts = ", ".join(f"count_if({conditions[column]})" for column in columns)
            found = connection.execute(f"SELECT {counts} FROM ({self._source})").fetchone() or ()
            yield from (column for column, count in zip(columns, found, strict=True) if count)

    def _describe(self, connection: duckdb.DuckDBPyConnection, row: int, column: Column) -> CallError:
        recipe = self._recipe
        sql, value = recipe.sql, quote_name(column.name)
        if column.name in recipe.texts:
            sql, value = recipe.text_sql, recipe.texts[column.name]
        rows = number_rows(sql, value)
        found = connection.execute(f"SELECT CAST({value} AS VARCHAR) FROM ({rows}) WHERE {ROW} = {row}").fetchone()
        shown = "" if found is None else str(found[0])[:MAX_SHOWN]
        line = None if recipe.first_line is None else recipe.first_line + row
        where = f"row {row + 1}" if line is None else f"line {line}"
        return unprocessable(
            f"{where}: the value {shown!r} of column {column.name} does not fit into the table's type {column.type}",
            line=line,
            row=row + 1,
            column=column.name,
            value=shown,
        )
