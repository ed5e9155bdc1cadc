"""Counts and cost."""

from __future__ import annotations

import pytest

from lakehouse.chat.dialects.decoding.usage import parse_money
from lakehouse.chat.dialects.lenient_json import as_count, decode_json


def test_a_count_beyond_the_limit_is_none() -> None:
    """Bytes that are not UTF-8 are decoded by Python's parser, which accepts infinity."""
    document = decode_json(b'{"text": "\xff", "usage": [1e999, -1, 2.5, true, "7", 7, 7.0]}')
    assert isinstance(document, dict)
    assert [as_count(value) for value in document["usage"]] == [None, None, None, None, None, 7, 7]
    assert [as_count(value) for value in (10**400, 1e300, 2**53, 2**53 - 1)] == [None, None, None, 2**53 - 1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0.00030400", "0.000304"), (5.6e-06, "0.0000056"), (0, "0"), ("0", "0"), (True, None), ("NaN", None), ("free", None), (-1, None), ("1e400", None), (1e308, None), (None, None), ({}, None)],
)  # fmt: skip
def test_money(value: object, expected: str | None) -> None:
    amount = parse_money(value)
    assert (None if amount is None else f"{amount.normalize():f}") == expected
