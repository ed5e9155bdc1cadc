"""The tables of the providers: `[providers.<name>]`, and the older spelling `[chatd.<name>]` of four of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lakehouse.config import provider_values, values
from lakehouse.config.fields import parsed_field, parsed_mapping, tables_field
from lakehouse.config.provider_values import QuirkName, WireName

EndpointName = Literal["chat_completions", "messages", "responses"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PricesTable:
    """`prices` of a model: US dollars for a million tokens. Without `cached_input`, cached tokens cost as others."""

    input: float = parsed_field(values.amount, 0.0)
    output: float = parsed_field(values.amount, 0.0)
    cached_input: float | None = parsed_field(values.amount, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelTable:
    """`[providers.<name>.models.<model>]`: a model, further names of it, and what it can do; None if not known.

    `alias` is callable bare and behind the provider's prefix. `context` is in tokens, 0 if not known.
    """

    alias: tuple[str, ...] = parsed_field(provider_values.model_names, ())
    tools: bool | None = None
    images: bool | None = None
    schema: bool | None = None
    reasoning: bool | None = None
    embeddings: bool | None = None
    context: int = parsed_field(values.count, 0)
    prices: PricesTable = PricesTable()


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderTable:
    """`[providers.<name>]`: a provider. What is left out (None, or empty) is that of the ready entry of the name.

    `wire` has the wires of models by pattern: the first is used unless a client speaks another of them. `key_env` ()
    means that the provider needs no key.
    """

    wire: Mapping[str, tuple[WireName, ...]] = parsed_mapping(provider_values.wires)
    base_url: tuple[str, ...] = parsed_field(provider_values.base_urls, ())
    weights: tuple[int, ...] = parsed_field(provider_values.weights, ())
    key_env: tuple[str, ...] | None = parsed_field(provider_values.key_variables, None)
    key_file: tuple[str, ...] | None = parsed_field(provider_values.key_files, None)
    headers: Mapping[str, str] = parsed_mapping(provider_values.headers)
    quirks: tuple[QuirkName, ...] | None = parsed_field(provider_values.quirks, None)
    only_models: bool = False
    models: Mapping[str, ModelTable] = tables_field(ModelTable)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyedProviderTable:
    """The older spelling of a provider that needs a key: its URL, and the variable and dotenv file with the key.

    Without `key_env` there is no such provider.
    """

    base_url: str = parsed_field(values.url, "")
    key_env: str = ""
    key_file: str = parsed_field(values.path, "")


@dataclass(frozen=True, kw_only=True, slots=True)
class OllamaCloudTable(KeyedProviderTable):
    """`[chatd.ollama_cloud]`"""

    base_url: str = parsed_field(values.url, "https://ollama.com")
    key_env: str = "OLLAMA_API_KEY"
    key_file: str = parsed_field(values.path, "/etc/lakehouse/ollama_cloud.env")


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRouterTable(KeyedProviderTable):
    """`[chatd.openrouter]`: `referer` and `title` are sent when not empty."""

    base_url: str = parsed_field(values.url, "https://openrouter.ai/api/v1")
    key_env: str = "OPENROUTER_API_KEY"
    key_file: str = parsed_field(values.path, "/etc/lakehouse/openrouter.env")
    referer: str = parsed_field(values.header, "")
    title: str = parsed_field(values.header, "Lakehouse")


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenCodeTable(KeyedProviderTable):
    """`[chatd.opencode]`: `endpoints` overrides the endpoint of models, by pattern."""

    base_url: str = parsed_field(values.url, "https://opencode.ai/zen/v1")
    key_env: str = "OPENCODE_API_KEY"
    key_file: str = parsed_field(values.path, "/etc/lakehouse/opencode.env")
    endpoints: Mapping[str, EndpointName] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class KimiTable(KeyedProviderTable):
    """`[chatd.kimi]`: `wire` selects the messages or the chat completions dialect."""

    base_url: str = parsed_field(values.url, "https://api.kimi.com/coding/v1")
    key_env: str = "KIMI_API_KEY"
    key_file: str = parsed_field(values.path, "/etc/lakehouse/kimi.env")
    wire: Literal["messages", "chat"] = "messages"
