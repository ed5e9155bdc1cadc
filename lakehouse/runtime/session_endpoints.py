"""`/v1/sessions` as ASGI: the list, one session, and its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from urllib.parse import parse_qs

import msgspec

from lakehouse.asgi.middleware.sessions import SESSIONS_PATH
from lakehouse.asgi.path_names import decode_name
from lakehouse.asgi.responses import Response
from lakehouse.asgi.router import canonical_path
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.errors import ErrBadRequest, ErrNotFound
from lakehouse.core.session_identity import is_session_name
from lakehouse.runtime.console.pages import NO_STORE
from lakehouse.runtime.sessions import WorkerSessions
from lakehouse.sessions.documents import Document, describe_receipt, describe_session, describe_tree

DEFAULT_LIMIT = 100
MAX_LIMIT = 1_000


class SessionEndpoints:
    """The applications of the routes of sessions."""

    def __init__(self, sessions: WorkerSessions) -> None:
        self._sessions = sessions

    async def list(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """GET: the summaries, the session that was active last first."""
        query = _parse_query(scope, {"limit", "tree"})
        limit = _parse_limit(query.get("limit"))
        trees = query.get("tree", "") in ("1", "true")
        reports, replies = await self._sessions.list_reports()
        now = time.time()
        shown = [
            describe_session(report, now) | ({"tree": describe_tree(report)} if trees else {})
            for report in reports[:limit]
        ]
        await _send(send, {"sessions": shown, "total": len(reports), **replies._asdict()})

    async def get(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """GET below the path: one session with its tree."""
        _parse_query(scope, set())
        name = _name_of(scope)
        reports, replies = await self._sessions.list_reports(name)
        if not reports:
            raise ErrNotFound(f"no session {name} is known: none of its calls has been seen, or it was forgotten")
        report = reports[0]
        await _send(send, describe_session(report, time.time()) | {"tree": describe_tree(report), **replies._asdict()})

    async def delete(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """DELETE below the path: end a session, or one agent of it, and send the receipt."""
        agent = _parse_query(scope, {"agent"}).get("agent", "")
        if agent and not is_session_name(agent):
            raise ErrBadRequest("`agent` is no name of an agent", field="agent")
        name = _name_of(scope)
        stop, calls, replies = await self._sessions.stop(name, agent)
        known, _ = await self._sessions.list_reports(name)
        await _send(send, describe_receipt(stop, calls, known=bool(known)) | replies._asdict())


def _name_of(scope: Scope) -> str:
    name = decode_name(canonical_path(scope["raw_path"]).removeprefix(SESSIONS_PATH.encode() + b"/"), "session")
    if not is_session_name(name):
        raise ErrBadRequest("the path ends in no name of a session", field="session")
    return name


def _parse_query(scope: Scope, known: set[str]) -> Mapping[str, str]:
    """The parameters of the query. Raises ErrBadRequest for one that this path does not have, and for one twice."""
    given = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    for name, values in given.items():
        if name not in known or len(values) > 1:
            what = "is given twice" if name in known else "is not a parameter of this path"
            raise ErrBadRequest(f"`{name[:80]}` {what}", field=name[:80])
    return {name: values[0] for name, values in given.items()}


def _parse_limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= MAX_LIMIT:
        raise ErrBadRequest(f"`limit` must be a whole number from 1 to {MAX_LIMIT}", field="limit")
    return int(text)


async def _send(send: Send, document: Document) -> None:
    await Response(msgspec.json.encode(document), headers=NO_STORE).send_to(send)
