"""The gateway's headers as tables, both ways: what goes on, what stays, what is added."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from lakehouse.edge.networks import Networks
from lakehouse.errors import ErrBadRequest
from lakehouse.gateway.headers import (
    RequestHead,
    accepts_trailers,
    request_headers,
    response_headers,
    server_timing,
)

Pairs = list[tuple[bytes, bytes]]

ADDED = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded", b"x-request-id"}


def pairs(text: str) -> Pairs:
    """Headers from lines of `name: value`."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return [(name.encode(), value.strip().encode()) for name, _, value in (line.partition(":") for line in lines)]


def sent(headers: str, *, trusted: bool = False, peer: str = "192.0.2.7", scheme: str = "http") -> RequestHead:
    return request_headers(pairs(headers), peer=peer, scheme=scheme, trusted=trusted, request_id="r1")


def passed(headers: str, *, trusted: bool = False) -> Pairs:
    return [pair for pair in sent(headers, trusted=trusted).headers if pair[0] not in ADDED]


def added(headers: str, *, trusted: bool = False, peer: str = "192.0.2.7", scheme: str = "http") -> dict[str, str]:
    head = sent(headers, trusted=trusted, peer=peer, scheme=scheme)
    found = {name.decode(): value.decode() for name, value in head.headers if name in ADDED}
    assert sum(name in ADDED for name, _ in head.headers) == len(found), "one of each"
    return found


@pytest.mark.parametrize(
    ("received", "forwarded"),
    [
        pytest.param(
            "accept: */*\nx-b: 2\nx-a: 1\nx-b: 3", "accept: */*\nx-b: 2\nx-a: 1\nx-b: 3", id="order, duplicates"
        ),
        pytest.param("cookie: a=1\ncookie: b=2", "cookie: a=1\ncookie: b=2", id="cookies"),
        pytest.param("x-e:\nx-f: \u00e9, \t x", "x-e:\nx-f: \u00e9, \t x", id="values as they are"),
        pytest.param("accept-encoding: br;q=0.5", "accept-encoding: br;q=0.5", id="codings"),
        pytest.param("range: bytes=1-2\nif-range: x", "range: bytes=1-2\nif-range: x", id="ranges"),
        pytest.param("host: lake.example\nx: 1", "x: 1", id="host is the upstream's"),
        pytest.param("authorization: Bearer secret\nx: 1", "x: 1", id="our authorization"),
        pytest.param("authorization: Basic YTpi", "", id="any authorization"),
        pytest.param("connection: keep-alive\nkeep-alive: timeout=5", "", id="keep-alive"),
        pytest.param("proxy-connection: keep-alive", "", id="proxy-connection"),
        pytest.param("proxy-authorization: Basic YTpi\nproxy-authenticate: x", "", id="proxy-auth"),
        pytest.param("te: trailers, deflate;q=0.5\ntrailer: x-t", "", id="te and trailer"),
        pytest.param("transfer-encoding: chunked", "", id="transfer-encoding"),
        pytest.param("transfer-encoding: chunked\ncontent-length: 5", "", id="both lengths"),
        pytest.param("content-length: 5", "", id="framing is the client's"),
        pytest.param("expect: 100-continue", "", id="expect"),
        pytest.param("connection: upgrade, http2-settings\nupgrade: h2c\nhttp2-settings: AAM", "", id="h2c"),
        pytest.param("connection: upgrade\nupgrade: foo", "", id="other upgrades"),
        pytest.param("connection: close, x-foo\nx-foo: 1\nx-bar: 2", "x-bar: 2", id="named in connection"),
        pytest.param("x-foo: 1\nconnection: X-FOO , ,\nx-bar: 2", "x-bar: 2", id="named in any case and order"),
        pytest.param("connection: x-a\nx-a: 1\nconnection: x-b\nx-b: 2\nx-c: 3", "x-c: 3", id="several connections"),
        pytest.param("connection: Keep-Alive\nx: 1", "x: 1", id="plain connection"),
        pytest.param("x-request-timeout-ms: 100\nx-request-id: evil", "", id="ours are written anew"),
        pytest.param("x_request_id: evil\nx_ok: 1", "x_ok: 1", id="underscores that collide with ours"),
        pytest.param("x_forwarded_for: 6.6.6.6\nx_real_ip: 6.6.6.6", "", id="underscores that lie about the peer"),
        pytest.param("x-real-ip: 6.6.6.6\nx-forwarded-prefix: /x\nx-forwarded-port: 1", "", id="hearsay"),
        pytest.param("connection: x-request-id, x-forwarded-for, cookie\ncookie: a", "", id="connection names ours"),
    ],
)
def test_what_the_upstream_is_sent(received: str, forwarded: str) -> None:
    assert passed(received) == pairs(forwarded)


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
    head = request_headers([], peer="a", scheme="http", trusted=False, request_id="r1", time_left=left)
    assert (b"x-request-timeout-ms", header) in head.headers


