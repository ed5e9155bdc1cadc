"""Filters over metadata: the parser, and the two ways to evaluate one: over columns of an index, and over one item.

    {"a": 1}  {"a": [1, 2]}  {"a": {"gte": 1, "lt": 5}}  {"and": [...]}  {"or": [...]}  {"not": {...}}

All parts of an object must hold. Numbers compare by value (1 and 1.0 are equal, true is no number), texts by their code
points, and a range matches only values of its own kind. A list in the metadata matches if one of its elements does.
An absent field matches nothing but `{"exists": false}`, `{"ne": ...}` and their like under `not`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from lakehouse.core.errors import ErrBadRequest

MAX_DEPTH = 32
MAX_PARTS = 10_000
"""Conditions of one filter, and values of its lists."""

Mask = NDArray[np.bool_]
Scalar = str | int | float | bool | None

_RANGES: Mapping[str, Callable[[float, float], bool]] = {"gte": ge, "gt": gt, "lte": le, "lt": lt}
_ABSENT = object()


def _key(value: object) -> object:
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
        present = value is not _ABSENT and value is not None
        if self.exists is not None and self.exists != present:
            return False
        elements = value if isinstance(value, list) else [value] if value is not _ABSENT else []
        if self.not_among is not None and any(_key(one) in self.not_among for one in elements if _hashable(one)):
            return False
        if self.among is not None and not any(_key(one) in self.among for one in elements if _hashable(one)):
            return False
        return not self.ranges or any(self._in_range(one) for one in elements)

    def _in_range(self, value: object) -> bool:
        for name, bound in self.ranges:
            if isinstance(value, bool) or isinstance(value, str) != isinstance(bound, str):
                return False
            if not isinstance(value, str | int | float) or not _RANGES[name](value, bound):  # type: ignore[arg-type]
                return False
        return True


def _hashable(value: object) -> bool:
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
            part.matches(metadata.get(part.field, _ABSENT)) if isinstance(part, Condition) else part.matches(metadata)
            for part in self.parts
        )
        return result != self.negated

    def select(self, column: Callable[[str], Column], length: int) -> Mask:
        """The items that pass, by the columns of an index with `length` rows."""
        mask = np.full(length, not self.any_of)
        for part in self.parts:
            chosen = column(part.field).select(part) if isinstance(part, Condition) else part.select(column, length)
            mask = mask | chosen if self.any_of else mask & chosen
        return ~mask if self.negated else mask


class Column:
    """One field of an index's metadata: every distinct value once, and for each row which of them it has.

    The code 0 is the absent value.
    """

    def __init__(self) -> None:
        self.values: list[object] = [_ABSENT]
        self._numbers = np.full(64, np.nan)
        self._codes_of: dict[object, int] = {}
        self._codes = np.zeros(1024, np.int32)
        self._length = 0
        self._plain = True
        """Whether every value is a scalar that float64 holds exactly, so that equality is one look-up."""

    @property
    def nbytes(self) -> int:
        """The memory of the column, roughly."""
        return self._codes.nbytes + self._numbers.nbytes + 100 * len(self.values)

    def append(self, values: list[object]) -> None:
        """Add the values of the next rows, `ABSENT` for none."""
        wanted = self._length + len(values)
        if wanted > len(self._codes):
            self._codes = np.concatenate([self._codes, np.zeros(max(wanted, len(self._codes)), np.int32)])
        self._codes[self._length : wanted] = [self._encode(value) for value in values]
        self._length = wanted

    def put(self, positions: NDArray[np.int64], values: Sequence[object]) -> None:
        """Set the values of rows that the column has."""
        self._codes[positions] = [self._encode(value) for value in values]

    def _encode(self, value: object) -> int:
        if value is _ABSENT:
            return 0
        key = _key(value) if _hashable(value) else (msgspec.json.encode(value),)
        code = self._codes_of.get(key)
        if code is None:
            code = self._codes_of[key] = len(self.values)
            self.values.append(value)
            self._add_number(code, value)
        return code

    def _add_number(self, code: int, value: object) -> None:
        if code >= len(self._numbers):
            self._numbers = np.concatenate([self._numbers, np.full(len(self._numbers), np.nan)])
        if isinstance(value, int | float) and not isinstance(value, bool):
            if isinstance(value, int) and abs(value) > 2**53:
                self._plain = False
            else:
                self._numbers[code] = value
        elif not _hashable(value):
            self._plain = False

    def select(self, condition: Condition) -> Mask:
        """The rows whose values satisfy a condition."""
        codes = self._codes[: self._length]
        if self._plain and condition.among is not None and not condition.ranges and condition.not_among is None:
            wanted = [self._codes_of[key] for key in condition.among if key in self._codes_of]
            if condition.exists is None and len(wanted) == 1:
                same: Mask = codes == wanted[0]
                return same
        chosen: Mask = self._select_values(condition)[codes]
        return chosen

    def _select_values(self, condition: Condition) -> Mask:
        """Which of the distinct values satisfy a condition."""
        count = len(self.values)
        numeric = all(isinstance(bound, int | float) and abs(bound) <= 2**53 for _, bound in condition.ranges)
        others = (condition.among, condition.not_among, condition.exists)
        only_ranges = bool(condition.ranges) and others == (None, None, None)
        if self._plain and numeric and only_ranges:
            numbers, chosen = self._numbers[:count], np.ones(count, np.bool_)
            for name, bound in condition.ranges:
                chosen &= _NUMPY_RANGES[name](numbers, bound)  # NaN, which stands for other values, is in no range
            return chosen
        return np.fromiter((condition.matches(value) for value in self.values), np.bool_, count)


_NUMPY_RANGES: Mapping[str, Callable[..., Mask]] = {
    "gte": np.greater_equal,
    "gt": np.greater,
    "lte": np.less_equal,
    "lt": np.less,
}

_METADATA = msgspec.json.Decoder(dict[str, object])


def decode_metadata(metadata: bytes) -> dict[str, object]:
    """The metadata of an item; empty if it has none."""
    return _METADATA.decode(metadata) if metadata else {}


def value_of(metadata: Mapping[str, object], field: str) -> object:
    """The value of a field for `Column.append`."""
    return metadata.get(field, _ABSENT)


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
            if operator in _RANGES:
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
        if not all(_hashable(one) for one in values):
            _refuse(path, "must be a text, a number, true, false, null, or a list of these")
        return frozenset(_key(one) for one in values)
