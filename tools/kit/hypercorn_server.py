"""An application under stock Hypercorn's trio worker."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import hypercorn
import hypercorn.trio
import trio


@asynccontextmanager
async def open_hypercorn(
    app: Any, *, keep_alive_timeout: float = 5.0, graceful_timeout: float = 3.0
) -> AsyncIterator[str]:
    """Serve `app` on a free port of the loopback for the block and give its URL. Drained at the end."""
    config = hypercorn.Config()
    config.bind = ["127.0.0.1:0"]
    config.keep_alive_timeout = keep_alive_timeout
    config.graceful_timeout = graceful_timeout
    config.accesslog = None
    config.errorlog = logging.getLogger("tests.hypercorn")
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        serve: Any = partial(hypercorn.trio.serve, app, config, shutdown_trigger=stop.wait, mode="asgi")
        (url,) = await nursery.start(serve)
        yield url
        stop.set()
