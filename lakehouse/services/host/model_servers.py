"""The embedding models of GGUF files: a process of llama.cpp for each, started with the first request for it."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from lakehouse.chat.dialects.errors.classifier import classify
from lakehouse.core.errors import ErrNotInstalled, ErrProviderNotFound, ErrUnavailable, ErrUpstream, LakehouseError
from lakehouse.local_model import Engine, EngineConfig, LocalModelError, open_engine
from lakehouse.services.host.embedding_models import missing_for
from lakehouse.services.host.provider_pools import JSON_TYPE, MAX_ANSWER
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.pool import Upstream

RETRY_AFTER = 5.0
KEEPALIVE = 4.0  # the server closes idle connections after five seconds


class ModelServer:
    """One model. `nursery` has the task that keeps its process running, from the first request on."""

    def __init__(self, name: str, config: EngineConfig, nursery: trio.Nursery) -> None:
        self._name = name
        self._config = config
        self._nursery = nursery
        self._starting: trio.Event | None = None
        self._engine: Engine | None = None
        self._failure: LakehouseError | None = None
        self._pool: Upstream | None = None

    async def request(self, method: bytes, path: str, body: bytes | None) -> bytes:
        """Send a request to the server of the model, once more if its process ends meanwhile. Raises LakehouseError."""
        engine, pool = await self._acquire()
        generation = await engine.readiness.wait_serving()
        try:
            return await self._send(engine, pool, method, path, body)
        except ErrUpstream as error:
            if error.upstream_status is not None:
                raise
            if await engine.readiness.wait_serving(failed_generation=generation) == generation:
                raise
            return await self._send(engine, pool, method, path, body)

    async def _send(self, engine: Engine, pool: Upstream, method: bytes, path: str, body: bytes | None) -> bytes:
        headers = [JSON_TYPE, (b"Authorization", f"Bearer {engine.api_key}".encode())]
        with await pool.send(UpstreamRequest(method, path.encode(), headers, body)) as response:
            content = await response.read(MAX_ANSWER)
            if response.status != 200:
                raise classify(response.status, (), content, provider=self._name, secrets=[engine.api_key])
            return content

    async def _acquire(self) -> tuple[Engine, Upstream]:
        if self._engine is None or self._pool is None:
            if self._starting is None:
                self._starting = trio.Event()
                self._failure = None
                self._nursery.start_soon(self._run, self._starting)
            await self._starting.wait()
        if self._engine is None or self._pool is None:
            raise self._failure or ErrUnavailable(f"the model {self._name} is being stopped")
        return self._engine, self._pool

    async def _run(self, started: trio.Event) -> None:
        """Keep the process running. If its first start fails, the requests that wait get the reason."""
        try:
            if absent := missing_for(self._name, self._config):
                self._failure = ErrNotInstalled(absent)
                return
            async with open_engine(self._config) as engine:
                self._pool = Upstream(engine.base_url.removesuffix("/v1"), name=self._name, keepalive_expiry=KEEPALIVE)
                self._engine = engine
                started.set()
                await trio.sleep_forever()
        except LocalModelError as failure:
            self._failure = ErrUnavailable(str(failure), retry_after=RETRY_AFTER)
        finally:
            if self._pool is not None:
                self._pool.close()
            self._engine = self._pool = self._starting = None
            started.set()


class ModelServers:
    """The servers of the configured models, by name."""

    def __init__(self, configs: Mapping[str, EngineConfig], nursery: trio.Nursery) -> None:
        self._servers = {name: ModelServer(name, config, nursery) for name, config in configs.items()}

    def find(self, name: str) -> ModelServer:
        """Raises ErrProviderNotFound."""
        if (server := self._servers.get(name)) is None:
            raise ErrProviderNotFound(f"there is no embedded model {name}", provider="local")
        return server
