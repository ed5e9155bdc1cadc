"""Conditions on the version of content, as RFC 9110 (section 13) has them."""

from __future__ import annotations

import pytest

from lakehouse.asgi.conditional import Validators, allows_range, is_not_modified
from lakehouse.core.errors import ErrPreconditionFailed

T = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT
SAME, BEFORE, AFTER = (
    b"Sun, 06 Nov 1994 08:49:37 GMT",
    b"Sun, 06 Nov 1994 08:49:36 GMT",
    b"Sunday, 06-Nov-94 08:49:38 GMT",  # the obsolete form of RFC 850
)
STRONG = Validators(etag=b'"a"', modified=T + 0.5)
WEAK = Validators(etag=b'W/"a"', modified=T + 0.5)
BARE = Validators()


@pytest.mark.parametrize(
    ("current", "headers", "reading", "writing"),
    [
        (STRONG, [], False, False),
        # If-Match compares strongly, and an asterisk asks for any version.
        (STRONG, [(b"if-match", b'"a"')], False, False),
        (STRONG, [(b"if-match", b'"b", "a"')], False, False),
        (STRONG, [(b"if-match", b'"b"'), (b"if-match", b'"a"')], False, False),
        (STRONG, [(b"if-match", b"*")], False, False),
        (STRONG, [(b"if-match", b'"b"')], 412, 412),
        (STRONG, [(b"if-match", b'W/"a"')], 412, 412),
        (STRONG, [(b"if-match", b"a")], 412, 412),
        (WEAK, [(b"if-match", b'W/"a"')], 412, 412),
        (BARE, [(b"if-match", b'"a"')], 412, 412),
        (None, [(b"if-match", b"*")], 412, 412),
        # If-None-Match compares weakly; an asterisk asks for no version at all.
        (STRONG, [(b"if-none-match", b'"a"')], True, 412),
        (STRONG, [(b"if-none-match", b'W/"a"')], True, 412),
        (WEAK, [(b"if-none-match", b'"b",W/"a"')], True, 412),
        (STRONG, [(b"if-none-match", b"*")], True, 412),
        (STRONG, [(b"if-none-match", b'"b"')], False, False),
        (STRONG, [(b"if-none-match", b'"a, b"')], False, False),
        (None, [(b"if-none-match", b"*")], False, False),
        (None, [(b"if-none-match", b'"a"')], False, False),
        # Dates, to the second. If-Modified-Since is for reading only.
        (STRONG, [(b"if-modified-since", SAME)], True, False),
        (STRONG, [(b"if-modified-since", AFTER)], True, False),
        (STRONG, [(b"if-modified-since", BEFORE)], False, False),
        (STRONG, [(b"if-unmodified-since", SAME)], False, False),
        (STRONG, [(b"if-unmodified-since", BEFORE)], 412, 412),
        (BARE, [(b"if-modified-since", SAME)], False, False),
        (BARE, [(b"if-unmodified-since", BEFORE)], False, False),
        (None, [(b"if-modified-since", SAME)], False, False),
        # What is no date is ignored.
        (STRONG, [(b"if-modified-since", b"yesterday")], False, False),
        (STRONG, [(b"if-unmodified-since", b"")], False, False),
        (STRONG, [(b"if-modified-since", b"Sun, 99 Nov 99999 08:49:37 GMT")], False, False),
        # Entity tags come before dates.
        (STRONG, [(b"if-match", b'"a"'), (b"if-unmodified-since", BEFORE)], False, False),
        (STRONG, [(b"if-none-match", b'"b"'), (b"if-modified-since", SAME)], False, False),
        (STRONG, [(b"if-match", b'"a"'), (b"if-none-match", b'"a"')], True, 412),
    ],
)
def test_the_conditions_of_a_request(
    current: Validators | None,
    headers: list[tuple[bytes, bytes]],
    reading: bool | int,
    writing: bool | int,
) -> None:
    for methods, expected in ((("GET", "HEAD"), reading), (("PUT", "DELETE", "POST"), writing)):
        for method in methods:
            if expected is True or expected is False:
                assert is_not_modified(method, headers, current) is expected
            else:
                with pytest.raises(ErrPreconditionFailed):
                    is_not_modified(method, headers, current)


@pytest.mark.parametrize(
    ("current", "value", "allowed"),
    [
        (STRONG, None, True),
        (STRONG, b'"a"', True),
        (STRONG, b'"b"', False),
        (WEAK, b'W/"a"', False),
        (STRONG, SAME, True),
        (STRONG, AFTER, False),
        (STRONG, b"yesterday", False),
        (BARE, SAME, False),
        (BARE, b'"a"', False),
    ],
)
def test_a_range_is_served_only_of_the_version_that_the_client_has(
    current: Validators, value: bytes | None, allowed: bool
) -> None:
    headers = [] if value is None else [(b"if-range", value)]
    assert allows_range(headers, current) is allowed


def test_validators_as_headers() -> None:
    assert STRONG.headers() == [(b"etag", b'"a"'), (b"last-modified", SAME)]
    assert BARE.headers() == []
