"""Requests to providers from the process that knows their keys, for embeddings and reranking.

The response is read as a whole. Another status than 200 becomes the `LakehouseError` that it means, without a key in
its message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from lakehouse.chat.dialects.errors.classifier import classify
from lakehouse.chat.dispatch.open_dispatcher import find_proxies, make_pool
from lakehouse.chat.providers.base import Headers, Provider
from lakehouse.chat.providers.ollama import Ollama
from lakehouse.chat.providers.registry import Registry, register
from lakehouse.config import ChatTable, Config
from lakehouse.core.errors import ErrProviderNotFound
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.pool import Upstream

MAX_ANSWER = 256 * 2**20
"""Bytes of an answer: 4,096 vectors of 4,096 numbers."""
MAX_ERROR = 65_536
JSON_TYPE = (b"Content-Type", b"application/json")


class ProviderPool(NamedTuple):
    """A provider, and the connections to it."""

    provider: Provider
    pool: Upstream

    async def post(self, path: str, body: bytes) -> bytes:
        """Send a JSON body to a path below the base URL. Raises LakehouseError."""
        return await self._request(b"POST", path, (JSON_TYPE, *self.provider.query_headers), body)

    async def get(self, path: str) -> bytes:
        """Get a path below the base URL. Raises LakehouseError."""
        return await self._request(b"GET", path, self.provider.query_headers, None)

    async def _request(self, method: bytes, path: str, headers: Headers, body: bytes | None) -> bytes:
        target = self.pool.base_path + path.encode()
        with await self.pool.send(UpstreamRequest(method, target, headers, body)) as response:
            if response.status == 200:
                return await response.read(MAX_ANSWER)
            content = await response.read(MAX_ERROR)
            fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers]
            raise classify(response.status, fields, content, provider=self.provider.name, secrets=self.provider.secrets)


class KeyedProviders:
    """The providers with keys. Keys are looked up and pools are opened with the first request.

    `get_config` returns the configuration in force; with another one, keys are looked up anew.
    """

    def __init__(self, get_config: Callable[[], Config], env: Mapping[str, str]) -> None:
        self._get_config = get_config
        self._config = get_config()
        self._env = env
        self._registry: Registry | None = None
        self._pools: dict[str, ProviderPool] = {}

    async def post(self, provider: str, path: str, body: bytes) -> bytes:
        """Send a JSON body to a path of a provider. Raises ErrProviderNotFound and other LakehouseErrors."""
        return await self._find(provider).post(path, body)

    def close(self) -> None:
        """Close the connections."""
        for pool in self._pools.values():
            pool.pool.close()

    def _find(self, name: str) -> ProviderPool:
        if (config := self._get_config()) is not self._config:
            self.close()  # requests in flight end over their connections
            self._pools.clear()
            self._config, self._registry = config, None
        if (found := self._pools.get(name)) is not None:
            return found
        if self._registry is None:
            self._registry = register(self._config, self._env)
        provider = self._registry.find(name)
        table = self._config.chatd
        pool = make_pool(provider, table, None, find_proxies(table, self._env))
        return self._pools.setdefault(name, ProviderPool(provider, pool))


def make_ollama_pool(table: ChatTable, url: str) -> ProviderPool:
    """The local Ollama, which needs no key. Raises ErrProviderNotFound without a URL."""
    if not url:
        raise ErrProviderNotFound(
            "the provider ollama is not registered: embedd.provider_url and chatd.ollama_url are empty",
            provider=Ollama.name,
        )
    provider = Ollama(url)
    return ProviderPool(provider, make_pool(provider, table, None, None))
