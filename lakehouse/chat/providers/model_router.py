"""Maps model names to providers, by their prefix.

A name without the prefix of a provider goes to the default provider unchanged, so that the unknown prefix of
`openrouterx/m` is part of the model's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from lakehouse.config.provider_entries import BUILT_IN, LOCAL
from lakehouse.core.errors import ErrBadRequest

MAX_NAME_LENGTH = 512
"""Characters, far more than any real name has. Caches are keyed by these names, which callers choose."""


class Target(NamedTuple):
    """A provider, and the model name that it is sent."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class ReplicaTarget(NamedTuple):
    """One of several replicas of a provider, and the model name that it is sent; an empty one stands for all models."""

    provider: str
    model: str
    replica: str

    def __str__(self) -> str:
        name = f"{self.provider}/{self.model}" if self.model else self.provider
        return f"{name} at {self.replica}"


CircuitTarget = Target | ReplicaTarget
"""What a circuit is about."""


CLOUD_SUFFIX = ":cloud"
"""Names with this suffix and without a prefix are models of Ollama Cloud, which is sent the rest."""

LATEST = ":latest"
"""The tag that Ollama's clients write at names without one. `/api/tags` lists tiers and models of all providers with
it, and clients such as VS Code use these names on every path."""

OLLAMAS = frozenset({"ollama", "ollama_cloud"})
"""The providers with code of their own for whose models it is a tag."""


def add_tag(name: str) -> str:
    """The name of a model as an Ollama writes it, with a tag."""
    return name if ":" in name.rpartition("/")[2] else name + LATEST


@dataclass(frozen=True, slots=True)
class ModelRouter:
    """The default provider, the tiers (names that stand for a model or a chain of models), the names of providers.

    `ollamas` are those of them that speak Ollama's API. `aliases` are further names of models. Finding a target takes
    the same time whatever the number of providers.
    """

    default: str = "ollama"
    tiers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    providers: frozenset[str] = frozenset((*BUILT_IN, LOCAL))
    ollamas: frozenset[str] = OLLAMAS
    aliases: Mapping[str, Target] = field(default_factory=dict)

    def target(self, name: str) -> Target:
        """The target of a model name.

        Raises ErrBadRequest for a prefix or suffix without a model, and for a name of more than `MAX_NAME_LENGTH`.
        """
        if len(name) > MAX_NAME_LENGTH:
            raise ErrBadRequest(
                f"`model` must be at most {MAX_NAME_LENGTH} characters long (got {len(name)})", field="model"
            )
        if (alias := self._find_alias(name)) is not None:
            return alias
        target = self._split(name)
        if not target.model.strip():
            raise ErrBadRequest(
                f"`model` names the provider {target.provider} but no model (got {name!r})", field="model"
            )
        if target.model.endswith(LATEST) and target.provider not in self.ollamas:
            return target._replace(model=target.model.removesuffix(LATEST) or target.model)
        return target

    def _find_alias(self, name: str) -> Target | None:
        """The model that has this further name, also with the tag that Ollama's clients add."""
        return self.aliases.get(name) or (self.aliases.get(name.removesuffix(LATEST)) if self.aliases else None)

    def _split(self, name: str) -> Target:
        prefix, slash, model = name.partition("/")
        if slash and prefix in self.providers:
            return Target(prefix, model)
        if name.endswith(CLOUD_SUFFIX):
            return Target("ollama_cloud", name.removesuffix(CLOUD_SUFFIX))
        return Target(self.default, name)

    def find_tier(self, name: str) -> str | None:
        """The tier that a name stands for, also one with the tag that Ollama's clients add; None if it is none."""
        if name in self.tiers:
            return name
        untagged = name.removesuffix(LATEST)
        return untagged if untagged in self.tiers else None

    def chain(self, names: Iterable[str]) -> tuple[Target, ...]:
        """The targets of these names, in the order in which they are tried, without duplicates.

        A tier is replaced by its models. Raises ErrBadRequest as `target` does.
        """
        members: list[str] = []
        for name in names:
            tier = self.find_tier(name)
            members += (name,) if tier is None else self.tiers[tier]
        return tuple(dict.fromkeys(map(self.target, members)))
