"""The whole service between clients and upstreams, all in one process so that all of it can be counted."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import trio
import trio.testing

from lakehouse.config import parse_config
from lakehouse.runtime.preflight import preflight
from lakehouse.runtime.runtime import Runtime, open_runtime
from lakehouse.server.connection import serve_connection
from lakehouse.server.limits import ServerLimits
from lakehouse.server.listening import bind_socket, listen
from lakehouse.server.server import BoundApp, serve_listeners
from lakehouse.server.server_state import open_server_state
from tools.kit.faults.profiles import FAST
from tools.kit.faults.provider import Provider, open_provider
from tools.kit.faults.recorded_requests import RecordedRequest
from tools.kit.http_stream import HttpStream
from tools.kit.lifetime.daemon import Daemon, open_daemon

CONNECTIONS = 4
"""To each upstream."""

DRAIN = 0.1
"""Seconds that requests have when the service stops."""

SLOW = replace(FAST, retry_after=30, pause=0.002)
"""The provider of models: a back-off that lasts, a stream that drips."""


class Census(NamedTuple):
    """What must be the same before and after. Of an idle connection to an upstream, and of the task and the descriptor
    with which that upstream holds on to its end, nothing is in it."""

    tasks: int
    descriptors: int
    in_use: int
    waiting: int
    active_requests: int
    clients: int
    strays: int
    """Connections that an upstream holds on to and that are not in the pool of idle ones."""


@dataclass
class ServiceTestbed:
    """A service at `port`, and what is around it."""

    runtime: Runtime
    provider: Provider
    daemon: Daemon
    port: int

    def __post_init__(self) -> None:
        self._tags = count()

    def tag(self) -> str:
        """A name that nothing else has."""
        return f"t{next(self._tags)}"

    async def client(self) -> Client:
        """A connection of a new client's."""
        return Client(await trio.open_tcp_stream("127.0.0.1", self.port))

    @property
    def active_requests(self) -> int:
        """Requests in flight."""
        return len(self.runtime.sources.active_requests)

    def recorded(self, key: str) -> list[RecordedRequest]:
        """Of a model, or of a path of the daemon's."""
        return self.provider.requests.by_model(key) or self.daemon.requests.by_model(key)

    async def wait_requested(self, *keys: str, times: int = 1) -> None:
        """Wait until each has been."""
        while any(len(self.recorded(key)) < times for key in keys):
            await trio.sleep(0.0005)

    async def wait_abandoned(self, *keys: str) -> float:
        """Wait until each has been left; when the last was."""
        while any(visit.client_left is None and not visit.ended for key in keys for visit in self.recorded(key)):
            await trio.sleep(0.0005)
        return max((visit.client_left or 0.0 for key in keys for visit in self.recorded(key)), default=0.0)

    def census(self) -> Census:
        """What there is now."""
        pools = list(self.runtime.sources.pools())
        outside = self.provider.open + self.daemon.open
        idle = sum(pool.idle for pool in pools)
        return Census(
            tasks=trio.lowlevel.current_statistics().tasks_living - outside,
            descriptors=len(list(Path("/proc/self/fd").iterdir())) - idle - outside,
            in_use=sum(pool.in_use for pool in pools),
            waiting=sum(pool.waiting for pool in pools),
            active_requests=self.active_requests,
            clients=self.runtime.sources.connections(),
            strays=outside - idle,
        )

    async def quiet(self) -> Census:
        """The census when everybody waits for something, and has for a while."""
        gc.collect()
        await trio.testing.wait_all_tasks_blocked(0.01)
        return self.census()

    async def settle(self, before: Census, seconds: float = 15.0) -> Census:
        """The census once it is what it was, or after this long: less than any limit that would mend a leak."""
        gc.collect()
        with trio.move_on_after(seconds):
            while self.census() != before:
                await trio.sleep(0.002)
        return self.census()


class Client(HttpStream):
    """A client that remembers everything it has received in `said`."""

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream)
        self.said = b""

    async def push(self, piece: bytes) -> None:
        """The same piece again and again, until nobody takes any more of it."""
        while True:
            with trio.move_on_after(0.03) as timeout:
                await self.stream.send_all(piece)
            if timeout.cancelled_caught:
                return

    async def until(self, mark: bytes) -> bytes:
        """Read until `said` has the mark in it."""
        while mark not in self.said:
            data = await self.stream.receive_some(65536)
            if not data:
                raise EOFError(self.said)
            self.said += data
        return self.said

    async def rest(self) -> bytes:
        """Read to the end, whatever end it is."""
        try:
            while data := await self.stream.receive_some(65536):
                self.said += data
        except trio.BrokenResourceError:
            pass
        return self.said


@asynccontextmanager
async def open_testbed(
    *, limits: ServerLimits | None = None, **tables: dict[str, Any]
) -> AsyncIterator[ServiceTestbed]:
    """A testbed for the block. `tables` replace what the configuration says, `limits` those of clients' connections."""
    async with open_provider(SLOW) as models, open_daemon() as there:
        urls = ("storaged", "catalogd", "ingestd", "queryd", "vectord", "embedd", "pathwayd", "matrixd", "observerd")
        gateway = {"bind": "127.0.0.1:0", "max_connections": CONNECTIONS, **{f"{name}_url": there.url for name in urls}}
        policy = {"hedge_after": 0.02, "backoff": 0.001, "breaker_failures": 0}
        chatd = {"ollama_url": models.url, "max_connections": CONNECTIONS, "policy": policy}
        document = {
            **tables,
            "gateway": {**gateway, **tables.get("gateway", {})},
            "chatd": {**chatd, **tables.get("chatd", {})},
            "observe": {"log": "off"},
        }
        config = parse_config(document).config
        async with open_runtime(config, preflight(config, {}), env={}) as runtime:
            served = _served(runtime) if limits is None else _served_within(runtime, limits)
            async with served as port:
                yield ServiceTestbed(runtime, models, there, port)


@asynccontextmanager
async def _served(runtime: Runtime) -> AsyncIterator[int]:
    """As `lakehouse.serve` does it."""
    with bind_socket("127.0.0.1", 0) as sock:
        serve = partial(
            serve_listeners,
            [BoundApp(runtime.main_app, sock)],
            stopping=runtime.stopping,
            drain_timeout=DRAIN,
            abort_requests=runtime.abort_remaining,
            on_connection_counter=runtime.set_connection_counter,
        )
        listen(sock)
        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            yield sock.getsockname()[1]
            runtime.stopping.set()


@asynccontextmanager
async def _served_within(runtime: Runtime, limits: ServerLimits) -> AsyncIterator[int]:
    """With other limits than the service's, which nobody can wait for."""
    async with open_server_state(runtime.main_app, limits) as server_state, trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(trio.serve_tcp, partial(serve_connection, server_state), 0, host="127.0.0.1")
        )
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()
