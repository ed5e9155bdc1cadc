"""How long an upstream requires its client to wait."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import isfinite

from lakehouse.chat.dialects.lenient_json import JsonObject, as_object

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def parse_retry_after(headers: Mapping[str, str], error: JsonObject, *, now: float) -> float | None:
    """Return the seconds from `now` (unix time) until the upstream accepts another request, or None if it does not
    state them.

    The `Retry-After` header goes before the error object, and that before the reset of a rate limit. Names of `headers`
    are in lower case.
    """
    metadata = as_object(error.get("metadata"))
    inner = {name.lower(): value for name, value in as_object(metadata.get("headers")).items()}
    waits = (
        _parse_milliseconds(headers.get("retry-after-ms")),
        _parse_seconds_or_date(headers.get("retry-after"), now),
        _parse_number(error.get("retry_after")),
        _parse_number(as_object(error.get("availability")).get("retry_after")),
        _parse_seconds_or_date(inner.get("retry-after"), now),
        _parse_number(metadata.get("retry_after")),
        _parse_reset(headers.get("x-ratelimit-reset"), now),
        _parse_reset(inner.get("x-ratelimit-reset"), now),
        _find_longest_reset(headers),
    )
    return next((max(0.0, wait) for wait in waits if wait is not None), None)


def _parse_number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):  # an integer may be larger than any float
        return None
    return number if number is not None and isfinite(number) else None


def _parse_milliseconds(value: object) -> float | None:
    number = _parse_number(value)
    return None if number is None else number / 1000


def _parse_seconds_or_date(value: object, now: float) -> float | None:
    number = _parse_number(value)
    if number is not None or not isinstance(value, str):
        return number
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now


def _parse_reset(value: object, now: float) -> float | None:
    """Parse `X-RateLimit-Reset`. The unit depends on the size: unix time in milliseconds or seconds, else seconds from
    now."""
    number = _parse_number(value)
    if number is None:
        return None
    if number > 1e11:
        return number / 1000 - now
    return number - now if number > 1e9 else number


def _find_longest_reset(headers: Mapping[str, str]) -> float | None:
    """Return the longest reset among OpenAI's exhausted limits. Each reset is a Go duration (`1.86s`, `6m0s`)."""
    waits = [
        _parse_duration(headers.get(f"x-ratelimit-reset-{limit}", ""))
        for limit in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{limit}") == "0"
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def _parse_duration(text: str) -> float | None:
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    if not parts or "".join(map("".join, parts)) != text:
        return None
    return _parse_number(sum(float(number) * _UNITS[unit] for number, unit in parts))
