"""What a reload changes: the keys of two configurations that differ, and what the keys of their files contain.

A key that can be reloaded is taken from the new configuration, any other from the one that the service runs with: it is
in use by what a generation does not own, such as a socket or a child process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from lakehouse.config import Config
from lakehouse.config.document import encode_value
from lakehouse.config.provider_entries import find_ollama_url
from lakehouse.config.values import EMBEDDED
from lakehouse.services.host.names import SERVICES

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from lakehouse.runtime.generation import Generation

RELOADED = (
    "gateway",
    "chatd",
    "providers",
    "models",
    "ollama",
    "auth",
    "observe.log",
    "sessions",
    "observerd.limits",
)
"""Tables and keys that can be reloaded, but for those of `FIXED`."""

FIXED = ("gateway.bind", "chatd.bind", "chatd.local", "ollama.bind")
"""Keys in those tables that need a restart."""

Table = TypeVar("Table", bound="DataclassInstance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The keys that differ, and the configuration in which those of `changed` alone have their new values."""

    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]
    effective: Config


def compare_configs(running: Config, new: Config) -> Changes:
    """Compare the configuration that the service runs with to one that was read. Keys are named, never their values."""
    differing = list(_list_differences(running, new))
    embedded = set(_list_embedded_differently(running, new))
    reloaded = [key for key in differing if is_reloaded(key) and key not in embedded]
    needs_restart = [key for key in differing if key not in reloaded]
    if find_ollama_url(running) != find_ollama_url(new) and _embeds_by_ollama_of_chat(running):
        needs_restart.append("embedd.provider_url")  # whose default is the former URL in the services process
    return Changes(
        changed=tuple(reloaded), needs_restart=tuple(needs_restart), effective=_merge(running, new, set(reloaded))
    )


def is_reloaded(key: str) -> bool:
    """Whether a reload takes the new value of a key such as `chatd.policy.retries`, or of all keys below it."""
    return _is_below(key, RELOADED) and not _is_below(key, FIXED)


def compare_secrets(former: Generation, present: Generation) -> tuple[str, ...]:
    """The keys that name files or variables whose content was another one: tokens, and keys of providers."""
    changed = [] if former.checked.tokens.equals(present.checked.tokens) else ["auth.token_file"]
    before, after = _list_keys(former), _list_keys(present)
    names = [name for name in {**before, **after} if before.get(name, []) != after.get(name, [])]
    changed += [f"{_find_table(present.config, name)}.key_file" for name in names]
    return tuple(changed)


def _list_keys(generation: Generation) -> dict[str, list[str]]:
    """The keys of the replicas of each registered provider."""
    replicas = generation.dispatcher.replicas.items()
    return {name: [one.key.value for one in several if one.key is not None] for name, several in replicas}


def _find_table(config: Config, provider: str) -> str:
    """The table of a provider: the older spelling if that exists and the other is not used."""
    has_older = any(field.name == provider for field in fields(config.chatd))
    return f"{'chatd' if has_older and provider not in config.providers else 'providers'}.{provider}"


def _is_below(key: str, names: tuple[str, ...]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _list_differences(running: object, new: object, path: str = "") -> Iterator[str]:
    """The keys below `path` whose values differ: those of tables, and the names in tables with names of the user's."""
    if is_dataclass(running) and not isinstance(running, type) and type(running) is type(new):
        for field in fields(running):
            below = f"{path}.{field.name}" if path else field.name
            yield from _list_differences(getattr(running, field.name), getattr(new, field.name), below)
    elif isinstance(running, Mapping) and isinstance(new, Mapping):
        for name in {**running, **new}:
            yield from _list_differences(running.get(name), new.get(name), f"{path}.{name}")
    elif encode_value(running) != encode_value(new):  # with the credentials of URLs, which do not count as they compare
        yield path


def _list_embedded_differently(running: Config, new: Config) -> Iterator[str]:
    """The services that move into the services process or out of it, which is made for the ones that it has."""
    for name in SERVICES:
        key = f"{name}_url"
        if (getattr(running.gateway, key) == EMBEDDED) != (getattr(new.gateway, key) == EMBEDDED):
            yield f"gateway.{key}"


def _embeds_by_ollama_of_chat(config: Config) -> bool:
    return config.gateway.embedd_url == EMBEDDED and not config.embedd.provider_url


def _merge(running: Table, new: Table, taken: set[str], path: str = "") -> Table:
    """`running` with the values of `new` for the keys of `taken`."""
    values: dict[str, object] = {}
    for field in fields(running):
        key = f"{path}.{field.name}" if path else field.name
        old, value = getattr(running, field.name), getattr(new, field.name)
        if is_dataclass(old) and not isinstance(old, type):
            values[field.name] = _merge(old, value, taken, key)
        elif key in taken or any(name.startswith(f"{key}.") for name in taken):
            values[field.name] = value
    return replace(running, **values)
