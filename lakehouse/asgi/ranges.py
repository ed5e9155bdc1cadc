"""Byte ranges of a request (RFC 9110, section 14). Pure functions."""

from __future__ import annotations

import re
from typing import NamedTuple

from lakehouse.core.errors import ErrRangeNotSatisfiable

MAX_RANGES = 16
"""Ranges of one request. A `Range` with more is ignored, as RFC 9110 (14.2) allows: many small or overlapping ones are
an attack, see CVE-2011-3192."""

_RANGE = re.compile(rb"[ \t]*(\d*)-(\d*)[ \t]*")
_DIGITS = 18
"""Digits of a position: enough for any file."""


class ByteRange(NamedTuple):
    """The bytes from `start` to before `stop`."""

    start: int
    stop: int

    def content_range(self, size: int) -> bytes:
        """The value of `Content-Range`, for content of `size` bytes."""
        return b"bytes %d-%d/%d" % (self.start, self.stop - 1, size)


def parse_ranges(header: bytes, size: int) -> list[ByteRange] | None:
    """The ranges of a `Range` header, for content of `size` bytes, in their order; those that overlap are joined.

    None when the header is to be ignored: another unit than bytes, bad syntax, or more than `MAX_RANGES`. Raises
    `ErrRangeNotSatisfiable` when every range begins behind the end of the content.
    """
    unit, equals, listed = header.partition(b"=")
    if unit.strip().lower() != b"bytes" or not equals:
        return None
    parts = [part for part in listed.split(b",") if part.strip()]
    if not parts or len(parts) > MAX_RANGES:
        return None
    ranges: list[ByteRange] = []
    for part in parts:
        match = _RANGE.fullmatch(part)
        if match is None or max(len(match[1]), len(match[2])) > _DIGITS or not (match[1] or match[2]):
            return None
        first, last = (int(digits) if digits else None for digits in match.groups())
        if first is None:
            start, stop = max(0, size - (last or 0)), size
        elif last is not None and last < first:
            return None
        else:
            start, stop = first, size if last is None else min(last + 1, size)
        if start < stop:
            ranges.append(ByteRange(start, stop))
    if not ranges:
        raise ErrRangeNotSatisfiable(f"no requested range lies within the {size} bytes of this content", size=size)
    return _join(ranges)


def _join(ranges: list[ByteRange]) -> list[ByteRange]:
    """The ranges in their order, with each one that overlaps or touches an earlier one joined to that."""
    joined: list[ByteRange] = []
    for new in ranges:
        start, stop = new
        apart: list[ByteRange] = []
        position = None
        for known in joined:
            if known.start <= stop and start <= known.stop:
                start, stop = min(start, known.start), max(stop, known.stop)
                position = len(apart) if position is None else position
            else:
                apart.append(known)
        apart.insert(len(apart) if position is None else position, ByteRange(start, stop))
        joined = apart
    return joined
