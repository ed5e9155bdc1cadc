"""Byte ranges as RFC 9110 (section 14) has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.asgi.ranges import MAX_RANGES, ByteRange, parse_ranges
from lakehouse.core.errors import ErrRangeNotSatisfiable


@pytest.mark.parametrize(
    ("header", "ranges"),
    [
        (b"bytes=0-0", [(0, 1)]),
        (b"bytes=0-99", [(0, 10)]),
        (b"bytes=3-5", [(3, 6)]),
        (b"bytes=9-", [(9, 10)]),
        (b"bytes=-3", [(7, 10)]),
        (b"bytes=-30", [(0, 10)]),
        (b"BYTES = 1-2", [(1, 3)]),
        (b"bytes= 1-2 ,\t5-6", [(1, 3), (5, 7)]),
        (b"bytes=5-6,1-2", [(5, 7), (1, 3)]),
        (b"bytes=1-2,,5-6,", [(1, 3), (5, 7)]),
        (b"bytes=20-30,1-2", [(1, 3)]),
        # Ranges that overlap or touch are joined, in the place of the first.
        (b"bytes=0-3,2-5", [(0, 6)]),
        (b"bytes=0-1,2-3", [(0, 4)]),
        (b"bytes=0-1,8-9,3-4,1-4", [(0, 5), (8, 10)]),
        (b"bytes=0-,-1,3-5", [(0, 10)]),
        # What is ignored: the whole content is sent.
        (b"bytes", None),
        (b"bytes=", None),
        (b"bytes=,", None),
        (b"bytes=-", None),
        (b"bytes=5-4", None),
        (b"bytes=1-2,x", None),
        (b"bytes=1-2-3", None),
        (b"bytes=+1-2", None),
        (b"items=0-1", None),
        (b"bytes=" + b"9" * 19 + b"-", None),
        (b"bytes=" + b",".join([b"0-0"] * (MAX_RANGES + 1)), None),
        # Nothing of these lies within the content.
        (b"bytes=10-", 416),
        (b"bytes=10-20,30-", 416),
        (b"bytes=-0", 416),
    ],
)
def test_the_ranges_of_ten_bytes(header: bytes, ranges: list[tuple[int, int]] | int | None) -> None:
    if ranges == 416:
        with pytest.raises(ErrRangeNotSatisfiable) as raised:
            parse_ranges(header, 10)
        assert raised.value.headers() == [("content-range", "bytes */10")]
    else:
        assert parse_ranges(header, 10) == ranges


def test_of_no_bytes_there_is_no_range() -> None:
    with pytest.raises(ErrRangeNotSatisfiable):
        parse_ranges(b"bytes=0-", 0)


@given(
    wanted=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=MAX_RANGES),
    size=st.integers(1, 50),
)
def test_every_byte_that_is_asked_for_is_in_one_range(wanted: list[tuple[int, int]], size: int) -> None:
    pairs = [(min(pair), max(pair)) for pair in wanted]
    bytes_wanted = {n for first, last in pairs for n in range(first, last + 1) if n < size}
    header = b"bytes=" + b",".join(b"%d-%d" % pair for pair in pairs)
    if not bytes_wanted:
        with pytest.raises(ErrRangeNotSatisfiable):
            parse_ranges(header, size)
        return
    ranges = parse_ranges(header, size)
    assert ranges is not None
    sent = [n for one in ranges for n in range(*one)]
    assert sorted(sent) == sorted(bytes_wanted)  # each once
    assert all(one.stop - one.start > 0 for one in ranges)


def test_a_range_as_a_header() -> None:
    assert ByteRange(0, 5).content_range(10) == b"bytes 0-4/10"
