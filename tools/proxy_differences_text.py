"""The reason for each difference from nginx and Caddy; `tools/compare_proxies.py` writes a page with them."""

from __future__ import annotations

from collections.abc import Iterator

from tools.kit.proxy_tables import Case

HEAD = """
# Where Lakehouse, nginx and Caddy differ as reverse proxies

Written by `python -m tools.compare_proxies`, which puts the same requests to all three, in front of the same service,
and fails if they differ in a case for which no reason is given. nginx (1.22) and Caddy (2.6) run as Debian packages
them, with the least configuration that does the same work: `location /v1/storage/ { proxy_pass
http://service/storage/; }` over HTTP/1.1, and `handle /v1/storage/*` with `uri strip_prefix /v1` and `reverse_proxy`.
Much of the behaviour that is listed for them is a default that can be configured. Lakehouse's tests run the same
tables.

Three principles decide the differences: the request reaches the service **byte for byte**; a field that is valid for
**one connection** is not forwarded; and the fields that identify the client are **trustworthy**, because the gateway
writes them itself.

One difference is not in the tables, because it depends on addresses: nginx rewrites a `Location` that names the
service. Lakehouse and Caddy never do; a service behind a proxy should redirect to paths.
"""

FORWARDED_FIELDS = (
    Case(
        "forwarded fields of an untrusted client",
        "x-forwarded-for: 203.0.113.9\n"
        "x-forwarded-proto: https\n"
        "x-forwarded-host: public.example\n"
        "forwarded: for=203.0.113.9",
        "",
    ),
)

NO_TYPE = Case("no Content-Type", "x-y: 1", "x-y: 1")

_EXACT = "Forwarded unchanged: the name of an object may have an encoded slash or an empty segment. "
_INSIDE = "The path stays below its prefix, so the service resolves it. "
_OUTSIDE = (
    "The path leads out of its prefix, so it is rejected with an error that names the cause. nginx resolves the path "
    "first and finds no location; Caddy resolves it and matches no route, for which it answers an empty 200."
)
_READINGS = "Some services resolve it to a path outside of the prefix. "
_SORTED = "Caddy (Go) stores headers in a map, which loses their order. "
_OURS = "`Authorization` authenticates the client to the gateway; it is not forwarded. "
_NAMED = "Listed in `Connection`, so valid for this hop only (RFC 9110, 7.6.1); nginx does not read that list. "
_HOP = "Valid for one connection only; nginx forwards it. "
_UPGRADES = "WebSocket is the only upgrade that is forwarded. Caddy tunnels any upgrade. "

_PATHS = {
    "/v1/storage/a%2Fb%20c//d": _EXACT + "nginx decodes and merges slashes, Caddy merges slashes.",
    "/v1/storage//": _EXACT + "nginx and Caddy merge slashes.",
    "/v1/storage/%C3%A9/%E9/%c3": _EXACT + "nginx decodes the path and encodes it again, with upper-case digits.",
    "/v1/storage/a/../b": _INSIDE + "nginx and Caddy resolve it themselves.",
    "/v1/storage/a/%2E%2e/b/.": _INSIDE + "nginx resolves all segments, Caddy some of them.",
    "/v1/storage/%25/%zz": "Forwarded unchanged: the service decides whether `%zz` is an error.",
    "/v1/storage/a;b=c,d/!$&'()*+,;=:@~_-.": "Forwarded unchanged: Caddy encodes more of it: signed URLs break.",
    "/v1/storage/..": _OUTSIDE + " Caddy forwards this path to the service, as `/`.",
    "/v1/storage/../catalog/x": _OUTSIDE,
    "/v1/storage/%2e%2e/catalog/x": _OUTSIDE,
    "/v1/storage/.%2E/catalog/x": _OUTSIDE,
    "/v1/storage/a/../../catalog/x": _OUTSIDE,
    "/v1/storage/..%2fcatalog/x": _OUTSIDE,
    "/v1/storage//../x": _OUTSIDE,
    "/v1/storage/..%5ccatalog/x": _READINGS + "WHATWG URLs and Windows treat a backslash as a slash.",
    "/v1/storage/..;/catalog/x": _READINGS + "Servlet containers remove the parameters after `;` first.",
    "http://other.example/v1/storage/x": "The gateway is no forward proxy: a target with a foreign host is rejected.",
    "*": "The target has no path, so no route matches. Caddy answers an empty 200 where no route matches.",
}

_REQUESTS = {
    "no headers at all": "The client is identified in both forms, `X-Forwarded-*` and RFC 7239, and each request has "
    "an id. nginx adds no field unless configured; Caddy requests gzip for a client that did not.",
    "forwarded fields of an untrusted client": "Accepted from networks in `gateway.trusted_proxies` only, none by "
    "default. nginx forwards all of the fields, Caddy `Forwarded`.",
    "order and duplicates": _SORTED,
    "range": _SORTED,
    "authorization of the gateway": _OURS,
    "any other authorization": _OURS,
    "proxy-connection": _HOP,
    "proxy-authorization": _HOP,
    "trailer without a chunked body": _HOP,
    "expect": "The gateway's server has answered it already; the service would expect a wait that does not happen.",
    "upgrade to h2c": _UPGRADES + "An h2c upgrade through a proxy allows requests to bypass it.",
    "upgrade to something else": _UPGRADES,
    "named in connection": _NAMED,
    "named in any case and order": _NAMED,
    "several connection headers": _NAMED,
    "connection names what the proxy writes": _NAMED + "A field that the gateway writes cannot be removed by it.",
    "request id and timeout": "The client's timeout is forwarded, less the time that has passed.",
    "underscores": "nginx removes each name with an underscore, because CGI maps it to the name with hyphens.",
    "underscores that collide": "CGI, WSGI and PHP map these to the names with hyphens, which only the gateway "
    "writes; other names with underscores are forwarded.",
    "other fields that identify the client": "A service that trusts `X-Forwarded-For` of the gateway would "
    "trust these fields as well.",
}

_RESPONSES = {
    NO_TYPE.name: "Caddy guesses a type from the first bytes of the body. The gateway adds none.",
    "order and duplicates": _SORTED,
    "server and date": "`Server` and `Date` are those of the service; nginx replaces both, Caddy adds a `Server`.",
    "compressed": "Forwarded unchanged. Caddy requested gzip itself, so it decompresses the body.",
    "cache headers": _SORTED,
    "accel headers": "nginx applies these fields itself and does not forward them.",
    "hop by hop": _HOP,
    "named in connection": _NAMED,
    "hop by hop, response": _HOP,
    "request id": "The id is the one of the request, the log and the service.",
}


def _all() -> Iterator[tuple[tuple[str, str], str]]:
    for title, reasons in (("Paths", _PATHS), ("Request headers", _REQUESTS), ("Response headers", _RESPONSES)):
        for name, reason in reasons.items():
            yield (title, name), reason.strip()


WHY: dict[tuple[str, str], str] = dict(_all())
"""By section of the page and name of the case."""
