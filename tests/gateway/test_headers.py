"""The gateway's headers as tables, both ways: what goes on, what stays, what is added."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from lakehouse.core.errors import ErrBadRequest
from lakehouse.gateway.headers import (
    RequestHead,
    accepts_trailers,
    format_server_timing,
    make_request_head,
    make_response_head,
)
from lakehouse.net.networks import Networks
from tools.kit.proxy_tables import REQUESTS, RESPONSES, Case, Pairs, pairs

ADDED = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded", b"x-request-id"}


def sent(headers: str, *, trusted: bool = False, peer: str = "192.0.2.7", scheme: str = "http") -> RequestHead:
    return make_request_head(pairs(headers), peer=peer, scheme=scheme, trusted=trusted, request_id="r1")


def passed(headers: str, *, trusted: bool = False) -> Pairs:
    return [pair for pair in sent(headers, trusted=trusted).headers if pair[0] not in ADDED]


def added(headers: str, *, trusted: bool = False, peer: str = "192.0.2.7", scheme: str = "http") -> dict[str, str]:
    head = sent(headers, trusted=trusted, peer=peer, scheme=scheme)
    found = {name.decode(): value.decode() for name, value in head.headers if name in ADDED}
    assert sum(name in ADDED for name, _ in head.headers) == len(found), "one of each"
    return found


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.name)
def test_what_the_upstream_is_sent(case: Case) -> None:
    assert passed(case.given) == pairs(case.passed)


@pytest.mark.parametrize(
    "given",
    [
        "host: lake.example",
        "te: trailers",
        "transfer-encoding: chunked\ncontent-length: 5",
        "proxy-authenticate: Basic",
    ],
)
def test_what_is_about_the_connection_stays(given: str) -> None:
    assert passed(given) == []


def test_connection_cannot_take_away_what_we_write() -> None:
    assert (
        added("connection: x-forwarded-for, forwarded, x-request-id, host\nhost: h")["x-forwarded-for"] == "192.0.2.7"
    )


@pytest.mark.parametrize(
    ("received", "length"),
    [
        ("", 0),
        ("content-length: 0", 0),
        ("content-length: 1073741824", 1 << 30),
        ("transfer-encoding: chunked", None),
        ("transfer-encoding: chunked\ncontent-length: 5", None),
    ],
)
def test_the_length_of_the_body(received: str, length: int | None) -> None:
    assert sent(received).length == length


@pytest.mark.parametrize("value", ["5, 5", "-1", "+1", "1_0", "0x10", "five"])
def test_a_length_that_is_no_number_is_the_callers_mistake(value: str) -> None:
    with pytest.raises(ErrBadRequest, match="content-length"):
        sent(f"content-length: {value}")


STORY = """
    x-forwarded-for: 203.0.113.9
    x-forwarded-proto: https
    x-forwarded-host: public.example
    forwarded: for=203.0.113.9
    host: inner
