"""Why the gateway does what nginx and Caddy do not; `tools/compare_proxies.py` makes a page of it."""

from __future__ import annotations

from collections.abc import Iterator

from tools.kit.proxy_tables import Case

HEAD = """
# Where Lakehouse, nginx and Caddy differ as reverse proxies

Written by `python -m tools.compare_proxies`, which puts the same requests to all three, in front of the same service,
and fails if they differ in a case for which no reason is given. nginx (1.22) and Caddy (2.6) run as Debian packages
them, with the least configuration that does the same work: `location /v1/storage/ { proxy_pass
http://service/storage/; }` over HTTP/1.1, and `handle /v1/storage/*` with `uri strip_prefix /v1` and `reverse_proxy`.
Much of what is said of them here can be configured otherwise; it is what one gets without asking. The same tables are
run against Lakehouse in its tests.

Three principles decide the differences: what the caller wrote reaches the service **byte for byte**; what belongs to
**one connection** ends there; and a service may **believe** what a header of ours says about who asked.

Not in the tables, because it depends on addresses: nginx rewrites a `Location` that names the service itself. Lakehouse
and Caddy never do; a service behind a proxy should redirect to paths.
"""

ABOUT_WHO_ASKS = (
    Case(
        "a stranger's story about who asked",
        "x-forwarded-for: 203.0.113.9\n"
        "x-forwarded-proto: https\n"
        "x-forwarded-host: public.example\n"
        "forwarded: for=203.0.113.9",
        "",
    ),
)

NO_TYPE = Case("no Content-Type", "x-y: 1", "x-y: 1")

_EXACT = "Byte for byte: the name of an object may hold an encoded slash or an empty segment. "
_INSIDE = "It stays inside its prefix, so it is the service's to resolve. "
_OUTSIDE = (
    "It leads out of its prefix, which no caller means: a refusal that says so, rather than an answer from elsewhere. "
    "nginx resolves the path first and finds nothing there; Caddy resolves it and falls through, here to its empty 200."
)
_READINGS = "Some services would read it as a way out of the prefix. "
_SORTED = "Caddy (Go) keeps headers in a map: their order is lost. "
_OURS = "A caller's `Authorization` is for this service and goes to no service. "
_NAMED = "Named by `Connection`, so it ends at this hop (RFC 9110, 7.6.1); nginx does not read that list. "
_HOP = "Valid for one connection only; nginx passes it on. "
_UPGRADES = "Of upgrades only WebSocket is passed on, as a WebSocket. Caddy tunnels any. "

_PATHS = {
    "/v1/storage/a%2Fb%20c//d": _EXACT + "nginx decodes and merges slashes, Caddy merges slashes.",
    "/v1/storage//": _EXACT + "Both others merge slashes.",
    "/v1/storage/%C3%A9/%E9/%c3": _EXACT + "nginx decodes and encodes again, in capitals.",
    "/v1/storage/a/../b": _INSIDE + "Both others resolve it themselves.",
    "/v1/storage/a/%2E%2e/b/.": _INSIDE + "nginx resolves all of it, Caddy a part.",
    "/v1/storage/%25/%zz": "Byte for byte: whether `%zz` is an error is the service's to say.",
    "/v1/storage/a;b=c,d/!$&'()*+,;=:@~_-.": "Byte for byte: Caddy encodes what need not be, which breaks signed URLs.",
    "/v1/storage/..": _OUTSIDE + " This one it hands to the service, as its root.",
    "/v1/storage/../catalog/x": _OUTSIDE,
    "/v1/storage/%2e%2e/catalog/x": _OUTSIDE,
    "/v1/storage/.%2E/catalog/x": _OUTSIDE,
    "/v1/storage/a/../../catalog/x": _OUTSIDE,
    "/v1/storage/..%2fcatalog/x": _OUTSIDE,
    "/v1/storage//../x": _OUTSIDE,
    "/v1/storage/..%5ccatalog/x": _READINGS + "WHATWG's URLs, and Windows, take a backslash for a slash.",
    "/v1/storage/..;/catalog/x": _READINGS + "Servlet containers take the parameters behind `;` off first.",
    "http://other.example/v1/storage/x": "We are no forward proxy: a target with a host is a mistake or an attempt.",
    "*": "It names no path, and so no service. Caddy answers anything that it does not know with an empty 200.",
}

_REQUESTS = {
    "no headers at all": "Who asked is told in both forms, the customary and RFC 7239's, and every request has an id. "
    "nginx tells nothing unless configured; Caddy asks for gzip on behalf of a client that did not.",
    "a stranger's story about who asked": "Only networks in `gateway.trusted_proxies` are believed, none by default. "
    "nginx passes all of it on, Caddy the `Forwarded`.",
    "order and duplicates": _SORTED,
    "range": _SORTED,
    "our authorization": _OURS,
    "any other authorization": _OURS,
    "proxy-connection": _HOP,
    "proxy-authorization": _HOP,
    "trailer without a chunked body": _HOP,
    "expect": "Our server has answered it; to the service it would promise a wait that will not happen.",
    "upgrade to h2c": _UPGRADES + "h2c through a proxy is a way to smuggle requests past it.",
    "upgrade to something else": _UPGRADES,
    "named in connection": _NAMED,
    "named in any case and order": _NAMED,
    "several connection headers": _NAMED,
    "connection names what the proxy writes": _NAMED + "What we write ourselves cannot be taken away by it.",
    "request id and timeout": "The caller's time goes along, less what has passed.",
    "underscores": "nginx drops every name with an underscore, lest it be taken for the one with hyphens.",
    "underscores that collide": "To CGI, WSGI and PHP these are the names with hyphens, which only we may write; other "
    "names with underscores pass.",
    "a stranger's word about the peer": "A service that believes our `X-Forwarded-For` would believe these as well.",
}

_RESPONSES = {
    NO_TYPE.name: "Caddy guesses a type from the first bytes of the body. A service that gives none has its reasons.",
    "order and duplicates": _SORTED,
    "the service's own names": "The service's `Server` and `Date` are its own; nginx replaces both, Caddy adds a name.",
    "compressed": "Passed on as it is. Caddy has asked for gzip itself, and so unpacks it and drops the header.",
    "cache headers": _SORTED,
    "accel headers": "nginx takes these as orders to itself, and keeps them.",
    "hop by hop": _HOP,
    "named in connection": _NAMED,
    "for this hop alone": _HOP,
    "request id": "The id is the one that the caller, the log and the service have been told; there is only one.",
}


def _all() -> Iterator[tuple[tuple[str, str], str]]:
    for title, reasons in (("Paths", _PATHS), ("Request headers", _REQUESTS), ("Response headers", _RESPONSES)):
        for name, reason in reasons.items():
            yield (title, name), reason.strip()


WHY: dict[tuple[str, str], str] = dict(_all())
"""By section of the page and name of the case."""
