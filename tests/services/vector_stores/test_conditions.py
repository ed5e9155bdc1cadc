"""Filters as Qdrant and Chroma get them, against what the filters mean: the same items, or more where that is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from hypothesis import given, settings

from lakehouse.services.contracts.filter_language import parse_filter
from lakehouse.services.vector_stores.chroma.conditions import number_key as chroma_key
from lakehouse.services.vector_stores.chroma.conditions import render_filter as render_chroma
from lakehouse.services.vector_stores.chroma.conditions import restrict_ranges
from lakehouse.services.vector_stores.qdrant.conditions import render_items
from lakehouse.services.vector_stores.qdrant.points import number_key
from lakehouse.services.vector_stores.remote.conditions import list_numbers, make_tokens, translate
from tests.services.vector_stores.filter_strategies import DECLARED, FILTERS, METADATA

Document = dict[str, Any]
OPERATORS = {
    "gte": lambda one, two: one >= two,
    "gt": lambda one, two: one > two,
    "lte": lambda one, two: one <= two,
    "lt": lambda one, two: one < two,
}


def _holds_in_qdrant(condition: Document, payload: Mapping[str, Any]) -> bool:
    """Qdrant's meaning of the conditions that are used."""
    if "key" in condition:
        values = payload.get(condition["key"], [])
        if "range" in condition:
            return any(all(OPERATORS[name](one, two) for name, two in condition["range"].items()) for one in values)
        wanted = condition["match"]
        return any(one in wanted.get("any", [wanted.get("value")]) for one in values)
    if "has_id" in condition:
        return False
    parts = {name: [_holds_in_qdrant(one, payload) for one in inner] for name, inner in condition.items()}
    return all(parts.get("must", [])) and any(parts.get("should") or [True]) and not any(parts.get("must_not", []))


def _holds_in_chroma(condition: Document, record: Mapping[str, Any]) -> bool:
    """Chroma's meaning of the conditions that are used, each of which has one key."""
    [(key, value)] = condition.items()
    if key in ("$and", "$or"):
        assert len(value) >= 2
        return (all if key == "$and" else any)(_holds_in_chroma(one, record) for one in value)
    [(operator, operand)] = value.items()
    if operator == "$contains":
        return operand in record.get(key, [])
    if operator == "$not_contains":
        return operand not in record.get(key, [])
    return key in record and bool(OPERATORS[operator[1:]](record[key], operand))


@settings(max_examples=60, deadline=None)
@given(FILTERS, METADATA)
def test_a_filter_lets_the_same_items_through_or_more_if_that_is_said(document: Document, metadata: Document) -> None:
    parsed = parse_filter(msgspec.json.encode(document))
    if parsed is None:
        return
    wanted, translated = parsed.matches(metadata), translate([parsed])
    numbers, tokens = list_numbers(metadata), make_tokens(metadata)
    payload = {"tokens": tokens, **{number_key(field): found for field, found in numbers.items()}}
    found = _holds_in_qdrant(render_items(translated.term), payload)
    assert found == wanted or (found and not translated.exact)

    term, same = restrict_ranges(translated.term, DECLARED)
    condition = render_chroma(term)
    record = {"tokens": tokens, **{chroma_key(name): numbers[name][0] for name in DECLARED if name in numbers}}
    found = condition is None or _holds_in_chroma(condition, record)
    assert found == wanted or (found and not (translated.exact and same))


def test_what_both_servers_can_say_is_said_exactly() -> None:
    exact: list[Document] = [
        {"year": 2020, "lang": ["de", "en"]},
        {"year": {"gte": 2020, "lt": 2024}},
        {"not": {"or": [{"lang": None}, {"year": {"ne": 1}}]}},
        {"lang": {"exists": False}},
    ]
    for document in exact:
        parsed = parse_filter(msgspec.json.encode(document))
        assert parsed is not None
        translated = translate([parsed])
        assert translated.exact
        assert restrict_ranges(translated.term, DECLARED)[1]
    for document in ({"lang": {"gte": "d"}}, {"year": {"lt": 2**60}}, {"not": {"lang": {"gte": "d"}}}):
        parsed = parse_filter(msgspec.json.encode(document))
        assert parsed is not None
        assert not translate([parsed]).exact
