"""Filters as PostgreSQL gets them let through exactly what they mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakehouse.services.contracts.filter_language import parse_filter
from lakehouse.services.vector_stores.postgres.filter_sql import make_condition, make_fields
from tests.services.vector_stores.filter_strategies import DECLARED, FILTERS, METADATA
from tools.kit.scaleout.postgres import Postgres

psycopg2 = pytest.importorskip("psycopg2")

Document = dict[str, Any]

HOSTILE: list[Document] = [
    {"a": "x\0y"},
    {"a": "\ue0000"},
    {"a": ["x\0y", 1]},
    {"a\0": 1},
    {"a": "%s"},
    {"a'\"\\": "'; DROP TABLE items; --"},
    {"a": [[1]]},
    {"a": {"x": 1}},
    {"a": 1e300},
    {"": 1},
    {"a": True},
    {"a": "10"},
    {"a": "\U0001f600"},
]
PROBES: list[Document] = [
    {"a": "x\0y"},
    {"a": "\ue0000"},
    {"a": {"gte": "x", "lt": "y"}},
    {"a": {"gt": "\ufffd"}},
    {"a\0": {"exists": True}},
    {"a": "%s"},
    {"a'\"\\": "'; DROP TABLE items; --"},
    {"a'\"\\": {"gte": "'"}},
    {"a": 1},
    {"a": {"gte": 0}},
    {"a": {"gte": 0, "lt": "b"}},
    {"a": {"lte": 1e300, "gt": 1e299}},
    {"": {"gte": 1}},
    {"a": [True, "10"]},
    {"a": {"ne": [1, "10"]}},
    {"not": {"a": {"exists": True}}},
]


@pytest.fixture(scope="module")
def cursor(postgres: Postgres) -> Iterator[Any]:
    connection = psycopg2.connect(postgres.create_database())
    connection.autocommit = True
    with connection.cursor() as opened:
        opened.execute("CREATE TEMPORARY TABLE items (at integer, fields jsonb)")
        yield opened
    connection.close()


def check(cursor: Any, document: Document, metadata: list[Document], declared: tuple[str, ...]) -> None:
    wanted = parse_filter(msgspec.json.encode(document))
    condition = make_condition([] if wanted is None else [wanted], declared)
    cursor.execute("TRUNCATE items")
    for at, one in enumerate(metadata):
        cursor.execute("INSERT INTO items VALUES (%s, %s)", (at, make_fields(msgspec.json.encode(one)).decode()))
    cursor.execute(f"SELECT at FROM items WHERE {condition.text} ORDER BY at", condition.values or None)
    expected = [at for at, one in enumerate(metadata) if wanted is None or wanted.matches(one)]
    assert [at for (at,) in cursor.fetchall()] == expected, (document, metadata)


@pytest.mark.parametrize("document", PROBES, ids=ascii)
def test_no_text_is_taken_for_a_part_of_the_statement(cursor: Any, document: Document) -> None:
    check(cursor, document, HOSTILE, ())
    check(cursor, document, HOSTILE, ("a", "a\0", "a'\"\\", ""))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(FILTERS, st.lists(METADATA, max_size=6))
def test_a_filter_in_sql_lets_through_what_it_means(cursor: Any, document: Document, metadata: list[Document]) -> None:
    check(cursor, document, metadata, ())
    check(cursor, document, metadata, DECLARED)
