"""The language of filters over metadata: what a filter means, and its parser.

    {"a": 1}  {"a": [1, 2]}  {"a": {"gte": 1, "lt": 5}}  {"and": [...]}  {"or": [...]}  {"not": {...}}

All parts of an object must hold. Numbers compare by value (1 and 1.0 are equal, true is no number), texts by their code
points, and a range matches only values of its own kind. A list in the metadata matches if one of its elements does.
An absent field matches nothing but `{"exists": false}`, `{"ne": ...}` and their like under `not`.

Each engine translates `Filter` to what it has; `matches` is the meaning that all of them keep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import NoReturn

import msgspec

from lakehouse.core.errors import ErrBadRequest

MAX_DEPTH = 32
MAX_PARTS = 10_000
"""Conditions of one filter, and values of its lists."""

RANGES: Mapping[str, Callable[[float, float], bool]] = {"gte": ge, "gt": gt, "lte": le, "lt": lt}
ABSENT = object()
"""The value of a field that the metadata lack."""


def scalar_key(value: object) -> object:
    """What a scalar is compared by: booleans are kept apart from numbers."""
    return (value,) if isinstance(value, bool) else value


@dataclass(frozen=True, slots=True)
class Condition:
    """What one field must satisfy."""

    field: str
    among: frozenset[object] | None = None
    not_among: frozenset[object] | None = None
    ranges: tuple[tuple[str, str | int | float], ...] = ()
    exists: bool | None = None

    def matches(self, value: object) -> bool:
        """Whether a value of the field satisfies the condition; `ABSENT` stands for no value."""
        present = value is not ABSENT and value is not None
        if self.exists is not None and self.exists != present:
            return False
        elements = value if isinstance(value, list) else [value] if value is not ABSENT else []
        if self.not_among is not None and any(scalar_key(one) in self.not_among for one in elements if is_scalar(one)):
            return False
        if self.among is not None and not any(scalar_key(one) in self.among for one in elements if is_scalar(one)):
            return False
        return not self.ranges or any(self._in_range(one) for one in elements)

    def _in_range(self, value: object) -> bool:
        for name, bound in self.ranges:
            if isinstance(value, bool) or isinstance(value, str) != isinstance(bound, str):
                return False
            if not isinstance(value, str | int | float) or not RANGES[name](value, bound):  # type: ignore[arg-type]
                return False
        return True


def is_scalar(value: object) -> bool:
    """Whether a value is a text, a number, a boolean or null."""
    return value is None or isinstance(value, str | int | float | bool)


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter: conditions and filters that must all hold, or one of which must, negated or not."""

    parts: tuple[Condition | Filter, ...]
    any_of: bool = False
    negated: bool = False

    @property
    def fields(self) -> frozenset[str]:
        """The fields that the filter reads."""
        return frozenset[str]().union(
            *((part.field,) if isinstance(part, Condition) else part.fields for part in self.parts)
        )

    def matches(self, metadata: Mapping[str, object]) -> bool:
        """Whether an item with this metadata passes."""
        choose = any if self.any_of else all
        result = choose(
            part.matches(metadata.get(part.field, ABSENT)) if isinstance(part, Condition) else part.matches(metadata)
            for part in self.parts
        )
        return result != self.negated


_METADATA = msgspec.json.Decoder(dict[str, object])


def decode_metadata(metadata: bytes) -> dict[str, object]:
    """The metadata of an item; empty if it has none."""
    return _METADATA.decode(metadata) if metadata else {}


def parse_filter(document: bytes) -> Filter | None:
    """Parse a filter; None for an empty one, which every item passes. Raises ErrBadRequest."""
    if not document:
        return None
    try:
        decoded = msgspec.json.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        _refuse("filter", "is not valid JSON")
    if decoded is None or decoded == {}:
        return None
    return _Parser().parse(decoded, "filter", 0)


def _refuse(path: str, what: str) -> NoReturn:
    raise ErrBadRequest(f"`{path}` {what}", field=path)


class _Parser:
    def __init__(self) -> None:
        self._count = 0

    def _charge(self, path: str, count: int = 1) -> None:
        self._count += count
        if self._count > MAX_PARTS:
            _refuse(path, f"has more than {MAX_PARTS} conditions and values")

    def parse(self, node: object, path: str, depth: int) -> Filter:
        if not isinstance(node, dict):
            _refuse(path, "must be an object")
        if depth > MAX_DEPTH:
            _refuse(path, f"is nested more than {MAX_DEPTH} deep")
        parts: list[Condition | Filter] = []
        for name, value in node.items():
            here = f"{path}.{name}"
            self._charge(path)
            if name in ("and", "or") and isinstance(value, list) and all(isinstance(one, dict) for one in value):
                inner = tuple(self.parse(one, f"{here}[{at}]", depth + 1) for at, one in enumerate(value))
                parts.append(Filter(inner, any_of=name == "or"))
            elif name == "not" and isinstance(value, dict):
                parts.append(Filter((self.parse(value, here, depth + 1),), negated=True))
            else:
                parts.append(self._parse_condition(name, value, here))
        return Filter(tuple(parts))

    def _parse_condition(self, name: str, value: object, path: str) -> Condition:
        if not isinstance(value, dict):
            return Condition(name, among=self._parse_values(value, path))
        if not value:
            _refuse(path, "must have a value, a list, or one of gte, gt, lte, lt, ne, exists")
        ranges: list[tuple[str, str | int | float]] = []
        not_among: frozenset[object] | None = None
        exists: bool | None = None
        for operator, operand in value.items():
            here = f"{path}.{operator}"
            if operator in RANGES:
                if isinstance(operand, bool) or not isinstance(operand, str | int | float):
                    _refuse(here, "must be a number or a text")
                ranges.append((operator, operand))
            elif operator == "ne":
                not_among = self._parse_values(operand, here)
            elif operator == "exists":
                if not isinstance(operand, bool):
                    _refuse(here, "must be true or false")
                exists = operand
            else:
                _refuse(here, "is not an operator: gte, gt, lte, lt, ne, exists")
        return Condition(name, not_among=not_among, ranges=tuple(ranges), exists=exists)

    def _parse_values(self, value: object, path: str) -> frozenset[object]:
        values = value if isinstance(value, list) else [value]
        self._charge(path, len(values))
        if not all(is_scalar(one) for one in values):
            _refuse(path, "must be a text, a number, true, false, null, or a list of these")
        return frozenset(scalar_key(one) for one in values)
