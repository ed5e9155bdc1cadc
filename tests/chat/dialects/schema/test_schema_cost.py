"""The cost of checking an answer is estimated before the check, and limited."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakehouse.chat.dialects.schema.cost import MAX_EXPANDED, SchemaCost, SchemaTooComplex
from lakehouse.chat.dialects.schema.validate import (
    MAX_CHECKS,
    MAX_ERROR_CHECKS,
    AnswerValidator,
    SchemaMismatch,
    compile_schema,
)
from lakehouse.core.errors import ErrBadRequest

TREE = {
    "$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer"}, "c": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}},
    "$ref": "#/$defs/node",
}  # fmt: skip
BRANCHING = {
    "$defs": {"a": {"anyOf": [{"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/a"}}] * 4}},
    "$ref": "#/$defs/a",
}


def nested(depth: int, leaf: Any) -> Any:
    for _ in range(depth):
        leaf = [leaf]
    return leaf


def chain(names: str, *, length: int = 20) -> dict[str, Any]:
    """Build schemas of which each refers to the next one four times, by path or by name."""
    parts: dict[str, Any] = {}
    for place in range(length):
        there = {"$ref": names.format(place + 1)}
        parts[f"a{place}"] = {"$anchor": f"n{place}", "anyOf": [{"type": "array", "items": there}] * 4}
    return {"$defs": {**parts, f"a{length}": {"$anchor": f"n{length}"}}, "$ref": names.format(0)}


@pytest.mark.parametrize("names", ["#/$defs/a{}", "#n{}"])
def test_a_schema_that_expands_without_bound_is_rejected_for_every_kind_of_reference(names: str) -> None:
    with pytest.raises(ErrBadRequest, match=f"`format` .* more than {MAX_EXPANDED} schemas with its references"):
        compile_schema(chain(names))
    assert SchemaCost(chain(names, length=3)).expanded > 4**3


@pytest.mark.parametrize(
    ("schema", "fitting"),
    [
        (TREE, {"v": 1, "c": [{"v": 2, "c": []}]}),
        ({"$ref": "#"}, 1),
        ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, 1),
        ({"$ref": "#there", "$defs": {"a": {"$anchor": "there", "type": "integer"}}}, 1),
        (
            {
                "$id": "urn:x",
                "$defs": {"a/b~": {"allOf": [{"type": "integer"}]}},
                "$ref": "urn:x#/$defs/a~1b~0/allOf/0",
            },
            1,
        ),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, {"type": "string"}),
    ],
)
def test_references_are_followed(schema: dict[str, Any], fitting: object) -> None:
    assert AnswerValidator(schema, provider="p").extract_json(json.dumps(fitting)) == json.dumps(fitting)


@pytest.mark.parametrize("reference", ["#nowhere", "other.json", "https://example.com/schema#/a"])
def test_an_unresolvable_reference_is_named(reference: str) -> None:
    with pytest.raises(SchemaTooComplex, match=f"'{reference}' is no path in it"):
        SchemaCost({"$ref": reference})


@pytest.mark.parametrize(
    "schema", [{"items": nested(10**4, {})}, chain("#/$defs/a{}", length=2000)], ids=["lists", "references"]
)
def test_a_schema_that_nests_too_deeply_is_rejected(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaTooComplex, match="nested too deeply"):
        SchemaCost(schema)


PARTS = chain("#/$defs/a{}", length=6)["$defs"]


@pytest.mark.parametrize(
    "schema",
    [
        {"$defs": PARTS, "properties": {"$ref": {"$ref": "#/$defs/a0"}}},
        {"$defs": PARTS, "properties": {"definitions": {"$ref": "#/$defs/a0"}}},
        {"$defs": {"x": {"$id": "urn:x", "$defs": PARTS, "$ref": "#/$defs/a0"}}, "$ref": "urn:x"},
        {"$defs": PARTS, "const": {"$anchor": "n0"}, "$ref": "#n0"},
        {"const": {"$anchor": "n0"}, "$defs": PARTS, "$ref": "#n0"},
    ],
)
def test_the_cost_counts_schemas_behind_every_keyword(schema: dict[str, Any]) -> None:
    assert SchemaCost(schema).expanded > 4**6


@pytest.mark.parametrize("keyword", ["const", "default", "examples", "x-ours"])
def test_values_that_are_no_schemas_have_no_references(keyword: str) -> None:
    assert SchemaCost({keyword: {"$ref": "nowhere"}}).expanded == 1


def test_mutually_dependent_schemas_count_once() -> None:
    schema: dict[str, Any] = {}
    for _ in range(100):
        schema = {"dependentSchemas": {"a": schema}}
    assert SchemaCost(schema).expanded == 101


def test_costs_beyond_every_float_are_compared() -> None:
    wide = {"anyOf": [{"type": "array", "minItems": 1, "items": {"$ref": "#"}}] * 9}
    assert SchemaCost(wide).estimate_error_checks(nested(400, [])) > 10**308
    with pytest.raises(SchemaMismatch, match="to say where"):
        AnswerValidator(wide, provider="p").extract_json(json.dumps(nested(400, [])))


@pytest.mark.parametrize("depth", [4, 20, 400])
def test_an_answer_is_checked_fast_where_locating_the_mismatch_would_not_end(depth: int) -> None:
    """Without the limit the second call would not end."""
    with pytest.raises(SchemaMismatch, match="not valid under any" if depth < 5 else "to say where"):
        AnswerValidator(BRANCHING, provider="p").extract_json(json.dumps(nested(depth, [])))


def test_a_mismatch_in_an_ordinary_answer_is_located() -> None:
    value: Any = {"v": "x"}
    for _ in range(8):
        value = {"v": 1, "c": [{"v": 1}, value]}
    with pytest.raises(SchemaMismatch, match=r"at `\$(\.c\[1\]){8}\.v`: \"x\" is not of type \"integer\""):
        AnswerValidator(TREE, provider="p").extract_json(json.dumps(value))


def test_a_large_flat_answer_is_cheap() -> None:
    field = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    schema = {"items": {"properties": {f"p{number}": field for number in range(300)}}}
    value = [{f"p{number}": "x" for number in range(300)}] * 300
    effort = SchemaCost(schema)
    assert effort.estimate_checks(value) < MAX_CHECKS / 10
    assert effort.estimate_error_checks(value[:10]) < MAX_ERROR_CHECKS / 10


def test_an_answer_too_large_for_its_schema_is_a_mismatch() -> None:
    schema = {"items": {"anyOf": [{"pattern": f"^{number}$"} for number in range(5000)]}}
    with pytest.raises(SchemaMismatch, match="to be checked"):
        AnswerValidator(schema, provider="p").extract_json(json.dumps(["4999"] * 5000))


def build_exponential_schema(levels: int) -> dict[str, Any]:
    """Return a schema of some hundred bytes whose cost grows tenfold with each level."""
    defs: dict[str, Any] = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 10} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{levels}": {"type": "string"}}}


def test_an_exponential_schema_is_rejected_fast() -> None:
    with pytest.raises(ErrBadRequest, match="with its references followed"):
        compile_schema(build_exponential_schema(20))
    node = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}
    assert compile_schema(node)[0].is_valid({"children": [{"children": []}]})
    assert not compile_schema(build_exponential_schema(3))[0].is_valid(1)
