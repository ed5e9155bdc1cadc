"""The service that the clients of the grid are pointed at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tools.kit.client_grid.conversation import converse
from tools.kit.service_with_providers import open_service_with_providers
from tools.kit.wires import PROVIDERS


@asynccontextmanager
async def open_grid_service() -> AsyncIterator[str]:
    """The whole service with the model of the conversation behind each wire protocol; its URL."""
    scripts = dict.fromkeys(PROVIDERS.values(), converse)
    async with open_service_with_providers(scripts=scripts, observe={"log": "off"}) as there:
        yield there.service.urls[0]
