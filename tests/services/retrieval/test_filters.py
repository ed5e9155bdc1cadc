"""Filters over metadata: what they mean, that columns and single items agree, and what is refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.filter_language import Filter, decode_metadata, parse_filter
from lakehouse.services.retrieval.child.filters import Column, select, value_of

METADATA: list[dict[str, object]] = [
    {"a": 1},
    {"a": 1.0},
    {"a": True},
    {"a": "1"},
    {},
    {"a": None},
    {"a": [1, 2]},
    {"a": 2**60 + 1},
    {"a": 7.5},
    {"a": {"x": 1}},
    {"a": "2024-01-01", "b": "x"},
    {"a": [], "b": ["x", "y"]},
]

CASES: list[tuple[dict[str, object], list[int]]] = [
    ({"a": 1}, [0, 1, 6]),
    ({"a": 1.0}, [0, 1, 6]),
    ({"a": True}, [2]),
    ({"a": [1, "1"]}, [0, 1, 3, 6]),
    ({"a": []}, []),
    ({"a": None}, [5]),
    ({"a": {"gte": 1, "lt": 8}}, [0, 1, 6, 8]),
    ({"a": {"gt": 1}}, [6, 7, 8]),
    ({"a": {"gte": 2**60 + 1}}, [7]),
    ({"a": {"gte": 2**60 + 2}}, []),
    ({"a": {"gte": "2023", "lt": "2025"}}, [10]),
    ({"a": {"ne": 1}}, [2, 3, 4, 5, 7, 8, 9, 10, 11]),
    ({"a": {"ne": [1, "1", None]}}, [2, 4, 7, 8, 9, 10, 11]),
    ({"a": {"exists": True}}, [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]),
    ({"a": {"exists": False}}, [4, 5]),
    ({"b": "x"}, [10, 11]),
    ({"a": "2024-01-01", "b": "x"}, [10]),
    ({"not": {"a": 1}}, [2, 3, 4, 5, 7, 8, 9, 10, 11]),
    ({"or": [{"a": "1"}, {"a": True}]}, [2, 3]),
    ({"and": [{"a": {"gte": 1}}, {"not": {"a": [1]}}]}, [7, 8]),
    ({"and": []}, list(range(12))),
    ({"or": []}, []),
    ({"and": 3}, []),  # a field of that name
]


def parse(document: object) -> Filter:
    parsed = parse_filter(msgspec.json.encode(document))
    assert parsed is not None
    return parsed


def make_column(field: str, metadata: list[dict[str, object]]) -> Column:
    column = Column()
    for one in metadata:  # one by one, as items are added
        column.append([value_of(one, field)])
    return column


@pytest.mark.parametrize(("document", "expected"), CASES, ids=lambda value: str(value)[:50])
def test_what_a_filter_lets_through(document: dict[str, object], expected: list[int]) -> None:
    parsed = parse(document)
    assert [at for at, one in enumerate(METADATA) if parsed.matches(one)] == expected
    mask = select(parsed, lambda field: make_column(field, METADATA), len(METADATA))
    assert mask.nonzero()[0].tolist() == expected


scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 2**60, 1e300]) | st.sampled_from("ab")
values = scalars | st.lists(scalars, max_size=3)
conditions = st.one_of(
    values,
    st.fixed_dictionaries({}, optional={"gte": st.integers(-3, 3), "lt": st.integers(-3, 3), "ne": values}).filter(
        bool
    ),
    st.fixed_dictionaries({"exists": st.booleans()}),
    st.fixed_dictionaries({"gt": st.sampled_from("ab")}),
)
fields = st.dictionaries(st.sampled_from(["a", "b"]), conditions, min_size=1, max_size=2)
filters = st.recursive(
    fields,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"and": st.lists(inner, max_size=2)}),
        st.fixed_dictionaries({"or": st.lists(inner, max_size=2)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=4,
)


@given(filters, st.lists(st.dictionaries(st.sampled_from(["a", "b"]), values), max_size=8))
def test_columns_and_items_agree(document: dict[str, object], metadata: list[dict[str, object]]) -> None:
    parsed = parse(document)
    columns = {field: make_column(field, metadata) for field in ("a", "b")}
    assert select(parsed, columns.__getitem__, len(metadata)).tolist() == [parsed.matches(one) for one in metadata]


@pytest.mark.parametrize("document", [b"", b"{}", b"null"])
def test_an_empty_filter_lets_everything_through(document: bytes) -> None:
    assert parse_filter(document) is None


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (b"{", "filter"),
        (b"[1]", "filter"),
        (b'"a"', "filter"),
        (b'{"a": {}}', "filter.a"),
        (b'{"a": {"like": "x"}}', "filter.a.like"),
        (b'{"a": {"gte": [1]}}', "filter.a.gte"),
        (b'{"a": {"gte": true}}', "filter.a.gte"),
        (b'{"a": {"exists": 1}}', "filter.a.exists"),
        (b'{"a": [[1]]}', "filter.a"),
        (b'{"or": [{"b": {"x": 1}}]}', "filter.or[0].b.x"),
        (b'{"not":' * 40 + b'{"a":1}' + b"}" * 40, "filter" + ".not" * 33),
        (b'{"a": [%s]}' % b",".join([b"1"] * 10_001), "filter.a"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_filter_that_makes_no_sense_is_refused_by_name(document: bytes, field: str) -> None:
    with pytest.raises(ErrBadRequest) as caught:
        parse_filter(document)
    assert caught.value.field == field


def test_metadata_that_is_omitted_has_no_fields() -> None:
    assert decode_metadata(b"") == {}
