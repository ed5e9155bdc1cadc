"""How much it takes to check a value against a schema: estimated before it is done, for whoever checks an answer holds
up everybody else, and both the schema and, by way of the model, the answer are the caller's to choose.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple
from urllib.parse import unquote

from lakehouse.chat.dialects.lenient_json import JsonObject

MAX_EXPANDED = 100_000
"""Schemas that one schema may come to with its references followed."""

MAX_STEPS = 4 * MAX_EXPANDED
"""Schemas that are looked at to find that out, for what is referred to in several ways is looked at again."""

_SAME = frozenset(
    ("anyOf", "oneOf", "allOf", "if", "then", "else", "not", "dependentSchemas", "dependencies")
)  # whose schemas are about the value itself
_REFERENCES = frozenset(("$ref", "$dynamicRef", "$recursiveRef"))
_PROPERTIES = frozenset(("properties", "patternProperties"))
_OF_NAMES = _PROPERTIES | {"dependentSchemas", "dependencies"}  # whose schemas stand behind names
_WITHIN = _PROPERTIES | {
    *("additionalProperties", "unevaluatedProperties", "propertyNames"),
    *("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"),
}  # whose schemas are about what is in the value

_DRAFTS = ("http://json-schema.org/draft", "https://json-schema.org/draft")


class _Size(NamedTuple):
    """Of a part of a schema: its objects, and against how many of them a value is tried that meets the part, and how
    many of these look into it."""

    objects: int = 0
    ways: int = 0
    through: int = 0

    @classmethod
    def sum(cls, sizes: Iterable[_Size]) -> _Size:
        return cls(*map(sum, zip(*sizes, strict=True)))


DRAFT = _Size(200, 100, 10)
"""A schema of schemas, roughly: who means one refers to its address."""


class SchemaTooComplex(ValueError):
    """A schema that is not worth beginning with."""


class SchemaCost:
    """What a schema comes to.

    `expanded` is how many objects it has with its references followed; what refers to itself counts once, and
    `recursive` says that there is such a thing. One value is tried against `ways` of its schemas at the most before
    what is in it is; `through` of these look into it. Raises `SchemaTooComplex`.
    """

    def __init__(self, schema: JsonObject) -> None:
        self.recursive = False
        self.ways = self.through = 1
        self._bases, self._anchors = _places(schema)
        self._has_ids = len(self._bases) > 1 or "$id" in schema or "id" in schema
        self._known: dict[str, _Size | None] = {}  # None: is being followed
        self._steps = 0
        try:
            self.expanded = self._measure(schema).objects
        except RecursionError:
            raise SchemaTooComplex("it is nested too deeply") from None
        if self.expanded > MAX_EXPANDED:
            raise SchemaTooComplex(f"it comes to more than {MAX_EXPANDED} schemas with its references followed")

    def checks(self, value: object) -> int:
        """How many checks it takes at most to say whether `value` fits: what refers to itself is remembered then."""
        size, depth = _extent(value)
        return size * min(self.expanded, self._each(depth))

    def findings(self, value: object) -> int:
        """How many it takes to say where it does not, for which nothing is remembered."""
        size, depth = _extent(value)
        each = self._each(depth)
        return size * (each if self.recursive else min(self.expanded, each))

    def _each(self, depth: int) -> int:
        each: int = self.ways * self.through**depth
        return each

    def _measure(self, schema: object) -> _Size:
        if isinstance(schema, list):
            return _Size.sum(map(self._measure, schema))
        if not isinstance(schema, dict):
            return _Size()
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise SchemaTooComplex(f"it takes more than {MAX_STEPS} steps to follow its references")
        size = _Size(1, 1, not _WITHIN.isdisjoint(schema))
        for key, inner in schema.items():
            if key in _REFERENCES:
                size = _Size.sum((size, self._followed(inner)))
            elif key in _SAME:
                size = _Size.sum((size, *map(self._measure, _schemas(key, inner))))
            elif key in _WITHIN:
                objects = sum(self._measure(below).objects for below in _schemas(key, inner))
                size = size._replace(objects=size.objects + objects)
        several = 1 + len(_schemas("patternProperties", schema.get("patternProperties")))  # may mean the same property
        self.ways, self.through = max(self.ways, size.ways * several), max(self.through, size.through * several)
        return size

    def _followed(self, reference: object) -> _Size:
        if not isinstance(reference, str):
            return _Size()
        if reference.startswith(_DRAFTS):
            self.recursive = True
            return DRAFT
        if reference not in self._known:
            self._known[reference] = None
            self._known[reference] = _Size.sum(map(self._measure, self._targets(reference)))
        known = self._known[reference]
        self.recursive = self.recursive or known is None
        return known or _Size(1, 1, 1)

    def _targets(self, reference: str) -> list[object]:
        """What it may lead to. Which schema it is relative to is not looked at, so these can be more than one."""
        base, _, place = reference.partition("#")
        if base and not self._has_ids:
            found: list[object] = []
        elif place and not place.startswith("/"):
            found = list(self._anchors.get(place, ()))
        else:
            steps = [unquote(step).replace("~1", "/").replace("~0", "~") for step in place.split("/")[1:]]
            found = [target for base in self._bases if (target := _at(base, steps)) is not None]
        self._steps += len(self._bases)
        if not found:
            raise SchemaTooComplex(f"{reference[:200]!r} is no path in it, such as '#/$defs/name', and nothing's name")
        return found


def _schemas(key: str, inner: object) -> Collection[object]:
    """The schemas that stand behind a keyword, or lists of them."""
    if key in _OF_NAMES:
        return inner.values() if isinstance(inner, dict) else ()
    return (inner,)


def _places(schema: JsonObject) -> tuple[list[object], dict[str, list[object]]]:
    """What in a schema references may be relative to, and what has a name by which it can be referred to."""
    bases: list[object] = [schema]
    anchors: dict[str, list[object]] = {}
    left: list[object] = [schema]
    while left:
        part = left.pop()
        left += _inner(part)
        if isinstance(part, dict):
            names = [part.get(key) for key in ("$anchor", "$dynamicAnchor", "$id", "id")]
            if part is not schema and any(isinstance(name, str) for name in names[2:]):
                bases.append(part)
            for name in {name.removeprefix("#") for name in names if isinstance(name, str)}:
                anchors.setdefault(name, []).append(part)
    return bases, anchors


def _at(found: object, steps: Iterable[str]) -> object:
    for name in steps:
        if isinstance(found, list):
            found = found[int(name)] if name.isdecimal() and len(name) < 9 and int(name) < len(found) else None
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found


def _extent(value: object) -> tuple[int, int]:
    """How many values there are in a value, itself included, and how deep they nest."""
    size, depth, level = 1, 0, [value]
    while level := [inner for outer in level for inner in _inner(outer)]:
        size += len(level)
        depth += 1
    return size, depth


def _inner(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
