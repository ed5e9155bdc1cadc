"""What is known about providers and their models."""

from __future__ import annotations

import msgspec

from lakehouse.chat.model.parts import JsonObject
from lakehouse.config import ModelTable


class ReplicaReport(msgspec.Struct, frozen=True, kw_only=True):
    """One of several hosts and keys of a provider.

    `available`: its circuit is closed. Otherwise `reason` is the class of the failure that has opened it, and
    `retry_after` the seconds until the next attempt. `in_flight` counts the attempts under way in this process.
    """

    name: str
    available: bool
    in_flight: int
    reason: str = ""
    retry_after: float = 0.0


class ProviderState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A registered provider.

    `available`: no circuit of it is open; of a provider with several hosts or keys, at least one of them is left.
    `default`: model names without a prefix go to it. `replicas` are those of a provider that has several.
    """

    name: str
    available: bool
    default: bool
    replicas: tuple[ReplicaReport, ...] = ()


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """A model that requests can name by `id`. `created` is in Unix seconds, 0 if unknown."""

    id: str
    owned_by: str
    created: int = 0


class ModelDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a model. `images`: its provider takes images. `document` is the provider's own description in
    Ollama's form, None if it has none. `facts` are those of the configuration."""

    provider: str
    model: str
    images: bool
    document: JsonObject | None
    facts: ModelTable = ModelTable()


class LoadedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a provider has in memory. Requests can name it by `id`; `document` is in Ollama's form."""

    id: str
    document: JsonObject


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of probing a provider, or one `replica` of several. `detail` is a sentence for the operator, `ms` the
    duration in milliseconds."""

    name: str
    replica: str = ""
    answers: bool
    detail: str
    ms: float
