"""How much it takes to check a value against a schema: estimated before it is done, for whoever checks an answer holds
up everybody else, and both the schema and, by way of the model, the answer are the caller's to choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote

from lakehouse.chat.dialects.documents import JsonObject

MAX_EXPANDED = 100_000
"""Schemas that one schema may come to with its references followed."""

_ALTERNATIVES = ("anyOf", "oneOf", "allOf", "if", "then", "else", "not")
_DEPENDENT = ("dependentSchemas", "dependencies")
_INNER = (
    *("properties", "patternProperties", "additionalProperties", "unevaluatedProperties", "propertyNames"),
    *("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"),
)
_NAMED = ("$defs", "definitions")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_NAMES = ("$anchor", "$dynamicAnchor")


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


class TooMuch(ValueError):
    """A schema that is not worth beginning with."""


class Effort:
    """What a schema comes to.

    `expanded` is how many objects it has with its references followed; what refers to itself counts once, and
    `recursive` says that there is such a thing. One value is tried against `ways` of its schemas at the most before
    what is in it is; `through` of these look into it. Raises `TooMuch`.
    """

    def __init__(self, schema: JsonObject) -> None:
        self.recursive = False
        self.ways = self.through = 1
        self._whole = schema
        self._named = dict(_named(schema))
        self._known: dict[str, _Size | None] = {}  # None: is being followed
        try:
            self.expanded = self._measure(schema).objects
        except RecursionError:
            raise TooMuch("it is nested too deeply") from None
        if self.expanded > MAX_EXPANDED:
            raise TooMuch(f"it comes to more than {MAX_EXPANDED} schemas with its references followed")

    def checks(self, value: object) -> float:
        """How many checks it takes at most to say whether `value` fits: what refers to itself is remembered then."""
        size, depth = _extent(value)
        return size * min(float(self.expanded), self.ways * float(self.through) ** depth)

    def findings(self, value: object) -> float:
        """How many it takes to say where it does not, for which nothing is remembered."""
        size, depth = _extent(value)
        each = self.ways * float(self.through) ** depth
        return size * (each if self.recursive else min(float(self.expanded), each))

    def _measure(self, part: object) -> _Size:
        if isinstance(part, list):
            return _Size.sum(map(self._measure, part))
        if not isinstance(part, dict):
            return _Size()
        size = _Size(1, 1, any(key in part for key in _INNER))
        for key, inner in part.items():
            if key in _NAMED:
                continue  # counted where they are referred to
            more = self._followed(inner) if key in _REFERENCES else self._measure(inner)
            if key in _DEPENDENT and isinstance(inner, dict):
                more = _Size.sum(map(self._measure, inner.values()))
            same = key in _ALTERNATIVES or key in _REFERENCES or key in _DEPENDENT
            size = _Size.sum((size, more if same else _Size(more.objects)))
        patterns = part.get("patternProperties")
        several = 1 + (len(patterns) if isinstance(patterns, dict) else 0)  # may be about the same property
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
            self._known[reference] = self._measure(self._target(reference))
        known = self._known[reference]
        self.recursive = self.recursive or known is None
        return known or _Size(1, 1, 1)

    def _target(self, reference: str) -> object:
        base, _, place = reference.partition("#")
        found = self._named.get(base) if base else self._whole
        if place and not place.startswith("/"):
            found, place = self._named.get(f"#{place}"), ""
        if found is None:
            raise TooMuch(f"{reference[:200]!r} is no path in it, such as '#/$defs/name', and nothing's name")
        for step in place.split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list):
                found = found[int(name)] if name.isdecimal() and len(name) < 9 and int(name) < len(found) else None
            else:
                found = found.get(name) if isinstance(found, dict) else None
        return found


def _named(schema: object) -> Iterator[tuple[str, object]]:
    """What in a schema has a name by which it can be referred to."""
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            yield from (("#" + str(part[key]), part) for key in _NAMES if key in part)
            if isinstance(name := part.get("$id"), str):
                yield name, part
        left += _inner(part)


def _extent(value: object) -> tuple[int, int]:
    """How many values there are in a value, itself included, and how deep they nest."""
    size, depth, level = 1, 0, [value]
    while level := [inner for outer in level for inner in _inner(outer)]:
        size += len(level)
        depth += 1
    return size, depth


def _inner(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
