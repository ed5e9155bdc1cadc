"""Conditional requests (RFC 9110, section 13): entity tags, modification times, and the conditions on them.

Pure functions of headers. A reader calls `is_not_modified` before it sends content, a writer before it changes
anything; a writer does not catch `ErrPreconditionFailed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.utils import formatdate, mktime_tz, parsedate_tz

from lakehouse.core.errors import ErrPreconditionFailed

Headers = Sequence[tuple[bytes, bytes]]

_ENTITY_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """By what one version of some content differs from the next.

    `etag` includes its quotes, and `W/` when it is weak; `modified` is in seconds since 1970. Either may be None.
    """

    etag: bytes | None = None
    modified: float | None = None

    def headers(self) -> list[tuple[bytes, bytes]]:
        """`ETag` and `Last-Modified`."""
        headers = [] if self.etag is None else [(b"etag", self.etag)]
        if self.modified is not None:
            headers.append((b"last-modified", formatdate(int(self.modified), usegmt=True).encode()))
        return headers


def is_not_modified(method: str, headers: Headers, current: Validators | None) -> bool:
    """Evaluate the conditions of a request in the order of RFC 9110, 13.2.2.

    `current` is None when there is no content yet. True: the client has this content, and the response is 304. Raises
    `ErrPreconditionFailed` when a condition does not hold. A date that cannot be parsed is ignored.
    """
    reads = method in ("GET", "HEAD")
    if (wanted := _join_values(headers, b"if-match")) is not None:
        if not _matches(wanted, current, strong=True):
            raise ErrPreconditionFailed("If-Match names no current version of this content")
    elif (date := _date(headers, b"if-unmodified-since")) is not None and _modified_after(current, date):
        raise ErrPreconditionFailed("the content has been modified since the date in If-Unmodified-Since")
    if (known := _join_values(headers, b"if-none-match")) is not None:
        if not _matches(known, current, strong=False):
            return False
        if reads:
            return True
        raise ErrPreconditionFailed("If-None-Match names the current version of this content")
    date = _date(headers, b"if-modified-since") if reads else None
    return date is not None and current is not None and current.modified is not None and int(current.modified) <= date


def allows_range(headers: Headers, current: Validators) -> bool:
    """Whether `If-Range`, if sent, names the current version, so that a `Range` is to be served (RFC 9110, 13.1.5)."""
    condition = _join_values(headers, b"if-range")
    if condition is None:
        return True
    if condition.startswith((b'"', b"W/")):
        return _matches(condition, current, strong=True)
    date = _date(headers, b"if-range")
    return date is not None and current.modified is not None and int(current.modified) == date


def _matches(condition: bytes, current: Validators | None, *, strong: bool) -> bool:
    """Whether a list of entity tags, or an asterisk, holds for the current content."""
    if current is None:
        return False
    if condition == b"*":
        return True
    if current.etag is None:
        return False
    tags: Iterable[bytes] = _ENTITY_TAG.findall(condition)
    if strong:
        return not current.etag.startswith(b"W/") and current.etag in tags
    return current.etag.removeprefix(b"W/") in [tag.removeprefix(b"W/") for tag in tags]


def _modified_after(current: Validators | None, date: float) -> bool:
    return current is not None and current.modified is not None and int(current.modified) > date


def _date(headers: Headers, name: bytes) -> float | None:
    value = _join_values(headers, name)
    parsed = None if value is None else parsedate_tz(value.decode("latin-1"))
    if parsed is None:
        return None
    try:
        return mktime_tz(parsed)
    except (ValueError, OverflowError):
        return None


def _join_values(headers: Headers, name: bytes) -> bytes | None:
    values = [value for key, value in headers if key == name]
    return b", ".join(values).strip() if values else None
