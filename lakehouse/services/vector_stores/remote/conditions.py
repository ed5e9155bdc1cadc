"""Filters in terms that every store has: tokens of the metadata, and ranges of numbers.

An item is stored with a token for each value of each field, one for each field that is there, and the numbers of each
field. So equality, `ne` and `exists` are exactly ours in every store, whatever it takes for equal. What cannot be said
in these terms (ranges of texts, and bounds beyond the integers of float64) becomes a condition that lets more items
through, which are then checked one by one (`Translation.exact` is false).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lakehouse.services.contracts.filter_language import Condition, Filter

EXACT_INTEGERS = 2**53
"""Below this, float64 holds each integer, and a value beyond it is rounded to the right side of a bound."""
TOKEN_BYTES = 12


@dataclass(frozen=True, slots=True)
class Tokens:
    """One of these tokens must be there."""

    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NumberRange:
    """One number of a field must satisfy all bounds: pairs of an operator (gte, gt, lte, lt) and a number."""

    field: str
    bounds: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Every:
    """All parts must hold; without parts, always."""

    parts: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class Some:
    """One part must hold; without parts, never."""

    parts: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """The part must not hold."""

    part: Term


Term = Tokens | NumberRange | Every | Some | Not
ALWAYS, NEVER = Every(), Some()


@dataclass(frozen=True, slots=True)
class Translation:
    """A filter in these terms. If it is not `exact`, it lets items through that the filter does not."""

    term: Term
    exact: bool


def make_value_token(field: str, value: object) -> str:
    """The token of a value. Numbers that are equal have the same one, booleans and texts others."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    kind = "text" if isinstance(value, str) else "bool" if isinstance(value, bool) else "number"
    return _hash(f"{field}\0{kind}\0{value}")


def make_field_token(field: str) -> str:
    """The token of a field that is there and not null."""
    return _hash(field)


def make_source_token(source: str) -> str:
    """The token of the group that an item belongs to (`Item.source`)."""
    return _hash(f"\0source\0{source}")


def _hash(text: str) -> str:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=TOKEN_BYTES).digest()
    return base64.urlsafe_b64encode(digest).decode()


def make_tokens(metadata: Mapping[str, object]) -> list[str]:
    """The tokens of an item, each once."""
    found: dict[str, None] = {}
    for field, value in metadata.items():
        if value is not None:
            found[make_field_token(field)] = None
        for element in _elements(value):
            found[make_value_token(field, element)] = None
    return list(found)


def list_numbers(metadata: Mapping[str, object]) -> dict[str, list[float]]:
    """The numbers of each field of an item that has some."""
    found = {
        field: [float(one) for one in _elements(value) if isinstance(one, int | float) and not isinstance(one, bool)]
        for field, value in metadata.items()
    }
    return {field: numbers for field, numbers in found.items() if numbers}


def _elements(value: object) -> Iterable[object]:
    elements = value if isinstance(value, list) else [value]
    return (one for one in elements if one is None or isinstance(one, str | int | float | bool))


def translate(filters: Sequence[Filter]) -> Translation:
    """The conditions of all filters together."""
    parts = [_translate_filter(one) for one in filters]
    return Translation(_every([part.term for part in parts]), all(part.exact for part in parts))


def _translate_filter(given: Filter) -> Translation:
    parts = [
        _translate_condition(part) if isinstance(part, Condition) else _translate_filter(part) for part in given.parts
    ]
    exact, terms = all(part.exact for part in parts), [part.term for part in parts]
    term = _some(terms) if given.any_of else _every(terms)
    if not given.negated:
        return Translation(term, exact)
    return Translation(Not(term), exact=True) if exact else Translation(ALWAYS, exact=False)


def _translate_condition(condition: Condition) -> Translation:
    field, exact = condition.field, True
    terms: list[Term] = []
    if condition.exists is not None:
        there = Tokens((make_field_token(field),))
        terms.append(there if condition.exists else Not(there))
    if condition.not_among is not None:
        terms.append(Not(_among(field, condition.not_among)))
    if condition.among is not None:
        terms.append(_among(field, condition.among))
    if condition.ranges:
        found = _translate_ranges(field, condition.ranges)
        terms.append(found.term)
        exact = found.exact
    return Translation(_every(terms), exact)


def _among(field: str, keys: Iterable[object]) -> Term:
    values = [key[0] if isinstance(key, tuple) else key for key in keys]
    return Tokens(tuple(sorted(make_value_token(field, value) for value in values))) if values else NEVER


def _translate_ranges(field: str, ranges: Sequence[tuple[str, str | int | float]]) -> Translation:
    texts = [isinstance(bound, str) for _, bound in ranges]
    if any(texts) and not all(texts):
        return Translation(NEVER, exact=True)
    numbers = [(name, bound) for name, bound in ranges if not isinstance(bound, str)]
    if any(texts) or any(abs(bound) >= EXACT_INTEGERS for _, bound in numbers):
        return Translation(Tokens((make_field_token(field),)), exact=False)
    return Translation(NumberRange(field, tuple((name, float(bound)) for name, bound in numbers)), exact=True)


def _every(terms: Iterable[Term]) -> Term:
    kept = tuple(term for term in terms if term != ALWAYS)
    if NEVER in kept:
        return NEVER
    return kept[0] if len(kept) == 1 else Every(kept)


def _some(terms: Iterable[Term]) -> Term:
    kept = tuple(term for term in terms if term != NEVER)
    if ALWAYS in kept:
        return ALWAYS
    return kept[0] if len(kept) == 1 else Some(kept)