"""


def test_a_stranger_is_not_believed() -> None:
    assert added(STORY) == {
        "x-forwarded-for": "192.0.2.7",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "inner",
        "forwarded": 'for=192.0.2.7;host="inner";proto=http',
        "x-request-id": "r1",
    }


def test_a_trusted_proxy_is() -> None:
    assert added(STORY, trusted=True) == {
        "x-forwarded-for": "203.0.113.9, 192.0.2.7",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "public.example",
        "forwarded": 'for=203.0.113.9, for=192.0.2.7;host="inner";proto=http',
        "x-request-id": "r1",
    }
    assert passed("x-real-ip: 203.0.113.9\nx-forwarded-prefix: /x", trusted=True) == pairs(
        "x-real-ip: 203.0.113.9\nx-forwarded-prefix: /x"
    )


def test_several_headers_of_a_trusted_proxy_are_one_list() -> None:
    chain = added(
        "x-forwarded-for: 1.1.1.1\nx-forwarded-for: 2.2.2.2\nforwarded: for=a\nforwarded: for=b", trusted=True
    )
    assert chain["x-forwarded-for"] == "1.1.1.1, 2.2.2.2, 192.0.2.7"
    assert chain["forwarded"] == "for=a, for=b, for=192.0.2.7;proto=http"


@pytest.mark.parametrize(
    ("peer", "host", "scheme", "address", "element"),
    [
        ("2001:db8::1", "h", "http", "2001:db8::1", 'for="[2001:db8::1]";host="h";proto=http'),
        ("192.0.2.7", "h:3110", "https", "192.0.2.7", 'for=192.0.2.7;host="h:3110";proto=https'),
        ("192.0.2.7", "h", "wss", "192.0.2.7", 'for=192.0.2.7;host="h";proto=https'),
        ("192.0.2.7", "h", "ws", "192.0.2.7", 'for=192.0.2.7;host="h";proto=http'),
        ("192.0.2.7", 'a"b\\', "http", "192.0.2.7", 'for=192.0.2.7;host="a\\"b\\\\";proto=http'),
        ("", "h", "http", "unknown", 'for=unknown;host="h";proto=http'),
    ],
)
def test_who_asked_is_said_in_both_forms(peer: str, host: str, scheme: str, address: str, element: str) -> None:
    found = added(f"host: {host}", peer=peer, scheme=scheme)
    assert (found["x-forwarded-for"], found["forwarded"]) == (address, element)


def test_without_a_host_nothing_is_said_about_it() -> None:
    found = added("accept: */*")
    assert "x-forwarded-host" not in found
    assert found["forwarded"] == "for=192.0.2.7;proto=http"


@pytest.mark.parametrize(("left", "header"), [(1.5, b"1500"), (0.0004, b"1"), (-1.0, b"1"), (90.0, b"90000")])
def test_what_is_left_of_the_callers_deadline_goes_along(left: float, header: bytes) -> None:
    head = make_request_head([], peer="a", scheme="http", trusted=False, request_id="r1", time_left=left)
    assert (b"x-request-timeout-ms", header) in head.headers


def test_no_deadline_no_header() -> None:
    assert b"x-request-timeout-ms" not in dict(sent("x-request-timeout-ms: 100").headers)


@pytest.mark.parametrize(("te", "accepts"), [("trailers", True), ("deflate, Trailers;q=1", True), ("gzip", False)])
def test_whether_the_caller_takes_trailers(te: str, *, accepts: bool) -> None:
    assert accepts_trailers(sent(f"te: {te}").dropped_headers) is accepts
    assert not accepts_trailers(sent("").dropped_headers)


def received(headers: str, *, status: int = 200, has_body: bool = True) -> Pairs:
    return make_response_head(pairs(headers), status=status, has_body=has_body).headers


@pytest.mark.parametrize("case", RESPONSES, ids=lambda case: case.name)
def test_what_the_client_is_sent(case: Case) -> None:
    assert received(case.given) == pairs(case.passed)


@pytest.mark.parametrize(
    ("upstream", "client"),
    [
        ("Content-Length: 5", "content-length: 5"),
        ("Content-Length: 5\nTransfer-Encoding: chunked", "transfer-encoding: chunked"),
        ("Transfer-Encoding: Chunked\nTrailer: x", "transfer-encoding: chunked"),
        ("", ""),
    ],
)
def test_there_is_one_length_or_none(upstream: str, client: str) -> None:
    assert received(upstream) == pairs(client)


@pytest.mark.parametrize(
    ("status", "has_body", "length"), [(304, False, "5"), (200, False, "5"), (204, False, None), (206, True, "5")]
)
def test_a_length_without_a_body(status: int, *, has_body: bool, length: str | None) -> None:
    expected = pairs(f"content-length: {length}") if length else []
    assert received("Content-Length: 5", status=status, has_body=has_body) == expected


@pytest.mark.parametrize(
    ("upstream", "has_body", "streamed"),
    [
        ("Content-Length: 5", True, False),
        ("Content-Length: 0", False, False),
        ("Transfer-Encoding: chunked", True, True),
        ("Content-Length: 5\nTransfer-Encoding: chunked", True, True),
        ("", True, True),
        ("", False, False),
        ("Content-Length: 5\nContent-Type: Text/Event-Stream; charset=utf-8", True, True),
        ("Content-Type: text/event-stream", False, False),
    ],
)
def test_what_counts_as_streamed(upstream: str, *, has_body: bool, streamed: bool) -> None:
    assert make_response_head(pairs(upstream), status=200, has_body=has_body).streamed is streamed


def test_announced_trailers_are_noted() -> None:
    head = make_response_head(
        pairs("Transfer-Encoding: chunked\nTrailer: x-a\nTrailer: x-b"), status=200, has_body=True
    )
    assert head.trailers == b"x-a, x-b"


def test_server_timing_is_in_milliseconds() -> None:
    assert format_server_timing(0.0123, 0.0005) == (b"server-timing", b"upstream;dur=12.3, gateway;dur=0.5")


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::5", True),
        ("2001:db8::5%eth0", True),
        ("11.1.2.3", False),
        ("::1", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_networks(host: str, *, inside: bool) -> None:
    networks = Networks([ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")])
    assert (host in networks) is inside
    assert host not in Networks()
