"""The identities that the middleware keeps for requests that name their session by one header."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lakehouse.asgi.middleware import sessions
from lakehouse.asgi.middleware.sessions import SessionMiddleware
from lakehouse.asgi.request_scope import HEADERS_KEY, REQUEST_KEY
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrBadRequest, LakehouseError
from lakehouse.core.session_identity import SessionIdentity
from lakehouse.sessions.registry import SessionRegistry


class _Request:
    def __init__(self, context: RequestContext) -> None:
        self.context = context

    def stop(self, error: LakehouseError, outcome: object) -> None:
        raise AssertionError(error, outcome)


async def _answer(_scope: Scope, _receive: Receive, _send: Send) -> None:
    pass


async def _receive() -> dict[str, object]:
    raise AssertionError


async def _send(_message: object) -> None:
    raise AssertionError


async def _join(middleware: SessionMiddleware, headers: Mapping[bytes, bytes]) -> SessionIdentity | None:
    context = RequestContext(id="r", method="GET", path="/v1/storage/a", started=0.0)
    await middleware(
        {"type": "http", "path": context.path, HEADERS_KEY: headers, REQUEST_KEY: _Request(context)}, _receive, _send
    )
    return context.session


async def test_a_name_that_is_known_still_depends_on_the_headers_beside_it() -> None:
    middleware = SessionMiddleware(_answer, SessionRegistry(tuple, monotonic=lambda: 0.0))
    alone = {b"x-session-id": b"run"}
    for _ in range(2):
        assert await _join(middleware, alone) == SessionIdentity(id="run")
        agent = alone | {b"x-session-agent-id": b"a", b"x-session-parent-agent-id": b"b"}
        assert await _join(middleware, agent) == SessionIdentity(id="run", agent="a", parent_agent="b")
        child = alone | {b"x-parent-session-id": b"parent"}
        assert await _join(middleware, child) == SessionIdentity(id="parent", agent="run")
        assert await _join(middleware, {}) is None


async def test_a_name_that_is_not_acceptable_is_refused_each_time() -> None:
    middleware = SessionMiddleware(_answer, SessionRegistry(tuple, monotonic=lambda: 0.0))
    for _ in range(2):
        with pytest.raises(ErrBadRequest):
            await _join(middleware, {b"x-session-id": b"a run"})


async def test_the_kept_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_KNOWN", 3)
    middleware = SessionMiddleware(_answer, SessionRegistry(tuple, monotonic=lambda: 0.0))
    for number in range(20):
        name = b"run-%d" % number
        assert await _join(middleware, {b"x-session-id": name}) == SessionIdentity(id=name.decode())
        assert len(middleware._known) <= 3
