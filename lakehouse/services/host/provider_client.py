"""How each embedding model beside the packaged one is reached.

LakeProviderClient ─┬─ local:NAME   llama.cpp, in a process of its own   (model_servers)
                    ├─ ollama       [embedd] provider_url
                    └─ any other    with its key: in this process if it is the user's own program,
                                    else through the relay of the parent   (provider_relay)

It needs the code of all providers, so it is loaded with the first request for such a model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol

import trio

from lakehouse.config import Config
from lakehouse.config.provider_entries import find_ollama_url
from lakehouse.local_model import EngineConfig
from lakehouse.services.embedding.local_server import PROVIDER as LOCAL
from lakehouse.services.host.model_servers import ModelServers
from lakehouse.services.host.provider_pools import KeyedProviders, ProviderPool, make_ollama_pool
from lakehouse.services.host.provider_relay import RelayedProviders


class Providers(Protocol):
    """The providers with keys."""

    async def post(self, provider: str, path: str, body: bytes) -> bytes:
        """Send a JSON body to a path of a provider. Raises LakehouseError."""

    def close(self) -> None:
        """Close the connections."""


class LakeProviderClient:
    """Implements `ProviderClient`."""

    def __init__(
        self, config: Config, models: Mapping[str, EngineConfig], nursery: trio.Nursery, *, relay: str
    ) -> None:
        self._table = config.chatd
        self._ollama_url = config.embedd.provider_url or find_ollama_url(config)
        self._ollama: ProviderPool | None = None
        self._servers = ModelServers(models, nursery)
        self._keyed: Providers = RelayedProviders(relay) if relay else KeyedProviders(lambda: config, os.environ)

    async def post(self, provider: str, path: str, body: bytes) -> bytes:
        """Implements `ProviderClient`."""
        if provider.startswith(LOCAL):
            return await self._servers.find(provider.removeprefix(LOCAL)).request(b"POST", path, body)
        if provider == "ollama":
            return await self._open_ollama().post(path, body)
        return await self._keyed.post(provider, path, body)

    async def get(self, provider: str, path: str) -> bytes:
        """Implements `ProviderClient`, for Ollama and the embedded models."""
        if provider.startswith(LOCAL):
            return await self._servers.find(provider.removeprefix(LOCAL)).request(b"GET", path, None)
        return await self._open_ollama().get(path)

    def close(self) -> None:
        """Close the connections."""
        self._keyed.close()
        if self._ollama is not None:
            self._ollama.pool.close()

    def _open_ollama(self) -> ProviderPool:
        if self._ollama is None:
            self._ollama = make_ollama_pool(self._table, self._ollama_url)
        return self._ollama
