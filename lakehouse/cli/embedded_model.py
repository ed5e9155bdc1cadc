"""The embedded model for a command that asks models itself."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lakehouse.chat.dispatch.open_dispatcher import LocalServer
from lakehouse.chat.providers.registry import register
from lakehouse.config import Config
from lakehouse.runtime.dependency_status import find_embedded_model


@asynccontextmanager
async def open_embedded_model(config: Config, model: str | None) -> AsyncIterator[LocalServer | None]:
    """The embedded model, if the configuration has one and `model` is served by it (or not given)."""
    chain = register(config, os.environ).make_router(config).chain((model,)) if model else ()
    if find_embedded_model(config) is None or all(target.provider != "local" for target in chain):
        yield None
        return
    from lakehouse.runtime.resources import (
        open_local_server,  # with it comes the whole service, which others need not wait for
    )

    async with open_local_server(config.chatd.local) as local:
        yield local
