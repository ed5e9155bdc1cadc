"""Estimates the work of checking a value against a JSON schema, before it is done.

A check blocks the event loop, and both the schema and, through the model, the value come from the caller. References
multiply: a schema of a few lines can stand for billions of schemas.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple
from urllib.parse import unquote

from lakehouse.chat.dialects.lenient_json import JsonObject

MAX_EXPANDED = 100_000
"""Schema objects of one schema with its references followed."""

MAX_STEPS = 4 * MAX_EXPANDED
"""Schema objects that are visited to count them. More than `MAX_EXPANDED`, because a target that several spellings of a
reference lead to is visited once for each of them."""

_IN_PLACE = frozenset(("anyOf", "oneOf", "allOf", "if", "then", "else", "not", "dependentSchemas", "dependencies"))
"""Keywords whose schemas apply to the same value."""

_REFERENCES = frozenset(("$ref", "$dynamicRef", "$recursiveRef"))

_PROPERTIES = frozenset(("properties", "patternProperties"))

_BY_NAME = _PROPERTIES | {"dependentSchemas", "dependencies"}
"""Keywords whose value is an object of schemas."""

_TO_CHILDREN = _PROPERTIES | {
    *("additionalProperties", "unevaluatedProperties", "propertyNames"),
    *("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"),
}
"""Keywords whose schemas apply to the children of the value."""

_META_SCHEMAS = ("http://json-schema.org/draft", "https://json-schema.org/draft")


class _Counts(NamedTuple):
    """Counts of one schema, with its references followed."""

    objects: int = 0
    """Schema objects in it."""
    applied: int = 0
    """Schema objects that apply to one and the same value."""
    descending: int = 0
    """Those of `applied` that apply further schemas to the value's children."""

    @classmethod
    def sum(cls, counts: Iterable[_Counts]) -> _Counts:
        return cls(*map(sum, zip(*counts, strict=True)))


META_SCHEMA = _Counts(200, 100, 10)
"""Rough counts of the schema of JSON Schema, to which a schema may refer by its address."""


class SchemaTooComplex(ValueError):
    """Raised for a schema against which no value can be checked in reasonable time."""


