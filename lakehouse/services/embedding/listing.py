"""The list of embedding models: the embedded ones, and those of a local Ollama."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio

from lakehouse.core.errors import LakehouseError
from lakehouse.services.contracts.embedder import ModelInfo, ProviderClient
from lakehouse.services.embedding.decoding import decode_answer
from lakehouse.services.embedding.selection import ModelNames

OLLAMA_TIMEOUT = 2.0
"""Seconds for Ollama to list its models; without an answer the list is without them."""
FAMILIES = ("bert", "nomic-bert", "nomic-bert-moe")
"""Families of embedding models, for servers that do not list capabilities."""


class OllamaDetails(msgspec.Struct, frozen=True):
    """What is used of a model's details."""

    family: str = ""
    embedding_length: int | None = None


class OllamaModel(msgspec.Struct, frozen=True):
    """One model of the list."""

    name: str
    details: OllamaDetails = OllamaDetails()
    capabilities: list[str] | None = None

    @property
    def embeds(self) -> bool:
        if self.capabilities is not None:
            return "embedding" in self.capabilities
        return self.details.family in FAMILIES


class OllamaList(msgspec.Struct, frozen=True):
    """The answer of `/api/tags`."""

    models: list[OllamaModel] = []


class ModelListing:
    """Lists the models. `embedded` are those of this installation, whether they can be used or not."""

    def __init__(self, client: ProviderClient, names: ModelNames, embedded: Sequence[ModelInfo]) -> None:
        self._client = client
        self._names = names
        self._embedded = embedded

    async def list_models(self) -> list[ModelInfo]:
        """The embedded models, then those of Ollama if it answers in time, then a default of another provider."""
        default = self._names.select("")
        models = [*self._embedded, *await self._list_ollama()]
        if default.name not in {model.id for model in models}:
            models.append(ModelInfo(id=default.name, provider=default.provider))
        return [msgspec.structs.replace(model, default=model.id == default.name) for model in models]

    async def _list_ollama(self) -> list[ModelInfo]:
        with trio.move_on_after(OLLAMA_TIMEOUT):
            try:
                listed = decode_answer(await self._client.get("ollama", "/api/tags"), OllamaList, "ollama")
            except LakehouseError:
                return []
            return [
                ModelInfo(
                    id=self._names.select(f"ollama/{model.name.removesuffix(':latest')}").name,
                    provider="ollama",
                    dimension=model.details.embedding_length,
                )
                for model in listed.models
                if model.embeds
            ]
        return []
