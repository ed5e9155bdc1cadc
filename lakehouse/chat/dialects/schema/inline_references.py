"""Replaces the local references of a JSON schema by their targets."""

from __future__ import annotations

from lakehouse.chat.dialects.lenient_json import JsonObject, as_object

MAX_VALUES = 20_000
"""Values in a schema with its references replaced: a few lines can stand for billions."""


def inline_references(schema: JsonObject) -> JsonObject:
    """Return `schema` with its local references replaced, for Ollama, which drops `$ref` from tools silently.

    A reference to itself, or to something outside the schema, stays. A schema that would grow beyond `MAX_VALUES` is
    returned unchanged.
    """
    definitions: dict[str, object] = {}
    for keyword in ("$defs", "definitions"):
        definitions |= {f"#/{keyword}/{name}": inner for name, inner in as_object(schema.get(keyword)).items()}
    if not definitions:
        return schema
    rest = {name: value for name, value in schema.items() if name not in ("$defs", "definitions")}
    try:
        return as_object(_Inliner(definitions).inline(rest, frozenset()))
    except OverflowError:
        return schema


class _Inliner:
    def __init__(self, definitions: dict[str, object]) -> None:
        self._definitions = definitions
        self._remaining = MAX_VALUES

    def inline(self, value: object, followed: frozenset[str]) -> object:
        """Return `value` with its references replaced, but for those in `followed`, which it is a target of. Raises
        OverflowError beyond `MAX_VALUES`."""
        self._remaining -= 1
        if self._remaining < 0:
            raise OverflowError
        if isinstance(value, list):
            return [self.inline(item, followed) for item in value]
        if not isinstance(value, dict):
            return value
        reference = value.get("$ref")
        if isinstance(reference, str) and reference in self._definitions and reference not in followed:
            siblings = {name: inner for name, inner in value.items() if name != "$ref"}
            return self.inline({**as_object(self._definitions[reference]), **siblings}, followed | {reference})
        return {name: self.inline(inner, followed) for name, inner in value.items()}
