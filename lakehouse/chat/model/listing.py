"""What is known about providers and their models."""

from __future__ import annotations

import msgspec


class ProviderState(msgspec.Struct, frozen=True, kw_only=True):
    """A registered provider.

    `available`: no circuit of it is open. `default`: model names without a prefix go to it.
    """

    name: str
    available: bool
    default: bool


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """A model that requests can name by `id`. `created` is in Unix seconds, 0 if unknown."""

    id: str
    owned_by: str
    created: int = 0


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of probing a provider. `detail` is a sentence for the operator, `ms` the duration in milliseconds."""

    name: str
    answers: bool
    detail: str
    ms: float
