"""JSON Schema as far as a provider understands it."""

from __future__ import annotations

from lakehouse.chat.dialects.lenient_json import JsonObject, mapping

LARGEST = 20_000
"""Values in a schema whose references were put in place: a few lines of them can stand for billions."""

_KEPT = ("description", "default", "required", "additionalProperties", "enum")
_KINDS: tuple[tuple[str, type | tuple[type, ...]], ...] = (
    ("boolean", bool),
    ("string", str),
    ("integer", int),
    ("number", float),
    ("object", dict),
    ("array", list),
    ("null", type(None)),
)
_ANY = ("string", "number", "boolean", "object", "null")


def moonshot(schema: JsonObject) -> JsonObject:
    """`schema` in Moonshot's flavour, which Kimi demands of tools and of `response_format`, also behind OpenCode.

    One schema that breaks its rules fails the whole request. Kept are types, properties, items, enums, `anyOf`,
    descriptions, defaults and `$defs` at the root; every property gets a type, `anyOf` stands alone, and so does
    `$ref`. Bounds, formats and patterns are left out: the answer is checked against the whole schema anyway.
    Source: MoonshotAI/walle, and the rejections collected in opencode#11591.
    """
    definitions = {**mapping(schema.get("definitions")), **mapping(schema.get("$defs"))}
    writer = _Moonshot()
    plain = writer.plain(schema)
    if definitions:
        plain["$defs"] = {name: writer.plain(inner) for name, inner in definitions.items()}
    return plain


class _Moonshot:
    """Rewrites one schema. Raises OverflowError when it grows beyond `LARGEST`: what stands beside alternatives is
    copied into each of them."""

    def __init__(self) -> None:
        self._left = LARGEST

    def plain(self, schema: object) -> JsonObject:
        self._left -= 1
        if self._left < 0:
            raise OverflowError
        if schema is False:
            return {"type": "null"}  # nothing fits `false`, and there is no word for that
        if not isinstance(schema, dict):
            return _any_of([{"type": kind} for kind in _ANY])
        if isinstance(schema.get("$ref"), str):
            return {"$ref": schema["$ref"].replace("#/definitions/", "#/$defs/")}
        schema = _merged(schema)
        branches = _branches(schema)
        if branches is None:
            return self._of_one_type(schema)
        described = {"description": schema["description"]} if "description" in schema else {}
        return {**described, **_any_of([self.plain(branch) for branch in branches])}

    def _of_one_type(self, schema: JsonObject) -> JsonObject:
        plain: JsonObject = {"type": _type(schema)}
        plain.update((name, schema[name]) for name in _KEPT if name in schema)
        if isinstance(plain.get("additionalProperties"), dict):
            plain["additionalProperties"] = self.plain(plain["additionalProperties"])
        if "properties" in schema:
            properties = mapping(schema["properties"])
            plain["properties"] = {name: self.plain(inner) for name, inner in properties.items()}
        if plain["type"] == "array":
            plain["items"] = self.plain(schema.get("items", True))
        return plain


def _merged(schema: JsonObject) -> JsonObject:
    """The schema without `const` and `allOf`, which the flavour does not know."""
    if "const" in schema:
        schema = {**schema, "enum": [schema["const"]]}
    parts = [_merged(mapping(part)) for part in schema.get("allOf") or ()]
    schema = {name: value for name, value in schema.items() if name != "allOf"}
    for inner in parts:
        properties = {**mapping(schema.get("properties")), **mapping(inner.get("properties"))}
        required = [*(schema.get("required") or ()), *(inner.get("required") or ())]
        schema = {**schema, **inner}
        schema |= {"properties": properties} if properties else {}
        schema |= {"required": list(dict.fromkeys(required))} if required else {}
    return schema


def _branches(schema: JsonObject) -> list[JsonObject] | None:
    """The alternatives of a schema, each with what stood beside them: of `anyOf`, `oneOf`, several types, mixed
    enums."""
    beside = {
        name: value for name, value in schema.items() if name not in ("anyOf", "oneOf", "type", "enum", "description")
    }
    for name in ("anyOf", "oneOf"):
        if alternatives := schema.get(name):
            own = {"type": schema["type"]} if "type" in schema else {}
            inner = [{**beside, **own, **mapping(branch)} for branch in alternatives]
            return [branch if "$ref" not in branch else {"$ref": branch["$ref"]} for branch in inner]
    kinds = schema.get("type")
    if isinstance(kinds, list):
        rest = {**beside, **({"enum": schema["enum"]} if "enum" in schema else {})}
        return [{**rest, "type": kind} for kind in kinds]
    grouped: dict[str, list[object]] = {}
    for value in schema.get("enum") or ():
        grouped.setdefault(_kind(value), []).append(value)
    if len(grouped) > 1:
        return [
            {"type": kind} if kind == "null" else {"type": kind, "enum": values} for kind, values in grouped.items()
        ]
    return None


def _any_of(branches: list[JsonObject]) -> JsonObject:
    return branches[0] if len(branches) == 1 else {"anyOf": branches}


def _type(schema: JsonObject) -> str:
    """The type of a schema that need not say it."""
    if isinstance(schema.get("type"), str):
        return str(schema["type"])
    if values := schema.get("enum"):
        return _kind(values[0])
    if "properties" in schema or "required" in schema or "additionalProperties" in schema:
        return "object"
    return "array" if "items" in schema else "string"


def _kind(value: object) -> str:
    return next(name for name, kind in _KINDS if isinstance(value, kind))


def inlined(schema: JsonObject) -> JsonObject:
    """`schema` with its local references put in place, for Ollama, which drops `$ref` from tools without a word.

    A reference that leads back into itself, or out of the schema, stays as it is; so does all of a schema that would
    grow beyond `LARGEST`.
    """
    definitions: dict[str, object] = {}
    for place in ("$defs", "definitions"):
        definitions |= {f"#/{place}/{name}": inner for name, inner in mapping(schema.get(place)).items()}
    if not definitions:
        return schema
    rest = {name: value for name, value in schema.items() if name not in ("$defs", "definitions")}
    try:
        return mapping(_Inliner(definitions).inline(rest, frozenset()))
    except OverflowError:
        return schema


class _Inliner:
    def __init__(self, definitions: dict[str, object]) -> None:
        self._definitions = definitions
        self._left = LARGEST

    def inline(self, value: object, above: frozenset[str]) -> object:
        self._left -= 1
        if self._left < 0:
            raise OverflowError
        if isinstance(value, list):
            return [self.inline(item, above) for item in value]
        if not isinstance(value, dict):
            return value
        reference = value.get("$ref")
        if isinstance(reference, str) and reference in self._definitions and reference not in above:
            beside = {name: inner for name, inner in value.items() if name != "$ref"}
            return self.inline({**mapping(self._definitions[reference]), **beside}, above | {reference})
        return {name: self.inline(inner, above) for name, inner in value.items()}
