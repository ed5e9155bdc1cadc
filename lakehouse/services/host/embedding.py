"""The embedder of a lake: its models, and the client of those that are not in the retrieval engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from lakehouse.chat.providers.model_router import ModelRouter
from lakehouse.config import Config, list_entries
from lakehouse.config.provider_entries import LOCAL
from lakehouse.process.tasks import open_background
from lakehouse.services.contracts.retrieval import RetrievalEngine
from lakehouse.services.embedding.embedder import ModelEmbedder, open_embedder
from lakehouse.services.embedding.listing import ModelListing
from lakehouse.services.embedding.selection import ModelNames
from lakehouse.services.host.embedding_models import configured_models, describe_models
from lakehouse.services.lake.directory import LakeDirectory

if TYPE_CHECKING:
    from lakehouse.services.host.provider_client import LakeProviderClient


class LazyProviderClient:
    """Implements `ProviderClient`: loads the client with the first call, in a thread."""

    def __init__(self, make_client: Callable[[type[LakeProviderClient]], LakeProviderClient]) -> None:
        self._make_client = make_client
        self._lock = trio.Lock()
        self._client: LakeProviderClient | None = None

    async def post(self, provider: str, path: str, body: bytes) -> bytes:
        """Implements `ProviderClient`."""
        return await (await self._load()).post(provider, path, body)

    async def get(self, provider: str, path: str) -> bytes:
        """Implements `ProviderClient`."""
        return await (await self._load()).get(provider, path)

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    async def _load(self) -> LakeProviderClient:
        if self._client is None:
            async with self._lock:
                if self._client is None:
                    client_type = await trio.to_thread.run_sync(_import_client, abandon_on_cancel=True)
                    self._client = self._make_client(client_type)
        return self._client


def _import_client() -> type[LakeProviderClient]:
    from lakehouse.services.host.provider_client import LakeProviderClient

    return LakeProviderClient


def make_model_names(config: Config, local: Collection[str]) -> ModelNames:
    """The names of embedding models, with those of all providers of the configuration. `local` are GGUF files.

    A provider whose first wire is Ollama's has Ollama's paths. This process does not know which keys there are, so the
    prefix of a ready entry is its own without a key, too.
    """
    entries = list_entries(config)
    ollamas = frozenset(name for name, entry in entries.items() if entry.main_wire == "ollama")
    router = ModelRouter(providers=frozenset((*entries, LOCAL)), ollamas=ollamas)
    return ModelNames(router.target, default=config.embedd.default_model, local=local, ollamas=ollamas)


@asynccontextmanager
async def open_lake_embedder(
    engine: RetrievalEngine, directory: LakeDirectory, config: Config, *, relay: str = ""
) -> AsyncIterator[ModelEmbedder]:
    """The embedder for the length of the block. Nothing is started before it is needed.

    `relay` is the socket of the parent's relay; without it this process has the keys of the providers itself.
    """
    models = configured_models(config.embedd, directory.path / "models")
    names = make_model_names(config, models)
    async with open_background() as nursery:
        client = LazyProviderClient(lambda make: make(config, models, nursery, relay=relay))
        listing = ModelListing(client, names, describe_models(models))
        try:
            async with open_embedder(
                engine,
                client,
                names,
                listing,
                cache_size=config.embedd.cache_size,
                local_limits={name: local.context for name, local in models.items()},
            ) as embedder:
                yield embedder
        finally:
            client.close()
