"""The service under stock Hypercorn between the same upstreams as `testbed`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from lakehouse.runtime.quart_app import create_app
from tools.kit.faults.provider import Provider, open_provider
from tools.kit.hypercorn_server import open_hypercorn
from tools.kit.in_process_service import make_config
from tools.kit.lifetime.daemon import Daemon, open_daemon
from tools.kit.lifetime.testbed import SLOW, Client

TEST_TIMEOUT = 10.0


@dataclass
class HypercornTestbed:
    """The application under Hypercorn at `port`, with everything that it asks."""

    port: int
    provider: Provider
    daemon: Daemon

    async def client(self) -> Client:
        return Client(await trio.open_tcp_stream("127.0.0.1", self.port))

    async def wait_requested(self, key: str) -> None:
        """Wait until an upstream was."""
        while not self._visits(key):
            await trio.sleep(0.001)

    async def wait_abandoned(self, key: str) -> float:
        """Wait until the upstream was left; when that was."""
        while self._visits(key)[-1].client_left is None:
            await trio.sleep(0.001)
        left: float | None = self._visits(key)[-1].client_left
        assert left is not None
        return left

    def _visits(self, key: str) -> list[Any]:
        return self.provider.requests.by_model(key) or self.daemon.requests.by_model(key)


@asynccontextmanager
async def open_hypercorn_testbed(**tables: dict[str, object]) -> AsyncIterator[HypercornTestbed]:
    """For the block; at its end Hypercorn shuts down in peace, and nothing of ours is left."""
    with trio.fail_after(TEST_TIMEOUT):
        async with open_provider(SLOW) as models, open_daemon() as there:
            tasks = trio.lowlevel.current_statistics().tasks_living
            config = make_config(
                **{
                    **tables,
                    "gateway": {"storaged_url": there.url},
                    "chatd": {"ollama_url": models.url, **tables.get("chatd", {})},
                }
            )
            async with open_hypercorn(create_app(config), graceful_timeout=0.3) as url:
                yield HypercornTestbed(int(url.rpartition(":")[2]), models, there)
            while models.open or there.open or trio.lowlevel.current_statistics().tasks_living > tasks:
                await trio.sleep(0.001)
