"""Small schemas from which others are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tools.kit.doc_pages.openapi.translate import Schema

STRING, NUMBER, INTEGER, BOOLEAN = ({"type": name} for name in ("string", "number", "integer", "boolean"))
DATE_TIME: Schema = {"type": "string", "format": "date-time"}


def array(items: Schema) -> Schema:
    """A list of values that all have this schema."""
    return {"type": "array", "items": items}


def nullable(schema: Schema) -> Schema:
    """The schema or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def struct(properties: Mapping[str, Schema], about: str = "", *, optional: Sequence[str] = ()) -> Schema:
    """An object with these properties; all but `optional` are always there."""
    required = [name for name in properties if name not in optional]
    described = {"description": about} if about else {}
    return {"type": "object", **described, "properties": dict(properties), "required": required}
