"""ASGI scopes of one connection."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from lakehouse.asgi.types import Scope
from lakehouse.server.http1.request_head import RequestHead, to_origin_form
from lakehouse.server.transports.transport import ConnectionTransport


class ScopeTemplate:
    """The part that all scopes of a connection share, copied for each request."""

    def __init__(self, transport: ConnectionTransport) -> None:
        client, server = transport.addresses()
        self._secure = transport.secure
        self._server = server
        self._common: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "https" if self._secure else "http",
            "path": "",
            "raw_path": b"",
            "query_string": b"",
            "root_path": "",
            "headers": [],
            "client": client,
            "server": server,
            "extensions": {},
        }

    def normalize_target(self, head: RequestHead) -> None:
        """Replace a target that is a URL of this listener by its path."""
        to_origin_form(head, secure=self._secure, server=self._server)

    def make_scope(self, head: RequestHead) -> Scope:
        """An ASGI scope of type `http`.

        `raw_path` is as it was sent, so the URL of another server, or an asterisk, does not begin with a slash.
        """
        raw_path, _, query = head.target.partition(b"?")
        path = raw_path.decode("ascii")  # llhttp accepts no other bytes in a target
        scope = self._common.copy()
        scope["http_version"] = head.version
        scope["method"] = head.method.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = query
        scope["headers"] = head.headers
        return scope

    def make_websocket_scope(self, head: RequestHead, subprotocols: list[str]) -> Scope:
        """An ASGI scope of type `websocket`, which has no method."""
        scope = self.make_scope(head)
        del scope["method"]
        scope["type"], scope["scheme"] = "websocket", "wss" if self._secure else "ws"
        scope["subprotocols"] = subprotocols
        return scope
