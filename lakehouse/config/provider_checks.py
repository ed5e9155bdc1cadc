"""The problems of `[providers]` that depend on several keys, or on the providers that are there by default."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from lakehouse.config.provider_entries import BUILT_IN, LOCAL, ProviderEntry, list_entries
from lakehouse.config.provider_tables import ProviderTable
from lakehouse.config.provider_values import WireName, is_model_name, is_provider_name
from lakehouse.config.ready_providers import load_ready_providers
from lakehouse.config.table_reader import join_key
from lakehouse.config.tables import Config


def check_providers(config: Config) -> Iterator[str]:
    """The problems of all tables, a line each, which begins with its key."""
    entries = list_entries(config)
    for name, table in config.providers.items():
        path = join_key("providers", name)
        if name == LOCAL:
            yield f"{path} is the embedded model, which [chatd.local] configures"
        elif not is_provider_name(name):
            yield f"{path} must have a name of lower-case letters, digits, `.`, `_` and `-` (at most 64)"
        else:
            yield from _check_table(name, path, table)
    yield from _check_aliases(config, entries)


def _check_table(name: str, path: str, table: ProviderTable) -> Iterator[str]:
    ready = load_ready_providers().get(name)
    if name in BUILT_IN:
        yield from _check_built_in_wire(name, path, table)
    elif ready is None and not table.wire:
        yield f'{path}.wire must be set: "chat_completions", "responses", "messages" or "ollama"'
    if not table.base_url and (ready is None or ready.own_url):
        yield f"{path}.base_url must be set"
    if table.weights and len(table.weights) != len(table.base_url):
        yield f"{path}.weights must have one number for each URL of base_url (got {len(table.weights)})"
    if table.key_file and table.key_env == ():
        yield f'{path}.key_env must name the key in key_file, or be left out (got "")'
    for model in table.models:
        if not is_model_name(model):
            yield f"{join_key(f'{path}.models', model)} must be a name without white space"


def _check_built_in_wire(name: str, path: str, table: ProviderTable) -> Iterator[str]:
    """A provider with code of its own speaks what its code knows."""
    if name == "opencode":
        if any(len(wires) > 1 or "ollama" in wires for wires in table.wire.values()):
            yield f'{path}.wire must be a table such as {{"gpt-*" = "responses"}} of one wire each, and not "ollama"'
        return
    choices: Mapping[str, tuple[WireName, ...]] = {"kimi": ("messages", "chat_completions")}
    known = choices.get(name) or load_ready_providers()[name].wire["*"]
    if table.wire and dict(table.wire) not in [{"*": (wire,)} for wire in known]:
        yield f"{path}.wire must be left out or {' or '.join(known)}: {name} speaks nothing else"


def _check_aliases(config: Config, entries: Mapping[str, ProviderEntry]) -> Iterator[str]:
    owned = [
        (alias, f"{join_key(join_key('providers', name) + '.models', model)}.alias", model)
        for name, entry in entries.items()
        for model, facts in entry.models.items()
        for alias in facts.alias
    ]
    uses = Counter(alias for alias, _, _ in owned)
    for alias, key, model in owned:
        prefix = alias.partition("/")[0]
        if uses[alias] > 1:
            yield f"{key} has the name {alias}, which stands for several models"
        if alias in config.models:
            yield f"{key} has the name {alias}, which is a tier of [models]"
        if "/" in alias and (prefix in entries or prefix == LOCAL):
            yield f"{key} has the name {alias}, which begins with the prefix of the provider {prefix}"
        if alias == model:
            yield f"{key} has the name {alias}, which is the model's own"


def check_spellings(document: Mapping[str, object]) -> Iterator[str]:
    """Keys that a document sets in both spellings, `[providers.<name>]` and `[chatd.<name>]`."""
    providers, chatd = document.get("providers"), document.get("chatd")
    if not isinstance(providers, dict) or not isinstance(chatd, dict):
        return
    for name in BUILT_IN:
        newer, older = providers.get(name), chatd.get(name)
        if not isinstance(newer, dict):
            continue
        if name == "ollama" and "base_url" in newer and "ollama_url" in chatd:
            yield _set_twice("providers.ollama.base_url", "chatd.ollama_url")
        for key in older if isinstance(older, dict) else ():
            renamed = "wire" if key == "endpoints" else key
            if renamed in newer:
                yield _set_twice(f"providers.{name}.{renamed}", f"chatd.{name}.{key}")


def _set_twice(newer: str, older: str) -> str:
    return f"{newer} is set a second time by {older}, the older spelling: leave one of them out"
