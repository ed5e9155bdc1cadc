"""The parameter `types`: the types that columns are forced into. A value that does not fit is an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.engines.database import quote_name
from lakehouse.services.engines.writer_child.call_errors import bad_request, unprocessable
from lakehouse.services.engines.writer_child.source import InspectedSource
from lakehouse.services.engines.writer_child.type_verdict import ROW, fetch_value, number_rows

if TYPE_CHECKING:
    import duckdb

TYPES = {
    **dict.fromkeys(("VARCHAR", "TEXT", "STRING"), "VARCHAR"),
    **dict.fromkeys(("BIGINT", "INT8", "LONG"), "BIGINT"),
    **dict.fromkeys(("INTEGER", "INT", "INT4"), "INTEGER"),
    **dict.fromkeys(("DOUBLE", "FLOAT8", "DOUBLE PRECISION"), "DOUBLE"),
    **dict.fromkeys(("FLOAT", "REAL", "FLOAT4"), "FLOAT"),
    **dict.fromkeys(("BOOLEAN", "BOOL"), "BOOLEAN"),
    "DATE": "DATE",
    **dict.fromkeys(("TIMESTAMP", "DATETIME"), "TIMESTAMP"),
    **dict.fromkeys(("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"), "TIMESTAMP WITH TIME ZONE"),
    "UUID": "UUID",
}
_DECIMAL = re.compile(r"(?:DECIMAL|NUMERIC)\s*\(\s*([0-9]+)\s*(?:,\s*([0-9]+)\s*)?\)")
_WHOLE = r"\s*[-+]?[0-9]+(\.0*)?\s*"
_NUMBER = r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*|[-+]?(?i:nan|inf|infinity)"
_TOO_FINE = r".*\.[0-9]{6}[0-9]*[1-9][0-9]*([^0-9].*)?"
_ZONE = r".*:[0-9.]+\s*(Z|[-+][0-9]{2}(:?[0-9]{2})?)\s*"


def read_type(column: str, name: str) -> str:
    """Read the name of a type; returns the name that DuckDB gives it. Raises the error 400."""
    text = " ".join(name.upper().split())
    if text in TYPES:
        return TYPES[text]
    match = _DECIMAL.fullmatch(text)
    if match is not None:
        precision, scale = int(match[1]), int(match[2] or 0)
        if 1 <= precision <= 38 and scale <= precision:
            return f"DECIMAL({precision},{scale})"
    raise bad_request(f"types: {name!r} of column {column!r} is not a type; there are {', '.join(sorted(TYPES))}")


def match_forced(columns: Sequence[str], types: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Match the parameter with the columns of the file, without regard to case if no name is equal.

    Raises the error 400 for an unknown column.
    """
    folded = {name.lower(): name for name in columns}
    forced: dict[str, str] = {}
    for column, type_name in types:
        name = column if column in columns else folded.get(column.lower())
        if name is None:
            raise bad_request(f"types: the file has no column {column!r}", column=column)
        forced[name] = read_type(column, type_name)
    return forced


def make_mismatch(column: str, type_name: str) -> str:
    """Write the condition that a text does not have a value of the type; `column` is an identifier."""
    missing = f"{column} IS NOT NULL AND TRY_CAST({column} AS {type_name}) IS NULL"
    if type_name == "VARCHAR":
        return "false"
    if type_name in ("BIGINT", "INTEGER"):
        return f"{missing} OR NOT regexp_full_match({column}, '{_WHOLE}')"
    if type_name in ("DOUBLE", "FLOAT"):
        infinite = f"isinf(TRY_CAST({column} AS {type_name})) AND regexp_matches({column}, '[0-9]')"
        return f"{missing} OR NOT regexp_full_match({column}, '{_NUMBER}') OR ({infinite})"
    if type_name.startswith("DECIMAL"):
        scale = int(type_name.partition(",")[2].rstrip(")"))
        plain = rf"\s*[-+]?([0-9]+(\.[0-9]{{0,{scale}}}0*)?|\.[0-9]{{0,{scale}}}0*)\s*"
        return f"{missing} OR NOT regexp_full_match({column}, '{plain}')"
    if type_name == "DATE":
        cut = f"TRY_CAST({column} AS TIMESTAMP) IS DISTINCT FROM CAST(TRY_CAST({column} AS DATE) AS TIMESTAMP)"
        return f"{missing} OR {cut} OR NOT isfinite(TRY_CAST({column} AS DATE))"
    if type_name.startswith("TIMESTAMP"):
        zone = f" OR regexp_full_match({column}, '{_ZONE}')" if type_name == "TIMESTAMP" else ""
        infinite = f"NOT isfinite(TRY_CAST({column} AS TIMESTAMP))"
        return f"{missing} OR {infinite} OR regexp_full_match({column}, '{_TOO_FINE}'){zone}"
    return missing


def describe_mismatch(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    column: str,
    forced: tuple[str, str],
    find_line: Callable[[int], int],
) -> CallError:
    """Make the error 422 for the first value that does not fit; `forced` are the column's own name and the type."""
    name, type_name = forced
    condition = make_mismatch(column, type_name)
    found = connection.execute(f"SELECT min({ROW}) FROM ({number_rows(sql, column)}) WHERE {condition}").fetchone()
    row = int(found[0]) if found is not None and found[0] is not None else 0
    value, line = fetch_value(connection, sql, column, row)[:200], find_line(row)
    return unprocessable(
        f"line {line}: the value {value!r} of column {name} is not {_article(type_name)} {type_name}",
        line=line,
        column=name,
        value=value,
    )


def _article(type_name: str) -> str:
    return "an" if type_name[0] in "AEIOU" else "a"


def force_columns(
    connection: duckdb.DuckDBPyConnection, source: InspectedSource, types: Sequence[tuple[str, str]]
) -> InspectedSource:
    """Cast columns of a source, which are text, to the types of the parameter. Raises the errors 400 and 422."""
    if not types:
        return source
    forced = match_forced([column.name for column in source.columns], types)
    for name, type_name in forced.items():
        column = quote_name(name)
        condition = make_mismatch(column, type_name)
        found = connection.execute(f"SELECT count(*) FROM ({source.sql}) WHERE {condition}").fetchone()
        if found is not None and found[0]:
            raise describe_mismatch(connection, source.sql, column, (name, type_name), lambda row: row + 1)
    casts = ", ".join(
        f"CAST({quote_name(column.name)} AS {forced[column.name]}) AS {quote_name(column.name)}"
        if column.name in forced
        else quote_name(column.name)
        for column in source.columns
    )
    columns = [replace(column, type=forced.get(column.name, column.type)) for column in source.columns]
    open_types = {name: type_name for name, type_name in source.open_types.items() if name not in forced}
    return replace(source, columns=columns, sql=f"SELECT {casts} FROM ({source.sql})", open_types=open_types)