def test_no_deadline_no_header() -> None:
    assert b"x-request-timeout-ms" not in dict(sent("x-request-timeout-ms: 100").headers)


@pytest.mark.parametrize(("te", "accepts"), [("trailers", True), ("deflate, Trailers;q=1", True), ("gzip", False)])
def test_whether_the_caller_takes_trailers(te: str, *, accepts: bool) -> None:
    assert accepts_trailers(sent(f"te: {te}").noted) is accepts
    assert not accepts_trailers(sent("").noted)


def received(headers: str, *, status: int = 200, has_body: bool = True) -> Pairs:
    return response_headers(pairs(headers), status=status, has_body=has_body).headers


@pytest.mark.parametrize(
    ("upstream", "client"),
    [
        pytest.param(
            "Set-Cookie: a=1\nX-B: 2\nset-cookie: b=2", "set-cookie: a=1\nx-b: 2\nset-cookie: b=2", id="order"
        ),
        pytest.param("Server: x\nDate: now\nVia: 1.1 y", "server: x\ndate: now\nvia: 1.1 y", id="the service's own"),
        pytest.param("Location: http://storaged/x", "location: http://storaged/x", id="redirects are not rewritten"),
        pytest.param("Content-Encoding: gzip\nVary: a", "content-encoding: gzip\nvary: a", id="compressed"),
        pytest.param("Content-Type: text/plain", "content-type: text/plain", id="type"),
        pytest.param("Content-Length: 5", "content-length: 5", id="length"),
        pytest.param("Content-Length: 5\nTransfer-Encoding: chunked", "", id="both lengths"),
        pytest.param("Transfer-Encoding: chunked\nTrailer: x", "", id="framing"),
        pytest.param("Connection: close\nKeep-Alive: timeout=5\nProxy-Connection: x", "", id="hop by hop"),
        pytest.param("Connection: x-foo, close\nX-Foo: 1\nX-Bar: 2", "x-bar: 2", id="named in connection"),
        pytest.param("Upgrade: h2c\nProxy-Authenticate: Basic", "", id="for this hop alone"),
        pytest.param(
            "WWW-Authenticate: Basic\nWWW-Authenticate: Bearer",
            "www-authenticate: Basic\nwww-authenticate: Bearer",
            id="challenges",
        ),
        pytest.param("X-Request-Id: theirs", "", id="the request id is ours"),
        pytest.param("Server-Timing: db;dur=5", "server-timing: db;dur=5", id="their timing stays"),
    ],
)
def test_what_the_client_is_sent(upstream: str, client: str) -> None:
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
    assert response_headers(pairs(upstream), status=200, has_body=has_body).streamed is streamed


def test_announced_trailers_are_noted() -> None:
    head = response_headers(pairs("Transfer-Encoding: chunked\nTrailer: x-a\nTrailer: x-b"), status=200, has_body=True)
    assert head.trailers == b"x-a, x-b"


def test_server_timing_is_in_milliseconds() -> None:
    assert server_timing(0.0123, 0.0005) == (b"server-timing", b"upstream;dur=12.3, gateway;dur=0.5")


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
