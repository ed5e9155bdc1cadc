"""Which providers exist: those whose keys were found, local Ollama if it has a URL, the embedded model if it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lakehouse.chat.providers.base import Endpoint, Provider
from lakehouse.chat.providers.keys import Key, find_key
from lakehouse.chat.providers.kimi import Kimi
from lakehouse.chat.providers.local import Local
from lakehouse.chat.providers.ollama import Ollama
from lakehouse.chat.providers.ollama_cloud import OllamaCloud
from lakehouse.chat.providers.opencode import OpenCode
from lakehouse.chat.providers.openrouter import OpenRouter
from lakehouse.chat.providers.routing import Target
from lakehouse.config import ChatTable, ProviderTable
from lakehouse.core.errors import ErrProviderNotFound


@dataclass(frozen=True, slots=True)
class Route:
    """A provider, and the name of the model that it is asked for.

    `target` is the same as names, `endpoint` where the provider is asked for that model.
    """

    provider: Provider
    model: str
    target: Target = field(init=False, repr=False, compare=False)
    endpoint: Endpoint = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", Target(self.provider.name, self.model))
        object.__setattr__(self, "endpoint", self.provider.endpoint(self.model))

    def __str__(self) -> str:
        return f"{self.provider.name}/{self.model}"


@dataclass(frozen=True, slots=True)
class Registry:
    """The registered providers by name, why the others are not, and what the operator should know about the keys."""

    providers: Mapping[str, Provider]
    missing: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    def route(self, target: Target) -> Route:
        """The route to `target`; raises ErrProviderNotFound, with what would register its provider."""
        if provider := self.providers.get(target.provider):
            return Route(provider, target.model)
        reason = self.missing.get(target.provider, "there is no such provider")
        known = ", ".join(self.providers) or "none"
        raise ErrProviderNotFound(
            f"the provider {target.provider} is not registered: {reason} (registered: {known})",
            provider=target.provider,
        )


def register(chatd: ChatTable, env: Mapping[str, str], *, local: Local | None = None) -> Registry:
    """Look for every key and make the providers. `local` is the embedded model, if one runs."""
    providers: dict[str, Provider] = {}
    missing: dict[str, str] = {}
    warnings: list[str] = []
    if chatd.ollama_url:
        providers["ollama"] = Ollama(chatd.ollama_url, think=chatd.think)
    else:
        missing["ollama"] = "chatd.ollama_url is empty"
    for name, table in _keyed(chatd).items():
        search = find_key(key_env=table.key_env, key_file=table.key_file, env=env)
        if search.warning:
            warnings.append(search.warning)
        if search.key:
            providers[name] = _make(name, chatd, search.key)
        else:
            missing[name] = f"no key was found in ${table.key_env}" + (
                f" or {table.key_file}" if table.key_file else ""
            )
    if local:
        providers["local"] = local
    else:
        missing["local"] = "no embedded model runs (`--model FILE.gguf`, `--demo` or chatd.local.model starts one)"
    return Registry(providers, missing, tuple(warnings))


def _keyed(chatd: ChatTable) -> dict[str, ProviderTable]:
    return {
        "ollama_cloud": chatd.ollama_cloud,
        "openrouter": chatd.openrouter,
        "opencode": chatd.opencode,
        "kimi": chatd.kimi,
    }


def _make(name: str, chatd: ChatTable, key: Key) -> Provider:
    match name:
        case "ollama_cloud":
            return OllamaCloud(chatd.ollama_cloud.base_url, key, think=chatd.think)
        case "openrouter":
            table = chatd.openrouter
            return OpenRouter(table.base_url, key, referer=table.referer, title=table.title)
        case "opencode":
            return OpenCode(chatd.opencode.base_url, key, endpoints=chatd.opencode.endpoints)
        case _:
            return Kimi(chatd.kimi.base_url, key, wire=chatd.kimi.wire)
