"""The type of a JSON column, from the kinds of all its values.

    booleans                                BOOLEAN
    integers of 64 bits                     BIGINT
    fractions, with integers up to 2^53     DOUBLE
    strings                                 VARCHAR
    objects                                 STRUCT, of the fields of all of them
    arrays                                  a list of the type of all their elements
    anything else, or kinds mixed           VARCHAR: strings as they are, every other value as its JSON

The last rule applies at each level of nesting. `Node.conflict` says at which record a node became text and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lakehouse.services.engines.database import quote_name
from lakehouse.services.engines.writer_child.call_errors import too_large, unprocessable
from lakehouse.services.engines.writer_child.json_scanner import MAX_DEPTH, Inexact
from lakehouse.services.engines.writer_child.source import MAX_VALUE

Pairs = tuple[tuple[str, object], ...]

BOOLEAN, INTEGER, LARGE, HUGE, FRACTION, INEXACT, STRING, OBJECT, ARRAY = (1 << bit for bit in range(9))
"""Kinds of values. `LARGE` is an integer beyond 2^53, `HUGE` one beyond 64 bits, `INEXACT` another number
that a double does not give back."""

_NAMES = {
    BOOLEAN: "booleans",
    INTEGER: "integers",
    LARGE: "integers beyond 2^53",
    HUGE: "integers beyond 64 bits",
    FRACTION: "fractions",
    INEXACT: "numbers that neither BIGINT nor DOUBLE gives back",
    STRING: "strings",
    OBJECT: "objects",
    ARRAY: "arrays",
}
_BY_TYPE: dict[type, int] = {bool: BOOLEAN, float: FRACTION, Inexact: INEXACT, str: STRING}

MAX_EXACT = 2**53
MAX_INTEGER = 2**63 - 1
MAX_FIELDS = 1_000
"""Fields of one nested object: beyond it, keys are data, and the column is JSON text."""
MAX_ORDERS = 4
MAX_TYPED_DEPTH = 32
"""Levels of nesting that become STRUCTs and lists. What lies deeper is JSON text."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Why a node is text: the record that decided it, the path below the column, and the reason."""

    place: int
    path: str
    reason: str


