"""A request's bytes: no part of it can break out of its place."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.core.errors import ErrBadRequest
from lakehouse.net.http1.framing import CHUNKED, NO_BODY, Length
from lakehouse.upstream.http1.request import UpstreamRequest, encode_head, encode_request

TOKEN = st.text(st.sampled_from("!#$%&'*+-.^_`|~09AZaz"), min_size=1, max_size=12).map(str.encode)
VALUE = st.binary(max_size=20)


@given(TOKEN, st.lists(st.tuples(TOKEN, VALUE), max_size=6))
def test_no_header_breaks_out_of_its_line(method: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    headers = [
        (name, value) for name, value in headers if name.lower() not in (b"host", b"content-length", b"connection")
    ]
    try:
        head = encode_head(method, b"/a?b", b"up", headers, Length(3))
    except ErrBadRequest:
        assert any(set(value) & set(b"\r\n\0") for _, value in headers)
        return
    assert head.count(b"\r\n") == len(headers) + 4
    lines = head.split(b"\r\n")
    assert lines[:2] == [method + b" /a?b HTTP/1.1", b"Host: up"]
    assert lines[2:] == [*[name + b": " + value for name, value in headers], b"Content-Length: 3", b"", b""]


def test_another_implementation_reads_our_request() -> None:
    server = h11.Connection(h11.SERVER)
    headers = [(b"X-A", b"1"), (b"x-a", b"2"), (b"Accept", b"*/*")]
    server.receive_data(
        encode_head(b"POST", b"/a%2Fb//c?d=1&d=;", b"up:81", headers, CHUNKED) + b"2\r\nok\r\n0\r\n\r\n"
    )
    request = server.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method, request.target) == (b"POST", b"/a%2Fb//c?d=1&d=;")
    assert request.headers.raw_items() == [(b"Host", b"up:81"), *headers, (b"Transfer-Encoding", b"chunked")]
    body = server.next_event()
    assert isinstance(body, h11.Data)
    assert body.data == b"ok"


@pytest.mark.parametrize(
    ("method", "target", "header", "why"),
    [
        (b"GE T", b"/", (b"a", b"b"), "method"),
        (b"GET\r\nX: y", b"/", (b"a", b"b"), "method"),
        (b"CONNECT", b"example.org:443", (b"a", b"b"), "target"),
        (b"GET", b"http://example.org/", (b"a", b"b"), "target"),
        (b"GET", b"", (b"a", b"b"), "target"),
        (b"GET", b"/a b", (b"a", b"b"), "target"),
        (b"GET", b"/ HTTP/1.1\r\nX: y\r\n", (b"a", b"b"), "target"),
        (b"GET", b"/\0", (b"a", b"b"), "target"),
        (b"GET", b"/", (b"a b", b"c"), "header name"),
        (b"GET", b"/", (b"Content-Length ", b"5"), "header name"),
        (b"GET", b"/", (b"a:", b"c"), "header name"),
        (b"GET", b"/", (b"", b"c"), "header name"),
        (b"GET", b"/", (b"X-User", b"a\r\nX: y"), "header X-User"),
        (b"GET", b"/", (b"X-User", b"a\nX: y"), "header X-User"),
        (b"GET", b"/", (b"X-User", b"a\rb"), "header X-User"),
        (b"GET", b"/", (b"X-User", b"a\0b"), "header X-User"),
    ],
)
def test_a_request_that_would_be_another_is_not_sent(
    method: bytes, target: bytes, header: tuple[bytes, bytes], why: str
) -> None:
    with pytest.raises(ErrBadRequest, match=why):
        encode_head(method, target, b"up", [header], NO_BODY)


@pytest.mark.parametrize(
    ("method", "length", "line"),
    [
        (b"GET", 0, b""),
        (b"DELETE", 0, b""),
        (b"POST", 0, b"Content-Length: 0\r\n"),
        (b"PUT", 0, b"Content-Length: 0\r\n"),
        (b"PATCH", 0, b"Content-Length: 0\r\n"),
        (b"GET", 7, b"Content-Length: 7\r\n"),
    ],
)
def test_a_length_is_declared_where_one_is_expected(method: bytes, length: int, line: bytes) -> None:
    request = UpstreamRequest(method, b"/", [], b"x" * length)
    head = b"%b / HTTP/1.1\r\nHost: up\r\n%b\r\n" % (method, line)
    assert encode_request(request, b"up", b"").wire == head + b"x" * length
