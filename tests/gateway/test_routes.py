"""The gateway's table: which raw path belongs to whom, what the upstream is asked for, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.asgi.router import Mount, Router
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.errors import ErrBadRequest
from lakehouse.gateway.routes import CHAT_ROUTES, ROUTES, GatewayRoute, escapes_prefix, upstream_target

STORAGE = b"/v1/storage"


async def nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """An application that is only looked for."""


def service_of(path: bytes, routes: tuple[GatewayRoute, ...] = ROUTES) -> str | None:
    """The name of the service behind a raw path."""
    mount = Router(Mount(route.prefix, nothing, route.exact) for route in routes).find(path)
    return next((route.service for route in routes if mount is not None and route.name == mount.name), None)


@pytest.mark.parametrize(
    ("path", "upstream"),
    [
        (b"/v1/storage/a", "storaged"),
        (b"/v1/storage/", "storaged"),
        (b"/v1/storage//", "storaged"),
        (b"/v1/catalog/tables/x", "catalogd"),
        (b"/v1/vectors/search", "vectord"),
        (b"/v1/pathway/p", "pathwayd"),
        (b"/v1/matrix/m", "matrixd"),
        (b"/v1/observer/o", "observerd"),
        (b"/v1/ingest", "ingestd"),
        (b"/v1/ingest/", "ingestd"),
        (b"/v1/ingest/batch", "ingestd"),
        (b"/v1/sql", "queryd"),
        (b"/v1/sql/explain", "queryd"),
        # Percent-encoded letters, digits, `-`, `.`, `_` and `~` are the characters that they encode (RFC 3986, 6.2.2.2).
        (b"/v1/%73torage/a", "storaged"),
        (b"/%76%31/s%71%6C", "queryd"),
        (b"/v1%2Fstorage/a", None),
        (b"/v1/storage%2Fa", None),
        (b"/v1/%2573torage/a", None),
        (b"/v1/embed", "embedd"),
        (b"/v1/embed/batch", "embedd"),
        # What has no slash-subtree of its own, or only looks like a prefix.
        (b"/v1/storage", None),
        (b"/v1/storages/a", None),
        (b"/v1/sqlx", None),
        (b"/v1/sql;x", None),
        (b"/v1/STORAGE/a", None),
        (b"/v1//storage/a", None),
        (b"//v1/storage/a", None),
        (b"/v1/./storage/a", None),
        (b"/storage/a", None),
        (b"/v2/storage/a", None),
        (b"/v1/", None),
        (b"/v1", None),
        (b"/", None),
        (b"", None),
        (b"*", None),
        # The chat group is not ours unless it is told to be elsewhere.
        (b"/v1/chat", None),
        (b"/v1/models", None),
    ],
)
def test_a_raw_path_belongs_to_one_upstream_or_none(path: bytes, upstream: str | None) -> None:
    assert service_of(path) == upstream


@pytest.mark.parametrize(
    "path", [b"/v1/chat", b"/v1/chat/", b"/v1/chat/completions", b"/v1/chat/providers", b"/v1/models", b"/v1/models/x"]
)
def test_the_chat_routes_can_be_in_the_table_as_well(path: bytes) -> None:
    assert service_of(path, ROUTES + CHAT_ROUTES) == "chatd"
    assert service_of(b"/v1/chatter", ROUTES + CHAT_ROUTES) is None


@pytest.mark.parametrize(
    ("path", "query", "target"),
    [
        (b"/v1/storage/a%2Fb%20c//d", b"", b"/storage/a%2Fb%20c//d"),
        (b"/v1/storage/x", b"a=1&a=2;b=%2F+%20", b"/storage/x?a=1&a=2;b=%2F+%20"),
        (b"/v1/storage/x", b"to=/../../etc", b"/storage/x?to=/../../etc"),
        (b"/v1/storage/x", b"a?b?", b"/storage/x?a?b?"),
        (b"/v1/storage/", b"", b"/storage/"),
        (b"/v1/storage/\xc3\xa9/%E9/\xff", b"\xff", b"/storage/\xc3\xa9/%E9/\xff?\xff"),
        (b"/v1/storage/a/../b", b"", b"/storage/a/../b"),
        (b"/v1/storage/a/%2E%2e/b/.", b"", b"/storage/a/%2E%2e/b/."),
        (b"/v1/storage/..a/b../...", b"", b"/storage/..a/b../..."),
        (b"/v1/storage/%252e%252e/x", b"", b"/storage/%252e%252e/x"),
        (b"/v1/storage/%25/%00/%zz", b"", b"/storage/%25/%00/%zz"),
        (b"/v1/%73torage/a%2Db", b"", b"/%73torage/a%2Db"),
        (b"/%76%31/storage/x", b"q", b"/storage/x?q"),
    ],
)
def test_path_and_query_go_through_byte_for_byte(path: bytes, query: bytes, target: bytes) -> None:
    assert upstream_target(STORAGE, path, query) == target


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_loses_its_version_and_nothing_else(route: GatewayRoute) -> None:
    path = route.prefix + b"/x"
    assert upstream_target(route.prefix, path, b"") == path.removeprefix(b"/v1")


LEAVING = [
    b"/..",
    b"/../",
    b"/../catalog/x",
    b"/a/../../catalog/x",
    b"/./../x",
    b"/%2e%2e/x",
    b"/%2E%2e/x",
    b"/.%2e/x",
    b"/%2e./x",
    b"/a/%2e%2E/.%2E/x",
    b"/a/./%2e/../../x",
    b"//../x",  # cleaned first, the empty segment is no level
    b"/a//../../x",
    b"/..%2fx",  # an upstream may decode before it splits
    b"/a%2f..%2f..%2fx",
    b"/a%2F%2e%2e%2F%2e%2e",
    b"/a%2fb/../../x",  # and another may not: then this is one segment, and two steps up
    b"/..\\x",
    b"/a\\..\\..\\x",
    b"/..%5cx",
    b"/..;/x",  # servlet containers take parameters off first
    b"/..;a=b/x",
    b"/%2e%2e;/x",
    b"/.;/../x",
    b"/;/../x",
]


@pytest.mark.parametrize("below", LEAVING)
def test_dot_segments_that_lead_out_are_refused(below: bytes) -> None:
    with pytest.raises(ErrBadRequest, match="must stay below /v1/storage"):
        upstream_target(STORAGE, STORAGE + below, b"")


@pytest.mark.parametrize(
    "below",
    [
        b"",
        b"/",
        b"/.",
        b"/./.",
        b"/a/..",
        b"/a/../",
        b"/a/b/../../c",
        b"/...",
        b"/.../..",
        b"/..a",
        b"/a..",
        b"/a..b",
        b"/.%2ea",
        b"/a/%2e%2e",
        b"/%2e",
        b"/a;..",
        b"/%252e%252e",
    ],
)
def test_dot_segments_that_stay_inside_do_not(below: bytes) -> None:
    assert not escapes_prefix(below)


def _cleaned(path: bytes, *, decode_slashes: bool) -> list[bytes]:
    """What a plain upstream makes of a path: decode dots (and slashes), drop empty segments, resolve the rest."""
    path = path.replace(b"%2e", b".").replace(b"%2E", b".")
    if decode_slashes:
        path = path.replace(b"%2f", b"/").replace(b"%2F", b"/")
    resolved: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            resolved = resolved[:-1]
        elif segment not in (b"", b"."):
            resolved.append(segment)
    return resolved


@given(st.lists(st.sampled_from([b"/", b".", b"..", b"%2e", b"%2E%2e", b"%2f", b"%2F", b"a", b"b%20"]), max_size=12))
def test_whatever_is_let_through_stays_inside_for_a_plain_upstream(pieces: list[bytes]) -> None:
    below = b"/" + b"".join(pieces)
    try:
        target = upstream_target(STORAGE, STORAGE + below, b"")
    except ErrBadRequest:
        return
    for decode_slashes in (False, True):
        # Behind a marker that only a climb could remove.
        assert _cleaned(target, decode_slashes=decode_slashes)[:1] == [b"storage"]