class Node:
    """A column, a field of nested objects, or the elements of arrays."""

    __slots__ = ("_conflict", "element", "fields", "first", "forced", "kinds", "orders")

    def __init__(self) -> None:
        self.kinds = 0
        self.first: dict[int, int] = {}
        """The place of the first value of each kind."""
        self.fields: dict[str, Node] = {}
        self.orders: set[tuple[str, ...]] = set()
        """The first orders in which objects have their keys, at most `MAX_ORDERS`."""
        self.element: Node | None = None
        self.forced = False
        """The client names the type: the values are read as text."""
        self._conflict: Conflict | None = None

    def see(self, kind: int, place: int) -> None:
        """Count a value of a kind. Places come in ascending order for each kind, not across kinds."""
        if not self.kinds & kind:
            self.kinds |= kind
            self.first[kind] = place
        elif place < self.first[kind]:
            self.first[kind] = place

    def see_integers(self, values: Sequence[int], places: Sequence[int]) -> None:
        """Count integers by their size."""
        if min(values) >= -MAX_EXACT and max(values) <= MAX_EXACT:
            self.see(INTEGER, places[0])
            return
        for value, place in zip(values, places, strict=True):
            small, fits = -MAX_EXACT <= value <= MAX_EXACT, -MAX_INTEGER - 1 <= value <= MAX_INTEGER
            self.see(INTEGER if small else LARGE if fits else HUGE, place)

    def see_column(self, kind: type, values: Sequence[object], places: Sequence[int], depth: int = 1) -> None:
        """Count values that have one Python type."""
        if kind is int:
            self.see_integers(values, places)  # type: ignore[arg-type]
        elif kind in (tuple, list):
            for value, place in zip(values, places, strict=True):
                self._see_nested(value, place, depth + 1)
        elif known := _BY_TYPE.get(kind):
            self.see(known, places[0])
            if kind is str:
                _check_strings(values, places)  # type: ignore[arg-type]

    def _see_nested(self, value: object, place: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise unprocessable(f"record {place} is nested deeper than {MAX_DEPTH} levels", line=place)
        if isinstance(value, tuple):
            self.see(OBJECT, place)
            keys = check_keys(value, place)
            if len(self.orders) < MAX_ORDERS:
                self.orders.add(keys)
            for key, child in value:
                field = self.fields.get(key)
                if field is None:
                    field = self.fields[key] = Node()
                field.see_column(type(child), (child,), (place,), depth)
        elif isinstance(value, list):
            self.see(ARRAY, place)
            if self.element is None:
                self.element = Node()
            for child in value:
                self.element.see_column(type(child), (child,), (place,), depth)

    def settle(self, path: str = "", depth: int = 0) -> None:
        """Decide which nodes are text. Called once, when all values have been counted."""
        self._conflict = self._find_conflict(path, depth)
        if self._conflict is None:
            for name, field in self.fields.items():
                field.settle(f"{path}.{name}", depth + 1)
            if self.element is not None:
                self.element.settle(f"{path}[]", depth + 1)

    def _find_conflict(self, path: str, depth: int) -> Conflict | None:
        seen = 0
        for kind, place in sorted(self.first.items(), key=lambda item: item[1]):
            seen |= kind
            if not _has_type(seen):
                return Conflict(place, path, _explain(seen, kind))
        nested = self.first.get(OBJECT, self.first.get(ARRAY, 0))
        if depth >= MAX_TYPED_DEPTH and nested:
            return Conflict(nested, path, f"values are nested deeper than {MAX_TYPED_DEPTH} levels")
        if self.kinds & OBJECT and (reason := _check_fields(list(self.fields))):
            return Conflict(nested, path, reason)
        return None

    @property
    def is_text(self) -> bool:
        """Whether the values are read as text."""
        return self.forced or self._conflict is not None or not self.kinds & ~STRING

    @property
    def needs_rewriting(self) -> bool:
        """Whether DuckDB cannot read the values as they stand: text from other values than strings."""
        if self.forced or self._conflict is not None:
            return True
        children = [*self.fields.values(), *([] if self.element is None else [self.element])]
        return any(child.needs_rewriting for child in children)

    def conflicts(self) -> Iterator[Conflict]:
        """All nodes of this column that are text although not all their values are strings."""
        if self._conflict is not None:
            yield self._conflict
            return
        for field in self.fields.values():
            yield from field.conflicts()
        if self.element is not None:
            yield from self.element.conflicts()

    def type(self, *, undecided: str = "VARCHAR") -> str:
        """The type in DuckDB's notation; `undecided` is that of a node without values."""
        if self.is_text:
            return "VARCHAR" if self.kinds or self.forced else undecided
        if self.kinds & OBJECT:
            fields = (f"{quote_name(name)} {field.type(undecided=undecided)}" for name, field in self.fields.items())
            return f"STRUCT({', '.join(fields)})"
        if self.kinds & ARRAY:
            return f"{undecided if self.element is None else self.element.type(undecided=undecided)}[]"
        if self.kinds & BOOLEAN:
            return "BOOLEAN"
        return "DOUBLE" if self.kinds & FRACTION else "BIGINT"


def check_keys(pairs: Pairs, place: int) -> tuple[str, ...]:
    """The keys of an object. Refuses one that has a key twice."""
    keys = tuple(key for key, _ in pairs)
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise unprocessable(f"record {place} has the key {twice[:120]!r} twice", line=place, column=twice[:120])
    return keys


def _check_strings(values: Sequence[str], places: Sequence[int]) -> None:
    if max(map(len, values)) <= MAX_VALUE:
        return
    for value, place in zip(values, places, strict=True):
        if len(value) > MAX_VALUE:
            raise too_large(
                f"record {place} has a string of {len(value)} characters: the limit of a value is 16 MiB", line=place
            )


def _has_type(kinds: int) -> bool:
    """Whether values of all these kinds have one type that gives each of them back."""
    numbers = not kinds & ~(INTEGER | LARGE) or not kinds & ~(INTEGER | FRACTION)
    return numbers or kinds in (BOOLEAN, STRING, OBJECT, ARRAY)


def _explain(seen: int, last: int) -> str:
    others = [name for kind, name in _NAMES.items() if seen & kind and kind != last]
    if not others:
        return f"it has {_NAMES[last]}"
    return f"it has {_NAMES[last]} beside {' and '.join(others)}"


def _check_fields(names: list[str]) -> str:
    """Why objects with these keys cannot be a STRUCT, or ""."""
    if not names:
        return "its objects have no keys"
    if len(names) > MAX_FIELDS:
        return f"its objects have more than {MAX_FIELDS} different keys"
    if "" in names:
        return "its objects have an empty key"
    folded = [name.casefold() for name in names]
    if len(set(folded)) != len(folded):
        return "its objects have keys that differ in case only"
    return ""
