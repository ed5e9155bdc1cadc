"""The embedder of a lake: its models, and how each of them is reached.

ModelEmbedder ─ LakeProviderClient ─┬─ local:NAME   llama.cpp, in a process of its own   (model_servers)
                                    ├─ ollama       [embedd] provider_url
                                    └─ any other    with its key: in this process if it is the user's own program,
                                                    else through the relay of the parent   (provider_relay)
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from lakehouse.chat.providers.model_router import ModelRouter
from lakehouse.config import Config
from lakehouse.core.extras import install_hint, missing_modules
from lakehouse.local_model import EngineConfig
from lakehouse.process.tasks import open_background
from lakehouse.services.contracts.embedder import ModelInfo
from lakehouse.services.contracts.retrieval import RetrievalEngine
from lakehouse.services.embedding.embedder import ModelEmbedder, open_embedder
from lakehouse.services.embedding.listing import ModelListing
from lakehouse.services.embedding.local_server import PROVIDER as LOCAL
from lakehouse.services.embedding.names import (
    MINILM,
    MINILM_DIMENSION,
    WORDLLAMA,
    WORDLLAMA_DIMENSION,
    WORDLLAMA_DIMENSIONS,
    WORDLLAMA_MAX_TOKENS,
)
from lakehouse.services.embedding.selection import ModelNames
from lakehouse.services.host.model_servers import ModelServers, configured_models, missing_for
from lakehouse.services.host.provider_pools import KeyedProviders, ProviderPool, make_ollama_pool
from lakehouse.services.host.provider_relay import RelayedProviders
from lakehouse.services.lake.directory import LakeDirectory


class Providers(Protocol):
    """The providers with keys."""

    async def post(self, provider: str, path: str, body: bytes) -> bytes:
        """Send a JSON body to a path of a provider. Raises LakehouseError."""

    def close(self) -> None:
        """Close the connections."""


class LakeProviderClient:
    """Implements `ProviderClient`."""

    def __init__(self, config: Config, servers: ModelServers, keyed: Providers) -> None:
        self._table = config.chatd
        self._ollama_url = config.embedd.provider_url or config.chatd.ollama_url
        self._ollama: ProviderPool | None = None
        self._servers = servers
        self._keyed = keyed

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


@asynccontextmanager
async def open_lake_embedder(
    engine: RetrievalEngine, directory: LakeDirectory, config: Config, *, relay: str = ""
) -> AsyncIterator[ModelEmbedder]:
    """The embedder for the length of the block. Nothing is started before it is needed.

    `relay` is the socket of the parent's relay; without it this process has the keys of the providers itself.
    """
    configs = configured_models(config.embedd, directory.path / "models")
    keyed = RelayedProviders(relay) if relay else KeyedProviders(config.chatd, os.environ)
    names = ModelNames(ModelRouter().target, default=config.embedd.default_model, local=configs)
    async with open_background() as nursery:
        client = LakeProviderClient(config, ModelServers(configs, nursery), keyed)
        listing = ModelListing(client, names, describe_models(configs))
        try:
            async with open_embedder(
                engine,
                client,
                names,
                listing,
                cache_size=config.embedd.cache_size,
                local_limits={name: local.context for name, local in configs.items()},
            ) as embedder:
                yield embedder
        finally:
            client.close()


def describe_models(configs: Mapping[str, EngineConfig]) -> list[ModelInfo]:
    """The embedded models, with what those need that cannot be used. Imports none of their packages."""
    absent = missing_modules("numpy", "wordllama")
    models = [
        ModelInfo(
            id=WORDLLAMA,
            provider="embedded",
            available=not absent,
            dimension=WORDLLAMA_DIMENSION,
            dimensions=WORDLLAMA_DIMENSIONS,
            max_tokens=WORDLLAMA_MAX_TOKENS,
            semantic="words",
            missing=f"the model {WORDLLAMA} {install_hint('lake', absent)}" if absent else "",
        )
    ]
    for name, config in configs.items():
        missing = missing_for(name, config) or _missing_file(config)
        models.append(
            ModelInfo(
                id=name,
                provider="embedded",
                available=not missing,
                dimension=MINILM_DIMENSION if name == MINILM else None,
                max_tokens=config.context,
                missing=missing,
            )
        )
    return models


def _missing_file(config: EngineConfig) -> str:
    path: Path | None = config.model_path
    if config.prepare or path is None or path.is_file():
        return ""
    return f"there is no file {path} (the key `model` in [embedd])"
