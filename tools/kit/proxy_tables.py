"""What a proxy does to headers and paths, as tables.

They are run on the pure functions, on the real service between real sockets, and by `tools/compare_proxies.py` on
other reverse proxies.
"""

from __future__ import annotations

from typing import NamedTuple

from tools.kit.http_stream import Pairs as Pairs


def pairs(text: str) -> Pairs:
    """Headers from lines of `name: value`."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return [(name.encode(), value.strip().encode()) for name, _, value in (line.partition(":") for line in lines)]


class Case(NamedTuple):
    """Headers as they come in and as they must go on, one a line; `body` is what follows them on the wire."""

    name: str
    given: str
    passed: str
    body: bytes = b""


REQUESTS = (
    Case("order and duplicates", "accept: */*\nx-b: 2\nx-a: 1\nx-b: 3", "accept: */*\nx-b: 2\nx-a: 1\nx-b: 3"),
    Case("two cookie headers", "cookie: a=1\ncookie: b=2", "cookie: a=1\ncookie: b=2"),
    Case("empty and non-ASCII values", "x-e:\nx-f: \u00e9, x", "x-e:\nx-f: \u00e9, x"),
    Case("accept-encoding", "accept-encoding: br;q=0.5", "accept-encoding: br;q=0.5"),
    Case("range", "range: bytes=1-2\nif-range: x", "range: bytes=1-2\nif-range: x"),
    Case("user agent", "user-agent: ua/1", "user-agent: ua/1"),
    Case("authorization of the gateway", "authorization: Bearer secret\nx: 1", "x: 1"),
    Case("any other authorization", "authorization: Basic YTpi", ""),
    Case("keep-alive", "connection: keep-alive\nkeep-alive: timeout=5", ""),
    Case("proxy-connection", "proxy-connection: keep-alive", ""),
    Case("proxy-authorization", "proxy-authorization: Basic YTpi", ""),
    Case("te that is not about trailers", "connection: te\nte: deflate;q=0.5", ""),
    Case("trailer without a chunked body", "trailer: x-t", ""),
    Case("chunked body", "transfer-encoding: chunked", "", b"2\r\nhi\r\n0\r\n\r\n"),
    Case("body with a length", "content-length: 2", "", b"hi"),
    Case("expect", "expect: 100-continue\ncontent-length: 2", "", b"hi"),
    Case("upgrade to h2c", "connection: upgrade, http2-settings\nupgrade: h2c\nhttp2-settings: AAM", ""),
    Case("upgrade to something else", "connection: upgrade\nupgrade: foo", ""),
    Case("named in connection", "connection: close, x-foo\nx-foo: 1\nx-bar: 2", "x-bar: 2"),
    Case("named in any case and order", "x-foo: 1\nconnection: X-FOO , ,\nx-bar: 2", "x-bar: 2"),
    Case("several connection headers", "connection: x-a\nx-a: 1\nconnection: x-b\nx-b: 2\nx-c: 3", "x-c: 3"),
    Case("connection names what the proxy writes", "connection: x-forwarded-for, cookie\ncookie: a", ""),
    Case("request id and timeout", "x-request-timeout-ms: 9000\nx-request-id: mine", ""),
    Case("underscores", "x_ok: 1", "x_ok: 1"),
    Case("underscores that collide", "x_request_id: evil\nx_forwarded_for: 6.6.6.6\nx_real_ip: 6.6.6.6", ""),
    Case(
        "other fields that identify the client", "x-real-ip: 6.6.6.6\nx-forwarded-port: 1\nx-forwarded-prefix: /x", ""
    ),
)
"""What the upstream sees of a request, without `Host`, framing, and what the gateway writes itself."""

RESPONSES = (
    Case(
        "order and duplicates", "Set-Cookie: a=1\nX-B: 2\nset-cookie: b=2", "set-cookie: a=1\nx-b: 2\nset-cookie: b=2"
    ),
    Case("server and date", "Server: x\nDate: now\nVia: 1.1 y", "server: x\ndate: now\nvia: 1.1 y"),
    Case("redirect to another host", "Location: http://other.example/x", "location: http://other.example/x"),
    Case("compressed", "Content-Encoding: gzip\nVary: a", "content-encoding: gzip\nvary: a"),
    Case("type", "Content-Type: text/plain", "content-type: text/plain"),
    Case(
        "cache headers", 'ETag: W/"x"\nCache-Control: no-store\nAge: 5', 'etag: W/"x"\ncache-control: no-store\nage: 5'
    ),
    Case("accel headers", "X-Accel-Buffering: no\nX-Accel-Expires: 5", "x-accel-buffering: no\nx-accel-expires: 5"),
    Case("hop by hop", "Connection: keep-alive\nKeep-Alive: timeout=5\nProxy-Connection: x", ""),
    Case("named in connection", "Connection: x-foo, keep-alive\nX-Foo: 1\nX-Bar: 2", "x-bar: 2"),
    Case("hop by hop, response", "Upgrade: h2c\nProxy-Authenticate: Basic", ""),
    Case(
        "challenges",
        "WWW-Authenticate: Basic\nWWW-Authenticate: Bearer",
        "www-authenticate: Basic\nwww-authenticate: Bearer",
    ),
    Case("request id", "X-Request-Id: theirs", ""),
    Case("their own timing", "Server-Timing: db;dur=5", "server-timing: db;dur=5"),
)
"""What the client sees of a response, without framing and what the gateway writes itself."""


class Path(NamedTuple):
    """A request target and what the upstream is asked for; None: refused with `status`, and never asked."""

    target: bytes
    asked: bytes | None
    status: int = 200


PATHS = (
    Path(b"/v1/storage/a%2Fb%20c//d", b"/storage/a%2Fb%20c//d"),
    Path(b"/v1/storage/x?a=1&a=2;b=%2F+%20", b"/storage/x?a=1&a=2;b=%2F+%20"),
    Path(b"/v1/storage/x?to=/../../etc", b"/storage/x?to=/../../etc"),
    Path(b"/v1/storage/x?a?b?", b"/storage/x?a?b?"),
    Path(b"/v1/storage/", b"/storage/"),
    Path(b"/v1/storage//", b"/storage//"),
    Path(b"/v1/storage/%C3%A9/%E9/%c3", b"/storage/%C3%A9/%E9/%c3"),
    Path(b"/v1/storage/a/../b", b"/storage/a/../b"),
    Path(b"/v1/storage/a/%2E%2e/b/.", b"/storage/a/%2E%2e/b/."),
    Path(b"/v1/storage/..a/b../...", b"/storage/..a/b../..."),
    Path(b"/v1/storage/%252e%252e/x", b"/storage/%252e%252e/x"),
    Path(b"/v1/storage/%25/%zz", b"/storage/%25/%zz"),
    Path(b"/v1/storage/a;b=c,d/!$&'()*+,;=:@~_-.", b"/storage/a;b=c,d/!$&'()*+,;=:@~_-."),
    Path(b"/v1/storage/..", None, 400),
    Path(b"/v1/storage/../catalog/x", None, 400),
    Path(b"/v1/storage/%2e%2e/catalog/x", None, 400),
    Path(b"/v1/storage/.%2E/catalog/x", None, 400),
    Path(b"/v1/storage/a/../../catalog/x", None, 400),
    Path(b"/v1/storage/..%2fcatalog/x", None, 400),
    Path(b"/v1/storage/..%5ccatalog/x", None, 400),
    Path(b"/v1/storage/..;/catalog/x", None, 400),
    Path(b"/v1/storage//../x", None, 400),
    Path(b"http://other.example/v1/storage/x", None, 400),
    Path(b"*", None, 400),
)
"""Request targets below `/v1/storage/`, with `/v1` stripped on the way."""
