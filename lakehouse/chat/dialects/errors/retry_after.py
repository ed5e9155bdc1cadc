"""When an upstream says that it may be asked again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import isfinite

from lakehouse.chat.dialects.lenient_json import JsonObject, mapping

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def retry_after(headers: Mapping[str, str], error: JsonObject, *, now: float) -> float | None:
    """Seconds from `now` (unix time) until the upstream may be asked again, or None if it does not say.

    The `Retry-After` header goes before what the body says, that before the reset of a rate limit. Names of `headers`
    are in lower case.
    """
    metadata = mapping(error.get("metadata"))
    inner = {name.lower(): value for name, value in mapping(metadata.get("headers")).items()}
    hints = (
        _milliseconds(headers.get("retry-after-ms")),
        _seconds_or_date(headers.get("retry-after"), now),
        _number(mapping(error.get("availability")).get("retry_after")),
        _seconds_or_date(inner.get("retry-after"), now),
        _number(metadata.get("retry_after")),
        _reset(headers.get("x-ratelimit-reset"), now),
        _reset(inner.get("x-ratelimit-reset"), now),
        _spent(headers),
    )
    return next((max(0.0, hint) for hint in hints if hint is not None), None)


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):  # an integer may be larger than any float
        return None
    return number if number is not None and isfinite(number) else None


def _milliseconds(value: object) -> float | None:
    number = _number(value)
    return None if number is None else number / 1000


def _seconds_or_date(value: object, now: float) -> float | None:
    number = _number(value)
    if number is not None or not isinstance(value, str):
        return number
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now


def _reset(value: object, now: float) -> float | None:
    """`X-RateLimit-Reset`, its unit told by its size: unix time in milliseconds or seconds, else seconds from now."""
    number = _number(value)
    if number is None:
        return None
    if number > 1e11:
        return number / 1000 - now
    return number - now if number > 1e9 else number


def _spent(headers: Mapping[str, str]) -> float | None:
    """OpenAI's resets, a Go duration (`1.86s`, `6m0s`) for each of its limits: the longest of those that are spent."""
    waits = [
        _duration(headers.get(f"x-ratelimit-reset-{limit}", ""))
        for limit in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{limit}") == "0"
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def _duration(text: str) -> float | None:
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    if not parts or "".join(map("".join, parts)) != text:
        return None
    return _number(sum(float(number) * _UNITS[unit] for number, unit in parts))
