"""The lines of the configuration that declare a provider."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec

from lakehouse.cli.discovery.listed_models import ListedFacts
from lakehouse.cli.discovery.wires import DiscoveredProvider
from lakehouse.config.provider_values import is_model_name
from lakehouse.config.table_reader import join_key

MAX_MODELS = 20
"""Models that get a table. A longer list is that of a service whose models come and go."""

_GENERIC_LABELS = frozenset({"ai", "api", "gateway", "inference", "llm", "local", "localhost", "www"})


def choose_name(url: str, taken: Collection[str]) -> str:
    """A name for the provider at a URL: a label of its host that says something, with a number if it is taken."""
    host = urlsplit(url).hostname or ""
    labels = [] if _is_address(host) else [label for label in host.split(".")[:-1] or [host] if label]
    telling = [re.sub(r"[^a-z0-9_-]", "-", label) for label in labels if label not in _GENERIC_LABELS]
    base = (telling[-1] if telling else "server").strip("-_")
    names = (base if number == 1 else f"{base}{number}" for number in itertools.count(1))
    return next(name for name in names if name not in taken)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def write_provider(name: str, found: DiscoveredProvider, *, key_env: str) -> str:
    """The table of a provider and those of its models about which it says something, as TOML."""
    return "".join(line + "\n" for line in _write_lines(name, found, key_env))


def _write_lines(name: str, found: DiscoveredProvider, key_env: str) -> Iterator[str]:
    yield f"[{join_key('providers', name)}]"
    yield f"wire = {_write(found.wires[0] if len(found.wires) == 1 else list(found.wires))}"
    yield f"base_url = {_write(found.base_url)}"
    if key_env:
        yield f"key_env = {_write(key_env)}"
    if found.quirks:
        yield f"quirks = {_write(list(found.quirks))}"
    told = [model for model in found.models if (model.context or model.abilities) and is_model_name(model.name)]
    if len(found.models) <= MAX_MODELS:
        for model in told:
            yield from _write_model(name, model)


def _write_model(provider: str, model: ListedFacts) -> Iterator[str]:
    models = join_key("providers", provider) + ".models"
    yield f"[{join_key(models, model.name)}]"
    for ability, value in (model.abilities or {}).items():
        yield f"{ability} = {_write(value)}"
    if model.context:
        yield f"context = {model.context}"


def _write(value: str | bool | list[str]) -> str:
    """A value as TOML. JSON's strings and booleans are TOML, but for DEL, which the readers of names exclude."""
    if isinstance(value, list):
        return f"[{', '.join(map(_write, value))}]"
    return msgspec.json.encode(value).decode()
