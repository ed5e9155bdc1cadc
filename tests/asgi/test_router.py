"""The router: which application answers a path and a method, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.asgi.request_scope import REQUEST_KEY
from lakehouse.asgi.router import Methods, Mount, Route, Router, canonical_path
from lakehouse.asgi.types import App
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrBadRequest, ErrMethodNotAllowed, ErrNotFound


def named(name: str) -> App:
    """An application that sends its name."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(name)

    return app


TABLE = (
    Route(b"/", Methods(GET=named("page"))),
    Route(b"/v1/chat", Methods(GET=named("read chat"), POST=named("chat"))),
    Route(b"/v1/a~b/c.d", named("odd")),
    Mount(b"/v1/storage", named("storage")),
    Mount(b"/v1/sql", named("sql"), exact=True),
    Mount(b"/v1/sql/admin", named("admin")),
    Mount(b"/models", Methods(GET=named("models"))),
)


async def ask(router: Router, path: bytes, method: str = "GET", kind: str = "http") -> tuple[object, str]:
    """What the application sent first, and the name of the route."""
    sent: list[Any] = []
    context = RequestContext(id="1", method=method, path=path.decode("latin-1"), started=0.0)

    class Request:
        server = None

    request = Request()
    request.context = context  # type: ignore[attr-defined]

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is received")

    scope = {"type": kind, "raw_path": path, "path": path.decode("latin-1"), "method": method, REQUEST_KEY: request}
    if kind == "websocket":
        del scope["method"]
    await router(scope, receive, send)
    return sent[0], context.route


@pytest.mark.parametrize(
    ("path", "app", "route"),
    [
        (b"/", "page", "/"),
        (b"/v1/chat", "read chat", "/v1/chat"),
        (b"/v1/ch%61t", "read chat", "/v1/chat"),
        (b"/%76%31/chat", "read chat", "/v1/chat"),
        (b"/v1/a%7eb/c%2Ed", "odd", "/v1/a~b/c.d"),
        (b"/v1/storage/", "storage", "/v1/storage"),
        (b"/v1/storage/a/b", "storage", "/v1/storage"),
        (b"/v1/%73torage/%2F", "storage", "/v1/storage"),
        (b"/v1/sql", "sql", "/v1/sql"),
        (b"/v1/sql/admin", "sql", "/v1/sql"),
        (b"/v1/sql/admin/x", "admin", "/v1/sql/admin"),
        (b"/v1/sql/administrator/x", "sql", "/v1/sql"),
        (b"/models/a%2Fb", "models", "/models"),
    ],
)
async def test_a_path_is_answered_by_its_route_or_by_the_deepest_mount_above_it(
    path: bytes, app: str, route: str
) -> None:
    assert await ask(Router(TABLE), path) == (app, route)


@pytest.mark.parametrize(
    "path", [b"/v1/storage", b"/v1/chat/", b"/v1/chat/x", b"/v1", b"/v1/", b"//", b"/v1//chat", b"/v1/sqlx", b"/models",
             b"/v1%2Fchat", b"/v1/ch%2561t", b"/V1/chat", b"/v1/chat;x"]
)  # fmt: skip
async def test_any_other_path_is_not_found(path: bytes) -> None:
    with pytest.raises(ErrNotFound, match="nothing is served at this path"):
        await ask(Router(TABLE), path)
    with pytest.raises(ErrNotFound, match="no WebSocket is served at this path"):
        await ask(Router(TABLE), path, kind="websocket")


@pytest.mark.parametrize("target", [b"http://evil/v1/storage/x", b"*", b"evil:443", b"", b"v1/storage/x", b"/v1/sql#x"])
async def test_a_target_that_is_no_path_is_a_bad_request(target: bytes) -> None:
    with pytest.raises(ErrBadRequest, match="must be a path"):
        await ask(Router(TABLE), target)


async def test_methods_are_limited_in_one_place() -> None:
    router = Router(TABLE)
    assert (await ask(router, b"/v1/chat", "POST"))[0] == "chat"
    assert (await ask(router, b"/v1/chat", "HEAD"))[0] == "read chat"
    assert (await ask(router, b"/v1/storage/x", "BREW"))[0] == "storage"
    with pytest.raises(ErrMethodNotAllowed) as refused:
        await ask(router, b"/v1/chat", "DELETE")
    assert ("allow", "GET, HEAD, OPTIONS, POST") in refused.value.headers()
    options, _ = await ask(router, b"/v1/chat", "OPTIONS")
    assert options == {
        "type": "http.response.start",
        "status": 204,
        "headers": [(b"allow", b"GET, HEAD, OPTIONS, POST")],
    }


async def test_a_websocket_is_for_mounts_without_methods() -> None:
    assert (await ask(Router(TABLE), b"/v1/storage/x", kind="websocket"))[0] == "storage"
    with pytest.raises(ErrNotFound):
        await ask(Router(TABLE), b"/v1/chat", kind="websocket")


async def test_views_are_asked_after_the_tables() -> None:
    router = Router(TABLE, find_view=lambda scope: named("view") if scope["path"].startswith("/v") else None)
    assert (await ask(router, b"/v1/chat"))[0] == "read chat"
    assert (await ask(router, b"/views"))[0] == "view"
    with pytest.raises(ErrNotFound):
        await ask(router, b"/other")
    with pytest.raises(ErrBadRequest):
        await ask(router, b"v")


@pytest.mark.parametrize(
    "twice",
    [
        [Route(b"/a", named("1")), Route(b"/a", named("2"))],
        [Mount(b"/a", named("1")), Mount(b"/a", named("2"))],
        [Route(b"/a", named("1")), Mount(b"/a", named("2"), exact=True)],
    ],
)
def test_a_path_cannot_be_routed_twice(twice: list[Route | Mount]) -> None:
    with pytest.raises(ValueError, match="/a is routed twice"):
        Router(twice)


@given(st.binary(max_size=12))
def test_the_canonical_form_of_any_bytes_decodes_unreserved_characters_only(data: bytes) -> None:
    unreserved = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    encoded = b"".join(b"%%%02x" % byte for byte in data)
    expected = b"".join(b"%c" % byte if byte in unreserved else b"%%%02x" % byte for byte in data)
    assert canonical_path(encoded) == expected
    assert canonical_path(data) == data if b"%" not in data else True
