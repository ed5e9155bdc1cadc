"""A page of keys, grouped by a delimiter. Pure functions over rows in the order of keys."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import NamedTuple

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.storaged.index.entries import Row
from lakehouse.services.storaged.keys import MAX_KEY_BYTES

MAX_LIMIT = 10_000
"""Objects and prefixes of one page."""

_BATCH = 1000

ReadRows = Callable[[bytes, bytes, int], list[Row]]
"""Reads at most so many rows from the first key to before the second one."""

LAST_KEY = b"\xff"
"""Behind every key: no UTF-8 begins with it."""


class RowPage(NamedTuple):
    """Objects and prefixes in the order of keys. The next page begins at `next_start`; empty: this is the last one."""

    objects: list[Row]
    prefixes: list[bytes]
    next_start: bytes


def end_of_prefix(prefix: bytes) -> bytes:
    """The first key behind all that begin with `prefix`."""
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else LAST_KEY


def list_page(read: ReadRows, *, prefix: bytes, delimiter: bytes, limit: int, start: bytes = b"") -> RowPage:
    """At most `limit` objects and prefixes whose keys begin with `prefix`, from `start` on.

    A key that has the delimiter behind `prefix` is not listed itself: what it begins with, up to the first delimiter,
    is in `prefixes` once, and all that begin with the same are passed over without being read one by one.
    """
    objects: list[Row] = []
    prefixes: list[bytes] = []
    start, stop = max(start, prefix), end_of_prefix(prefix)
    while start < stop:
        left = limit - len(objects) - len(prefixes)
        count = min(left + 1, _BATCH)
        rows = read(start, stop, count)
        for row in rows:
            if row.key < start:  # of the group before
                continue
            if not left:
                return RowPage(objects, prefixes, start)
            left -= 1
            end = row.key.find(delimiter, len(prefix)) if delimiter else -1
            if end < 0:
                objects.append(row)
                start = row.key + b"\x00"
            else:
                prefixes.append(row.key[: end + len(delimiter)])
                start = end_of_prefix(prefixes[-1])
        if len(rows) < count:
            break
    return RowPage(objects, prefixes, b"")


def encode_cursor(start: bytes) -> str:
    """A cursor for the page that begins at `start`; empty for none."""
    return base64.urlsafe_b64encode(start).decode().rstrip("=")


def decode_cursor(cursor: str) -> bytes:
    """Where the page of a cursor begins. Raises ErrBadRequest."""
    try:
        start = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        start = b""
    if (not start and cursor) or len(start) > MAX_KEY_BYTES + 1:
        raise ErrBadRequest("the cursor is not one that a list has given", field="cursor")
    return start
