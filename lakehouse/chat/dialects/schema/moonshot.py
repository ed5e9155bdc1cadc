"""The JSON Schema subset of Moonshot, which Kimi requires of tools and of `response_format`, also behind OpenCode."""

from __future__ import annotations

from lakehouse.chat.dialects.lenient_json import JsonObject, as_object

MAX_SCHEMAS = 20_000
"""Schemas in a rewritten schema: keywords beside alternatives are copied into each of them."""

_KEPT = ("description", "default", "required", "additionalProperties", "enum")
_TYPES: tuple[tuple[str, type | tuple[type, ...]], ...] = (
    ("boolean", bool),
    ("string", str),
    ("integer", int),
    ("number", float),
    ("object", dict),
    ("array", list),
    ("null", type(None)),
)
_ANY_TYPE = ("string", "number", "boolean", "object", "null")


def rewrite_for_moonshot(schema: JsonObject) -> JsonObject:
    """Return `schema` in Moonshot's subset.

    One violation fails the whole request. The subset has types, properties, items, enums, `anyOf`, descriptions,
    defaults and `$defs` at the root; every property has a type, and `anyOf` and `$ref` stand alone. Bounds, formats and
    patterns are dropped: the answer is validated against the whole schema anyway.
    Source: MoonshotAI/walle, and the rejections collected in opencode#11591.
    """
    definitions = {**as_object(schema.get("definitions")), **as_object(schema.get("$defs"))}
    rewriter = _Rewriter()
    rewritten = rewriter.rewrite(schema)
    if definitions:
        rewritten["$defs"] = {name: rewriter.rewrite(inner) for name, inner in definitions.items()}
    return rewritten


class _Rewriter:
    """Rewrites one schema. Raises OverflowError beyond `MAX_SCHEMAS`."""

    def __init__(self) -> None:
        self._remaining = MAX_SCHEMAS

    def rewrite(self, schema: object) -> JsonObject:
        self._remaining -= 1
        if self._remaining < 0:
            raise OverflowError
        if schema is False:
            return {"type": "null"}  # the subset has no schema that matches nothing
        if not isinstance(schema, dict):
            return _build_any_of([{"type": name} for name in _ANY_TYPE])
        if isinstance(schema.get("$ref"), str):
            return {"$ref": schema["$ref"].replace("#/definitions/", "#/$defs/")}
        schema = _merge_all_of(schema)
        branches = _find_branches(schema)
        if branches is None:
            return self._rewrite_single_type(schema)
        description = {"description": schema["description"]} if "description" in schema else {}
        return {**description, **_build_any_of([self.rewrite(branch) for branch in branches])}

    def _rewrite_single_type(self, schema: JsonObject) -> JsonObject:
        rewritten: JsonObject = {"type": _infer_type(schema)}
        rewritten.update((name, schema[name]) for name in _KEPT if name in schema)
        if isinstance(rewritten.get("additionalProperties"), dict):
            rewritten["additionalProperties"] = self.rewrite(rewritten["additionalProperties"])
        if "properties" in schema:
            properties = as_object(schema["properties"])
            rewritten["properties"] = {name: self.rewrite(inner) for name, inner in properties.items()}
        if rewritten["type"] == "array":
            rewritten["items"] = self.rewrite(schema.get("items", True))
        return rewritten


def _merge_all_of(schema: JsonObject) -> JsonObject:
    """Return the schema without `const` and `allOf`, which the subset does not have."""
    if "const" in schema:
        schema = {**schema, "enum": [schema["const"]]}
    parts = [_merge_all_of(as_object(part)) for part in schema.get("allOf") or ()]
    schema = {name: value for name, value in schema.items() if name != "allOf"}
    for part in parts:
        properties = {**as_object(schema.get("properties")), **as_object(part.get("properties"))}
        required = [*(schema.get("required") or ()), *(part.get("required") or ())]
        schema = {**schema, **part}
        schema |= {"properties": properties} if properties else {}
        schema |= {"required": list(dict.fromkeys(required))} if required else {}
    return schema


def _find_branches(schema: JsonObject) -> list[JsonObject] | None:
    """Return the alternatives of a schema (`anyOf`, `oneOf`, several types, an enum of mixed types), each with the
    keywords beside them; None for a schema without alternatives."""
    siblings = {
        name: value for name, value in schema.items() if name not in ("anyOf", "oneOf", "type", "enum", "description")
    }
    for name in ("anyOf", "oneOf"):
        if alternatives := schema.get(name):
            own_type = {"type": schema["type"]} if "type" in schema else {}
            branches = [{**siblings, **own_type, **as_object(branch)} for branch in alternatives]
            return [branch if "$ref" not in branch else {"$ref": branch["$ref"]} for branch in branches]
    types = schema.get("type")
    if isinstance(types, list):
        rest = {**siblings, **({"enum": schema["enum"]} if "enum" in schema else {})}
        return [{**rest, "type": name} for name in types]
    grouped: dict[str, list[object]] = {}
    for value in schema.get("enum") or ():
        grouped.setdefault(_get_type(value), []).append(value)
    if len(grouped) > 1:
        return [
            {"type": name} if name == "null" else {"type": name, "enum": values} for name, values in grouped.items()
        ]
    return None


def _build_any_of(branches: list[JsonObject]) -> JsonObject:
    return branches[0] if len(branches) == 1 else {"anyOf": branches}


def _infer_type(schema: JsonObject) -> str:
    """Return the type of a schema, which need not state it."""
    if isinstance(schema.get("type"), str):
        return str(schema["type"])
    if values := schema.get("enum"):
        return _get_type(values[0])
    if "properties" in schema or "required" in schema or "additionalProperties" in schema:
        return "object"
    return "array" if "items" in schema else "string"


def _get_type(value: object) -> str:
    return next(name for name, kind in _TYPES if isinstance(value, kind))