class SchemaCost:
    """Upper bounds for the checks that a value takes against `schema`. Raises `SchemaTooComplex`.

    A value at depth 0 is checked against at most `applied` schema objects. At most `descending` of them apply schemas
    to its children, so a value at depth d is checked against at most `applied * descending**d`. A validator that
    remembers results checks no value against more than all `expanded` objects.
    """

    def __init__(self, schema: JsonObject) -> None:
        self.recursive = False
        """The schema contains itself. A self-reference counts once in `expanded`."""
        self.applied = self.descending = 1
        self._references = _ReferenceIndex(schema)
        self._counted: dict[str, _Counts | None] = {}  # by reference; None: the reference is being followed
        self._steps = 0
        try:
            self.expanded = self._count(schema).objects
        except RecursionError:
            raise SchemaTooComplex("it is nested too deeply") from None
        if self.expanded > MAX_EXPANDED:
            raise SchemaTooComplex(f"it comes to more than {MAX_EXPANDED} schemas with its references followed")

    def estimate_checks(self, value: object) -> int:
        """Return the most checks that deciding whether `value` matches can take. That validator remembers the results
        of self-references."""
        size, depth = _measure(value)
        return size * min(self.expanded, self._get_checks_at(depth))

    def estimate_error_checks(self, value: object) -> int:
        """Return the most checks that locating the first mismatch in `value` can take. That validator remembers
        nothing."""
        size, depth = _measure(value)
        checks = self._get_checks_at(depth)
        return size * (checks if self.recursive else min(self.expanded, checks))

    def _get_checks_at(self, depth: int) -> int:
        checks: int = self.applied * self.descending**depth
        return checks

    def _count(self, schema: object) -> _Counts:
        """Return the counts of a schema or of a list of schemas, and update the maxima."""
        if isinstance(schema, list):
            return _Counts.sum(map(self._count, schema))
        if not isinstance(schema, dict):
            return _Counts()
        self._add_steps(1)
        counts = _Counts(1, 1, not _TO_CHILDREN.isdisjoint(schema))
        for keyword, value in schema.items():
            if keyword in _REFERENCES:
                counts = _Counts.sum((counts, self._count_reference(value)))
            elif keyword in _IN_PLACE:
                counts = _Counts.sum((counts, *map(self._count, _get_subschemas(keyword, value))))
            elif keyword in _TO_CHILDREN:
                below = sum(self._count(inner).objects for inner in _get_subschemas(keyword, value))
                counts = counts._replace(objects=counts.objects + below)
        # Each pattern may match the same property as `properties`.
        overlap = 1 + len(_get_subschemas("patternProperties", schema.get("patternProperties")))
        self.applied = max(self.applied, counts.applied * overlap)
        self.descending = max(self.descending, counts.descending * overlap)
        return counts

    def _count_reference(self, reference: object) -> _Counts:
        if not isinstance(reference, str):
            return _Counts()
        if reference.startswith(_META_SCHEMAS):
            self.recursive = True
            return META_SCHEMA
        if reference not in self._counted:
            self._counted[reference] = None
            self._add_steps(len(self._references.bases))
            self._counted[reference] = _Counts.sum(map(self._count, self._references.find(reference)))
        counts = self._counted[reference]
        self.recursive = self.recursive or counts is None
        return counts or _Counts(1, 1, 1)

    def _add_steps(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise SchemaTooComplex(f"it takes more than {MAX_STEPS} steps to follow its references")


class _ReferenceIndex:
    """The schemas that the references in a schema can lead to.

    The base of a relative reference is not determined, so one reference can have several targets, of which all count.
    """

    def __init__(self, schema: JsonObject) -> None:
        self.bases: list[object] = [schema]  # the root, and schemas with an id of their own
        self._anchors: dict[str, list[object]] = {}
        remaining: list[object] = [schema]
        while remaining:
            part = remaining.pop()
            remaining += _get_children(part)
            if isinstance(part, dict):
                self._add(part, is_root=part is schema)
        self._has_ids = len(self.bases) > 1 or "$id" in schema or "id" in schema

    def _add(self, part: JsonObject, *, is_root: bool) -> None:
        names = [part.get(keyword) for keyword in ("$anchor", "$dynamicAnchor", "$id", "id")]
        if not is_root and any(isinstance(name, str) for name in names[2:]):
            self.bases.append(part)
        for name in {name.removeprefix("#") for name in names if isinstance(name, str)}:
            self._anchors.setdefault(name, []).append(part)

    def find(self, reference: str) -> list[object]:
        """Return the possible targets of a reference; raises `SchemaTooComplex` if there are none."""
        base, _, fragment = reference.partition("#")
        if base and not self._has_ids:
            found: list[object] = []
        elif fragment and not fragment.startswith("/"):
            found = list(self._anchors.get(fragment, ()))
        else:
            path = [unquote(step).replace("~1", "/").replace("~0", "~") for step in fragment.split("/")[1:]]
            found = [target for base in self.bases if (target := _resolve_path(base, path)) is not None]
        if not found:
            raise SchemaTooComplex(f"{reference[:200]!r} is no path in it, such as '#/$defs/name', and nothing's name")
        return found


def _get_subschemas(keyword: str, value: object) -> Collection[object]:
    """Return the schemas, or lists of schemas, under a keyword."""
    if keyword in _BY_NAME:
        return value.values() if isinstance(value, dict) else ()
    return (value,)


def _resolve_path(value: object, path: Iterable[str]) -> object:
    for step in path:
        if isinstance(value, list):
            value = value[int(step)] if step.isdecimal() and len(step) < 9 and int(step) < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def _measure(value: object) -> tuple[int, int]:
    """Return the number of values in `value`, itself included, and how deep they nest."""
    size, depth, level = 1, 0, [value]
    while level := [child for parent in level for child in _get_children(parent)]:
        size += len(level)
        depth += 1
    return size, depth


def _get_children(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
