"""Types: DuckDB's notation is parsed and written, mapped to what a table stores, and widened as Iceberg can."""

from __future__ import annotations

import duckdb
import pytest

from lakehouse.services.tables.column_types import UnknownType, format_type, parse_type, to_stored
from lakehouse.services.tables.reconcile import find_differences, plan_changes
from lakehouse.services.tables.widening import merge, needs_rewrite, widen


@pytest.mark.parametrize(
    "value",
    [
        "1::BIGINT",
        "1.5::DECIMAL(38,10)",
        "now()",
        "now()::TIMESTAMP",
        "[1, 2]",
        "[[{'a': [DATE '2024-01-01']}]]",
        "{'a': 1, 'b c': 'x', 'd\"e': NULL::UUID, 'F': 1.5}",
        "MAP {'x': {'y': MAP {1: 'z'}}}",
        "'x'::BLOB",
        "[1, 2]::INTEGER[2]",
        "'a'::ENUM('a', 'b'')c')",
    ],
)
def test_the_names_that_duckdb_gives_to_types_are_understood(value: str) -> None:
    with duckdb.connect() as connection:
        name = connection.execute(f"SELECT typeof({value})").fetchall()[0][0]
        stored = format_type(to_stored(parse_type(name)))
        again = connection.execute(f"SELECT typeof(({value})::{stored})").fetchall()[0][0]
    assert format_type(parse_type(again)) == stored


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("UTINYINT", "INTEGER"),
        ("smallint", "INTEGER"),
        ("UINTEGER", "BIGINT"),
        ("UBIGINT", "DECIMAL(20,0)"),
        ("HUGEINT", "DECIMAL(38,0)"),
        ("TIME", "VARCHAR"),
        ("TIMESTAMP_NS", "VARCHAR"),
        ("JSON", "VARCHAR"),
        ('"NULL"', "VARCHAR"),
        ("text", "VARCHAR"),
        ("timestamptz", "TIMESTAMP WITH TIME ZONE"),
        ("TIME[]", "VARCHAR[]"),
        ("STRUCT(a USMALLINT, b MAP(UUID, TINYINT))", "STRUCT(a INTEGER, b MAP(UUID, INTEGER))"),
        ("DECIMAL", "DECIMAL(18,3)"),
        ("VARCHAR(10)", "VARCHAR"),
    ],
)
def test_what_a_table_lacks_is_stored_in_the_next_type_that_holds_it(given: str, stored: str) -> None:
    assert format_type(to_stored(parse_type(given))) == stored


@pytest.mark.parametrize(
    "given",
    ["INTERVAL", "UNION(a INTEGER)", "DECIMAL(39,0)", "STRUCT(a INTEGER, A INTEGER)", "STRUCT(a", "BIGINT BIGINT", "", "a-b", "DECIMAL(x)", "INTEGER[", "[" * 5],
)  # fmt: skip
def test_what_cannot_be_stored_is_refused(given: str) -> None:
    with pytest.raises(UnknownType):
        to_stored(parse_type(given))


def test_a_type_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(UnknownType, match="deeper than 100"):
        parse_type("STRUCT(a " * 200 + "BIGINT" + ")" * 200)


@pytest.mark.parametrize(
    ("table", "upload", "merged"),
    [
        ("BIGINT", "INTEGER", "BIGINT"),
        ("INTEGER", "BIGINT", "BIGINT"),
        ("DOUBLE", "BIGINT", "DOUBLE"),
        ("BIGINT", "DOUBLE", None),
        ("FLOAT", "BIGINT", "DOUBLE"),
        ("VARCHAR", "DATE", "VARCHAR"),
        ("DATE", "VARCHAR", None),
        ("FLOAT", "DOUBLE", "DOUBLE"),
        ("DECIMAL(10,2)", "DECIMAL(12,1)", "DECIMAL(13,2)"),
        ("DECIMAL(10,2)", "DECIMAL(10,3)", None),
        ("DECIMAL(38,20)", "BIGINT", None),
        ("DECIMAL(10,0)", "INTEGER", "DECIMAL(10,0)"),
        ("INTEGER[]", "BIGINT[]", "BIGINT[]"),
        ("MAP(VARCHAR, FLOAT)", "MAP(VARCHAR, DOUBLE)", "MAP(VARCHAR, DOUBLE)"),
        ("MAP(VARCHAR, FLOAT)", "MAP(DATE, FLOAT)", None),
        ("STRUCT(a INTEGER, b DATE)", "STRUCT(c VARCHAR, a BIGINT)", "STRUCT(a BIGINT, b DATE, c VARCHAR)"),
        ("STRUCT(a INTEGER)", "STRUCT(A INTEGER)", None),
        ("STRUCT(a INTEGER)", "STRUCT(a DATE)", None),
        ("INTEGER", "INTEGER[]", None),
    ],
)
def test_a_type_is_widened_as_iceberg_can(table: str, upload: str, merged: str | None) -> None:
    found = widen(parse_type(table), parse_type(upload))
    assert (None if found is None else format_type(found)) == merged


@pytest.mark.parametrize(
    ("table", "upload", "merged"),
    [
        ("BIGINT", "DOUBLE", "DOUBLE"),
        ("INTEGER", "FLOAT", "DOUBLE"),
        ("BIGINT", "DECIMAL(5,2)", "DECIMAL(21,2)"),
        ("INTEGER", "DECIMAL(14,2)", "DECIMAL(14,2)"),
        ("DECIMAL(10,2)", "DECIMAL(10,3)", "DECIMAL(11,3)"),
        ("DECIMAL(38,0)", "DECIMAL(10,3)", None),
        ("BIGINT", "VARCHAR", None),
        ("DECIMAL(10,2)", "DOUBLE", None),
        ("DOUBLE", "BIGINT", None),
    ],
)
def test_numbers_that_iceberg_does_not_widen_are_merged(table: str, upload: str, merged: str | None) -> None:
    found = merge(parse_type(table), parse_type(upload))
    assert (None if found is None else format_type(found)) == merged
    assert needs_rewrite(table, upload) is (merged == upload)


def test_differences_are_told_column_by_column() -> None:
    table = [("a", parse_type("BIGINT")), ("b", parse_type("DATE"))]
    assert find_differences(table, list(reversed(table))) == []
    upload = [("c", parse_type("DOUBLE")), ("b", parse_type("VARCHAR"))]
    assert [(each.column, each.was, each.now) for each in find_differences(table, upload)] == [
        ("a", "BIGINT", None), ("b", "DATE", "VARCHAR"), ("c", None, "DOUBLE"),
    ]  # fmt: skip


def test_changes_name_the_fields_inside_of_a_column() -> None:
    table = [("s", parse_type("STRUCT(l STRUCT(x INTEGER)[], y FLOAT)")), ("kept", parse_type("DATE"))]
    upload = [("s", parse_type("STRUCT(l STRUCT(x BIGINT, z DATE)[], y FLOAT)")), ("new", parse_type("UUID"))]
    changes, differences = plan_changes(table, upload)
    assert differences == []
    assert [(path, format_type(column)) for path, column in changes.added] == [
        (("s", "l", "element", "z"), "DATE"), (("new",), "UUID"),
    ]  # fmt: skip
    assert [(path, format_type(column)) for path, column in changes.widened] == [(("s", "l", "element", "x"), "BIGINT")]
    _, differences = plan_changes(table, [("S", parse_type("DATE")), ("s", table[0][1])], frozenset({"kept"}))
    assert [(each.column, each.was, each.now) for each in differences] == [("kept", "DATE", None), ("S", None, "DATE")]
