"""All providers that the configuration leads to: the ready entries, changed and extended by the user's tables.

One entry is put together from up to three tables: the ready one, the older spelling `[chatd.<name>]`, and
`[providers.<name>]`. What a later one sets replaces what an earlier one has; headers and models are added.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lakehouse.config.provider_tables import KeyedProviderTable, ModelTable, ProviderTable
from lakehouse.config.provider_values import QuirkName, WireName
from lakehouse.config.ready_providers import load_ready_providers
from lakehouse.config.tables import ChatTable, Config
from lakehouse.config.urls import BaseURL, separate_credentials

BUILT_IN = ("ollama", "ollama_cloud", "openrouter", "opencode", "kimi")
"""The providers with code of their own, which know how their models differ."""

LOCAL = "local"
"""The embedded model, which is no entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEntry:
    """One provider as it is to be registered, if it can be.

    With `key_env` () it needs no key. `optional`: nobody has configured it, so it exists only if its key is found.
    `missing` is the reason why it cannot be registered whatever keys there are, else empty.
    """

    name: str
    wire: Mapping[str, tuple[WireName, ...]]
    base_url: tuple[BaseURL, ...]
    weights: tuple[int, ...] = ()
    key_env: tuple[str, ...] = ()
    key_file: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    quirks: tuple[QuirkName, ...] = ()
    only_models: bool = False
    models: Mapping[str, ModelTable] = field(default_factory=dict)
    about: str = ""
    optional: bool = False
    missing: str = ""

    @property
    def main_wire(self) -> WireName:
        """The wire of requests beside the chats: the first of the pattern `*`, else of the last pattern.

        Without a pattern, where the provider's code has them, it is chat completions.
        """
        if "*" in self.wire or not self.wire:
            return self.wire.get("*", ("chat_completions",))[0]
        return [*self.wire.values()][-1][0]


def list_entries(config: Config) -> dict[str, ProviderEntry]:
    """The entries by name: those with code of their own, the other ready ones, then the user's."""
    ready = load_ready_providers()
    older = _read_older_spelling(config.chatd)
    found: dict[str, ProviderEntry] = {}
    for name in dict.fromkeys((*ready, *config.providers)):
        entry = _join(name, [named[name] for named in (ready, older, config.providers) if name in named])
        optional = name not in BUILT_IN and name not in config.providers
        empty_key = _find_empty_key(entry, older.get(name), config.providers.get(name))
        if not empty_key:
            found[name] = replace(entry, about=ready[name].about if name in ready else "", optional=optional)
        elif not optional:
            found[name] = replace(entry, missing=f"{empty_key} is empty")
    return found


def _find_empty_key(entry: ProviderEntry, older: ProviderTable | None, newer: ProviderTable | None) -> str:
    """The key of the configuration that is empty, so that the provider cannot be registered; "" if it can.

    An empty `key_env` of the older spelling switches a provider off. In a table of `[providers]` it says that no key is
    needed.
    """
    if not entry.base_url:
        return find_url_key(entry.name)
    is_off = older is not None and older.key_env == () and (newer is None or newer.key_env is None)
    return f"chatd.{entry.name}.key_env" if is_off else ""


def _join(name: str, tables: Sequence[ProviderTable]) -> ProviderEntry:
    """The entry that these tables make, each of which is stronger than the one before."""
    entry = ProviderEntry(name=name, wire={}, base_url=())
    key_env: tuple[str, ...] | None = None
    key_file: tuple[str, ...] | None = None
    for table in tables:
        key_env = key_env if table.key_env is None else table.key_env
        key_file = key_file if table.key_file is None else table.key_file
        entry = replace(
            entry,
            wire=table.wire or entry.wire,
            base_url=tuple(map(separate_credentials, table.base_url)) or entry.base_url,
            weights=table.weights if table.base_url else entry.weights,
            headers=_join_headers(entry.headers, table.headers),
            quirks=entry.quirks if table.quirks is None else table.quirks,
            only_models=table.only_models or entry.only_models,
            models={**entry.models, **table.models},
        )
    if key_env is None and key_file:
        key_env = (default_variable(name),)
    return replace(entry, key_env=key_env or (), key_file=key_file or ())


def _join_headers(first: Mapping[str, str], later: Mapping[str, str]) -> dict[str, str]:
    replaced = {name.lower() for name in later}
    return {**{name: text for name, text in first.items() if name.lower() not in replaced}, **later}


def default_variable(name: str) -> str:
    """The name of the key of a provider in a `key_file`, if the configuration has no `key_env`."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper()) + "_API_KEY"


def _read_older_spelling(chatd: ChatTable) -> dict[str, ProviderTable]:
    """`[chatd] ollama_url` and the tables below `[chatd]`, as tables of the newer spelling."""
    url = (chatd.ollama_url,) if chatd.ollama_url else ()
    router = {"HTTP-Referer": chatd.openrouter.referer, "X-Title": chatd.openrouter.title}
    wire: WireName = "messages" if chatd.kimi.wire == "messages" else "chat_completions"
    return {
        "ollama": ProviderTable(base_url=url),
        "ollama_cloud": _convert(chatd.ollama_cloud),
        "openrouter": replace(_convert(chatd.openrouter), headers={k: v for k, v in router.items() if v}),
        "opencode": replace(
            _convert(chatd.opencode),
            wire={pattern: (endpoint,) for pattern, endpoint in chatd.opencode.endpoints.items()},
        ),
        "kimi": replace(_convert(chatd.kimi), wire={"*": (wire,)}),
    }


def _convert(table: KeyedProviderTable) -> ProviderTable:
    """A provider of the older spelling."""
    return ProviderTable(
        base_url=(table.base_url,),
        key_env=(table.key_env,) if table.key_env else (),
        key_file=(table.key_file,) if table.key_file else (),
    )


def find_url_key(name: str) -> str:
    """The key of the configuration that has the base URL of a provider."""
    return "chatd.ollama_url" if name == "ollama" else f"providers.{name}.base_url"


def find_ollama_url(config: Config) -> str:
    """The base URL of the local Ollama, the first if it has several; empty without one."""
    return next(iter(list_entries(config)["ollama"].base_url), "")
