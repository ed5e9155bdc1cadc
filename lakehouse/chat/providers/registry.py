"""The registered providers: those with a key, local Ollama if it has a URL, and the embedded model if it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lakehouse.chat.providers.base import Provider, ProviderEndpoint
from lakehouse.chat.providers.keys import Key, find_key
from lakehouse.chat.providers.kimi import Kimi
from lakehouse.chat.providers.local import Local
from lakehouse.chat.providers.model_router import Target
from lakehouse.chat.providers.ollama import Ollama
from lakehouse.chat.providers.ollama_cloud import OllamaCloud
from lakehouse.chat.providers.opencode import OpenCode
from lakehouse.chat.providers.openrouter import OpenRouter
from lakehouse.config import ChatTable, ProviderTable
from lakehouse.core.errors import ErrProviderNotFound


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """A provider, and the name of the model that it is sent.

    `target` has the names of both. `endpoint` is the provider's endpoint for the model.
    """

    provider: Provider
    model: str
    target: Target = field(init=False, repr=False, compare=False)
    endpoint: ProviderEndpoint = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", Target(self.provider.name, self.model))
        object.__setattr__(self, "endpoint", self.provider.endpoint(self.model))

    def __str__(self) -> str:
        return f"{self.provider.name}/{self.model}"


@dataclass(frozen=True, slots=True)
class Registry:
    """The registered providers by name, the reasons why the others are missing, and warnings about keys."""

    providers: Mapping[str, Provider]
    missing: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    def route(self, target: Target) -> ModelRoute:
        """The route to `target`. Raises ErrProviderNotFound, which names what would register the provider."""
        if provider := self.providers.get(target.provider):
            return ModelRoute(provider, target.model)
        reason = self.missing.get(target.provider, "there is no such provider")
        known = ", ".join(self.providers) or "none"
        raise ErrProviderNotFound(
            f"the provider {target.provider} is not registered: {reason} (registered: {known})",
            provider=target.provider,
        )


def register(chatd: ChatTable, env: Mapping[str, str], *, local: Local | None = None) -> Registry:
    """Search for the keys in `env` and the configured files, and create the providers.

    `local` is the embedded model.
    """
    providers: dict[str, Provider] = {}
    missing: dict[str, str] = {}
    warnings: list[str] = []
    if chatd.ollama_url:
        providers["ollama"] = Ollama(chatd.ollama_url, think=chatd.think)
    else:
        missing["ollama"] = "chatd.ollama_url is empty"
    for name, (table, create) in _providers_with_keys(chatd).items():
        search = find_key(key_env=table.key_env, key_file=table.key_file, env=env)
        if search.warning:
            warnings.append(search.warning)
        if search.key:
            providers[name] = create(search.key)
        else:
            missing[name] = f"no key was found in ${table.key_env}" + (
                f" or {table.key_file}" if table.key_file else ""
            )
    if local:
        providers["local"] = local
    else:
        missing["local"] = "no embedded model runs (`--model FILE.gguf`, `--demo` or chatd.local.model starts one)"
    return Registry(providers, missing, tuple(warnings))


def _providers_with_keys(chatd: ChatTable) -> dict[str, tuple[ProviderTable, Callable[[Key], Provider]]]:
    """For each provider that needs a key: its table of the configuration, and how it is created."""
    openrouter, opencode, kimi = chatd.openrouter, chatd.opencode, chatd.kimi
    return {
        "ollama_cloud": (
            chatd.ollama_cloud,
            lambda key: OllamaCloud(chatd.ollama_cloud.base_url, key, think=chatd.think),
        ),
        "openrouter": (
            openrouter,
            lambda key: OpenRouter(openrouter.base_url, key, referer=openrouter.referer, title=openrouter.title),
        ),
        "opencode": (opencode, lambda key: OpenCode(opencode.base_url, key, endpoints=opencode.endpoints)),
        "kimi": (kimi, lambda key: Kimi(kimi.base_url, key, wire=kimi.wire)),
    }
