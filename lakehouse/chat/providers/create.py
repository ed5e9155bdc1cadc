"""Creates the provider of an entry: by its own class if it has one, else from the entry alone."""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.chat.providers.base import Provider
from lakehouse.chat.providers.configured import ConfiguredProvider
from lakehouse.chat.providers.keys import Key
from lakehouse.chat.providers.kimi import Kimi
from lakehouse.chat.providers.ollama import Ollama
from lakehouse.chat.providers.ollama_cloud import OllamaCloud
from lakehouse.chat.providers.opencode import OpenCode
from lakehouse.chat.providers.openrouter import OpenRouter
from lakehouse.chat.providers.replica import make_replica
from lakehouse.config import ProviderEntry
from lakehouse.config.provider_tables import EndpointName


def create_replicas(entry: ProviderEntry, keys: Sequence[Key], *, think: bool) -> tuple[Provider, ...]:
    """The provider of an entry at each of its base URLs with each of its keys. `think` is Ollama's default."""
    replicas: list[Provider] = []
    weights = entry.weights or (1,) * len(entry.base_url)
    for base_url, weight in zip(entry.base_url, weights, strict=True):
        for key in keys or (None,):
            provider = create_provider(entry, base_url, key, think=think)
            provider.replica = make_replica(base_url, key, weight, hosts=entry.base_url, keys=len(keys))
            replicas.append(provider)
    return tuple(replicas)


def create_provider(entry: ProviderEntry, base_url: str, key: Key | None, *, think: bool) -> Provider:
    """The provider of an entry at one of its base URLs, with one of its keys. `think` is Ollama's default."""
    match entry.name:
        case "ollama":
            return Ollama(base_url, key, think=think, entry=entry)
        case "ollama_cloud":
            return OllamaCloud(base_url, key, think=think, entry=entry)
        case "openrouter":
            return OpenRouter(base_url, key, entry=entry)
        case "opencode":
            return OpenCode(base_url, key, endpoints=_list_endpoints(entry), entry=entry)
        case "kimi":
            return Kimi(base_url, key, wire=entry.wire["*"][0], entry=entry)
        case _:
            return ConfiguredProvider(entry, base_url, key, think=think)


def _list_endpoints(entry: ProviderEntry) -> dict[str, EndpointName]:
    return {pattern: wires[0] for pattern, wires in entry.wire.items() if wires[0] != "ollama"}
