"""The JSON Schema subset of Moonshot."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.chat.dialects.schema.moonshot import rewrite_for_moonshot
from lakehouse.core.errors import LakehouseError
from tests.chat.dialects.schema.structured_kit import CHAT, SCHEMA, build_completion, encode_body, make_codec

REWRITTEN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"type": "string", "minLength": 2, "format": "date", "title": "T", "description": "d"}, {"type": "string", "description": "d"}),
    ({"type": "integer", "minimum": 0, "maximum": 5, "default": 1}, {"type": "integer", "default": 1}),
    ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
    ({"enum": ["a", "b"]}, {"type": "string", "enum": ["a", "b"]}),
    ({"enum": ["a", None]}, {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]}),
    ({"const": 5}, {"type": "integer", "enum": [5]}),
    ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, {"anyOf": [{"type": "string"}, {"type": "integer"}]}),
    ({"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
     {"anyOf": [{"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}]}),
    ({"$ref": "#/definitions/A", "description": "d"}, {"$ref": "#/$defs/A"}),
    ({"properties": {"x": {"minimum": 1, "type": "number"}}, "required": ["x"]},
     {"type": "object", "required": ["x"], "properties": {"x": {"type": "number"}}}),
    ({"type": "array", "items": {"enum": [1]}, "minItems": 1, "maxItems": 3}, {"type": "array", "items": {"type": "integer", "enum": [1]}}),
    ({"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, {"properties": {"b": {"type": "null"}}}]},
     {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "b": {"type": "null"}}}),
    ({"type": "object", "additionalProperties": {"type": "string", "pattern": "x"}}, {"type": "object", "additionalProperties": {"type": "string"}}),
    ({"type": "object", "properties": {"x": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string", "maxLength": 3}}},
     {"type": "object", "properties": {"x": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "expected"), REWRITTEN)
def test_the_moonshot_subset(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert rewrite_for_moonshot(schema) == expected
    jsonschema_rs.validator_for(rewrite_for_moonshot(schema) | {"$defs": {"A": True}}, offline=True)


KEYWORDS = {
    "type", "properties", "required", "items", "enum", "anyOf", "additionalProperties", "description", "default", "$defs", "$ref",
}  # fmt: skip


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    leaf = st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "integer", "null", ["string", "null"]]),
            "enum": st.lists(st.none() | st.integers() | st.text(max_size=3) | st.booleans(), min_size=1, max_size=3),
            "minimum": st.integers(), "format": st.just("date"), "title": st.text(max_size=3), "description": st.text(max_size=3),
        },
    )  # fmt: skip
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.fixed_dictionaries({"type": st.just("array"), "items": inner}, optional={"minItems": st.just(1)}),
            st.fixed_dictionaries(
                {"anyOf": st.lists(inner, min_size=1, max_size=3)}, optional={"type": st.just("string")}
            ),
            st.fixed_dictionaries({"properties": st.dictionaries(st.text(max_size=3), inner, max_size=3)}),
            st.fixed_dictionaries({"allOf": st.lists(inner, min_size=1, max_size=2)}),
        ),
        max_leaves=8,
    )


def check_subset(schema: dict[str, Any]) -> None:
    assert set(schema) <= KEYWORDS
    if "anyOf" in schema:
        assert set(schema) <= {"anyOf", "description"}
        for branch in schema["anyOf"]:
            check_subset(branch)
        return
    assert isinstance(schema["type"], str)
    assert len({type(value) for value in schema.get("enum", [0])}) == 1
    for inner in schema.get("properties", {}).values():
        check_subset(inner)
    if schema["type"] == "array":
        check_subset(schema["items"])


@given(schemas())
def test_every_rewritten_schema_is_in_the_subset(schema: dict[str, Any]) -> None:
    check_subset(rewrite_for_moonshot(schema))


def test_tools_and_format_use_the_subset_and_the_answer_is_validated_against_the_whole_schema() -> None:
    bounded = {**SCHEMA, "title": "T"}
    sent = encode_body(
        CHAT,
        "native",
        format=bounded,
        tools=[{"type": "function", "function": {"name": "f", "parameters": bounded, "strict": True}}],
        quirks={"schema_subset": "moonshot"},
    )
    rewritten = {**bounded, "properties": {"city": {"type": "string"}, "population": {"type": "integer"}}}
    del rewritten["title"]
    assert sent["response_format"]["json_schema"]["schema"] == rewritten
    assert sent["tools"][0]["function"] == {"name": "f", "parameters": rewritten}
    with pytest.raises(LakehouseError, match="minimum"):
        make_codec(format=bounded, quirks={"schema_subset": "moonshot"}).decode(
            build_completion('{"city":"Ghent","population":0}')
        )
