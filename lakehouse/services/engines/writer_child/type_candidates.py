"""The types that a column of text may get, and the exact test of each: every value comes back as it was written.

Each candidate has the test twice: in Python for the first rows, which select the candidates, and in SQL for all rows,
which decides. The test in SQL is `CAST(CAST(value AS type) AS VARCHAR) = value`, with two exceptions where the value is
the same: whole numbers up to 2^53 beside fractions are a DOUBLE, and ISO 8601 with T, and with Z or without, is a point
in time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

MAX_EXACT = 2**53
MAX_BIGINT = 2**63 - 1
WORDS = ("nan", "inf", "-inf")
"""Texts that come back from a DOUBLE, and do not make one without a number beside them."""

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
_FRACTION = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:e[+-][0-9]{2,3})?")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)\.([0-9]+)")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} " + _TIME + r":[0-5][0-9](?:\.[0-9]{0,5}[1-9])?")
ISO_PATTERN = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T" + _TIME + r"(?::[0-5][0-9](?:\.[0-9]{1,6})?)?"
_ISO = re.compile(ISO_PATTERN)
_FIRST_DAY, _LAST_DAY = "DATE '0001-01-01'", "DATE '9999-12-31'"
_FIRST_TIME, _LAST_TIME = "TIMESTAMP '0001-01-01 00:00:00'", "TIMESTAMP '9999-12-31 23:59:59.999999'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One type that a column may get. `mismatch` and `cast` have `{c}` in place of the column's text."""

    type: str
    fits: Callable[[str], bool]
    mismatch: str
    cast: str


def _fits_bigint(text: str) -> bool:
    return _WHOLE.fullmatch(text) is not None and -MAX_BIGINT - 1 <= int(text) <= MAX_BIGINT


def _fits_double(text: str) -> bool:
    if _WHOLE.fullmatch(text):
        return abs(int(text)) <= MAX_EXACT
    return text in WORDS or (_FRACTION.fullmatch(text) is not None and repr(float(text)) == text)


def _fits_date(text: str) -> bool:
    return _DATE.fullmatch(text) is not None and _is_day(text)


def _fits_timestamp(text: str) -> bool:
    return _TIMESTAMP.fullmatch(text) is not None and _is_day(text[:10])


def _fits_iso(text: str) -> bool:
    return _ISO.fullmatch(text) is not None and _is_day(text[:10])


def _fits_iso_utc(text: str) -> bool:
    return text.endswith("Z") and _fits_iso(text[:-1])


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _round_trip(type_name: str) -> str:
    return f"CAST(TRY_CAST({{c}} AS {type_name}) AS VARCHAR) IS DISTINCT FROM {{c}}"


def _iso_mismatch(suffix: str, pattern: str) -> str:
    time = "TRY_CAST({c} AS TIMESTAMP)"
    text = f"replace(CAST({time} AS VARCHAR), ' ', 'T'){suffix}"
    within = f"{time} BETWEEN {_FIRST_TIME} AND {_LAST_TIME}"
    doubled = pattern.replace("{", "{{").replace("}", "}}")
    other = f"{time} IS NULL OR NOT regexp_full_match({{c}}, '{doubled}')"
    return f"CASE WHEN {text} IS NOT DISTINCT FROM {{c}} THEN NOT {within} ELSE {other} END"


BOOLEAN = Candidate(
    type="BOOLEAN",
    fits=lambda text: text in ("true", "false"),
    mismatch="{c} NOT IN ('true', 'false')",
    cast="CAST({c} AS BOOLEAN)",
)
BIGINT = Candidate(type="BIGINT", fits=_fits_bigint, mismatch=_round_trip("BIGINT"), cast="CAST({c} AS BIGINT)")
DOUBLE = Candidate(
    type="DOUBLE",
    fits=_fits_double,
    mismatch="CASE WHEN CAST(TRY_CAST({c} AS DOUBLE) AS VARCHAR) IS NOT DISTINCT FROM {c} THEN false "
    "ELSE CAST(TRY_CAST({c} AS BIGINT) AS VARCHAR) IS DISTINCT FROM {c} "
    f"OR TRY_CAST({{c}} AS BIGINT) NOT BETWEEN -{MAX_EXACT} AND {MAX_EXACT} END",
    cast="CAST({c} AS DOUBLE)",
)
DATE = Candidate(
    type="DATE",
    fits=_fits_date,
    mismatch=f"{_round_trip('DATE')} OR TRY_CAST({{c}} AS DATE) NOT BETWEEN {_FIRST_DAY} AND {_LAST_DAY}",
    cast="CAST({c} AS DATE)",
)
TIMESTAMP = Candidate(
    type="TIMESTAMP",
    fits=_fits_timestamp,
    mismatch=f"{_round_trip('TIMESTAMP')} OR TRY_CAST({{c}} AS TIMESTAMP) NOT BETWEEN {_FIRST_TIME} AND {_LAST_TIME}",
    cast="CAST({c} AS TIMESTAMP)",
)
ISO = Candidate(
    type="TIMESTAMP",
    fits=_fits_iso,
    mismatch=_iso_mismatch("", ISO_PATTERN),
    cast="CAST({c} AS TIMESTAMP)",
)
ISO_UTC = Candidate(
    type="TIMESTAMP WITH TIME ZONE",
    fits=_fits_iso_utc,
    mismatch=_iso_mismatch(" || 'Z'", ISO_PATTERN + "Z"),
    cast="CAST(CAST({c} AS TIMESTAMP) AS TIMESTAMP WITH TIME ZONE)",
)


def make_decimal(precision: int, scale: int) -> Candidate:
    """A DECIMAL of one scale."""
    type_name = f"DECIMAL({precision},{scale})"

    def fits(text: str) -> bool:
        match = _DECIMAL.fullmatch(text)
        if match is None or len(match[1]) != scale:
            return False
        digits = text.strip("-").replace(".", "").lstrip("0")
        return len(digits) <= precision and not (text.startswith("-") and not digits)

    return Candidate(type=type_name, fits=fits, mismatch=_round_trip(type_name), cast=f"CAST({{c}} AS {type_name})")


FIXED = (BOOLEAN, BIGINT, DOUBLE, DATE, TIMESTAMP, ISO, ISO_UTC)


def find_candidates(text: str) -> list[Candidate]:
    """List the types from which a value comes back, the preferred ones first."""
    candidates = [candidate for candidate in FIXED if candidate.fits(text)]
    match = _DECIMAL.fullmatch(text)
    if match is not None and len(match[1]) < 38:
        scale = len(match[1])
        decimals = [make_decimal(18, scale)] if scale < 18 else []
        candidates += [decimal for decimal in (*decimals, make_decimal(38, scale)) if decimal.fits(text)]
    return candidates
