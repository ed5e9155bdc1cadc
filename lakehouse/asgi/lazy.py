"""An ASGI application that is made when the first request for it arrives."""

from __future__ import annotations

from collections.abc import Callable

import trio

from lakehouse.asgi.types import App, Receive, Scope, Send


class LazyApp:
    """Calls `load` once, in a thread, beside which all other requests go on. What it raises fails that request only."""

    def __init__(self, load: Callable[[], App]) -> None:
        self._load = load
        self._lock = trio.Lock()
        self._app: App | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            async with self._lock:
                if self._app is None:
                    self._app = await trio.to_thread.run_sync(self._load, abandon_on_cancel=True)
        await self._app(scope, receive, send)
