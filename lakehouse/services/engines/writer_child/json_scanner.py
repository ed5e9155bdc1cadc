"""JSON values from text, without loss: the scanner of the standard library with other Python types.

    object   a tuple of (key, value) pairs, so that duplicate keys are seen
    array    a list
    number   int and float where the value is exact, otherwise `Inexact`; or, with `raw`, `RawNumber` for every number

The scanner runs in C; only fractions call back into Python.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from json.scanner import c_make_scanner  # type: ignore[attr-defined]

Scan = Callable[[str, int], tuple[object, int]]
"""Scans the value at an index. Returns it and the index behind it; raises JSONDecodeError, StopIteration (no value
begins there), RecursionError, `ForbiddenConstant`, and, if it is not slow, ValueError for an integer of thousands of
digits."""

MAX_DEPTH = 200
_LONGEST_INTEGER = 40
"""Digits up to which an integer is converted: beyond 64 bits its text is kept anyway."""


class RawNumber(str):
    """A number as it was written."""

    __slots__ = ()


class Inexact(RawNumber):
    """A number that neither a 64-bit integer nor a double gives back."""

    __slots__ = ()


class ForbiddenConstant(ValueError):
    """NaN or an infinity, which JSON does not have."""


def make_scanner(*, raw: bool = False, slow: bool = False) -> Scan:
    """A scanner; a slow one keeps the sign of an integer zero, and very long integers."""
    decoder = json.JSONDecoder(
        object_pairs_hook=tuple,
        parse_float=RawNumber if raw else _parse_fraction,
        parse_int=RawNumber if raw else _parse_integer if slow else int,
        parse_constant=_refuse_constant,
    )
    scan: Scan = c_make_scanner(decoder)
    return scan


_NEGATIVE_ZERO = re.compile(r"-0(?![.0-9eE])")


def needs_slow_scanner(text: str) -> bool:
    """Whether the text may have an integer that Python's `int` would change."""
    return "-0" in text and _NEGATIVE_ZERO.search(text) is not None


def _parse_integer(text: str) -> object:
    return int(text) if len(text) < _LONGEST_INTEGER and text != "-0" else Inexact(text)


def _parse_fraction(text: str) -> object:
    value = float(text)
    if len(text) < 17 and "e" not in text and "E" not in text:
        return value  # at most 15 digits: always exact
    if repr(value) == text or (math.isfinite(value) and Decimal(text) == Decimal(repr(value))):
        return value
    return Inexact(text)


def _refuse_constant(name: str) -> object:
    raise ForbiddenConstant(f"{name} is not JSON: write null")


def find_lone_surrogate(value: object) -> bool:
    """Whether a string or a key in a value has half of a surrogate pair."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return True
        return False
    if isinstance(value, tuple):
        return any(find_lone_surrogate(key) or find_lone_surrogate(child) for key, child in value)
    return isinstance(value, list) and any(map(find_lone_surrogate, value))


_quote = json.encoder.encode_basestring


def quote_json(text: str) -> str:
    """A string as JSON."""
    quoted: str = _quote(text)
    return quoted


def write_json(value: object) -> str:
    """A value as compact JSON. Numbers of a raw scanner are written as they were."""
    if isinstance(value, RawNumber):
        return str(value)
    if isinstance(value, str):
        return quote_json(value)
    if isinstance(value, tuple):
        return "{" + ",".join(f"{quote_json(key)}:{write_json(child)}" for key, child in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write_json, value)) + "]"
    return "null" if value is None else "true" if value is True else "false" if value is False else repr(value)
