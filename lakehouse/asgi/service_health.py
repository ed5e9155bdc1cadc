"""`GET /health`: the service answers, and says which one it is."""

from __future__ import annotations

from lakehouse.asgi.responses import send_json
from lakehouse.asgi.types import Receive, Scope, Send


class ServiceHealth:
    """The ASGI application of the path: 200 `{"status": "ok", "service": name}`."""

    def __init__(self, name: str) -> None:
        self._document = {"status": "ok", "service": name}

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_json(send, 200, self._document)
