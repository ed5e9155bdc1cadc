"""Maps model names to providers, by a table of prefixes.

The first rule that matches decides. A name that matches none goes to the default provider unchanged, so that the
unknown prefix of `openrouterx/m` is part of the model's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from lakehouse.core.errors import ErrBadRequest

MAX_NAME_LENGTH = 512
"""Characters, far more than any real name has. Caches are keyed by these names, which callers choose."""


class Target(NamedTuple):
    """A provider, and the model name that it is sent."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class PrefixRule(NamedTuple):
    """Names with this prefix and suffix belong to `provider`, which is sent the rest."""

    provider: str
    prefix: str = ""
    suffix: str = ""

    def __str__(self) -> str:
        return f"{self.prefix}<m>{self.suffix}"

    def matches(self, name: str) -> bool:
        """Whether `name` has the prefix and the suffix."""
        return name.startswith(self.prefix) and name.endswith(self.suffix)

    def target(self, name: str) -> Target:
        """The target of `name`, which matches."""
        return Target(self.provider, name.removeprefix(self.prefix).removesuffix(self.suffix))


PREFIX_RULES = (
    PrefixRule("ollama", prefix="ollama/"),
    PrefixRule("ollama_cloud", prefix="ollama_cloud/"),
    PrefixRule("openrouter", prefix="openrouter/"),
    PrefixRule("opencode", prefix="opencode/"),
    PrefixRule("kimi", prefix="kimi/"),
    PrefixRule("local", prefix="local/"),
    PrefixRule("ollama_cloud", suffix=":cloud"),
)


@dataclass(frozen=True, slots=True)
class ModelRouter:
    """The default provider and the tiers: names that stand for one model or a chain of models."""

    default: str = "ollama"
    tiers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def target(self, name: str) -> Target:
        """The target of a model name.

        Raises ErrBadRequest for a prefix or suffix without a model, and for a name of more than `MAX_NAME_LENGTH`.
        """
        if len(name) > MAX_NAME_LENGTH:
            raise ErrBadRequest(
                f"`model` must be at most {MAX_NAME_LENGTH} characters long (got {len(name)})", field="model"
            )
        rule = next((rule for rule in PREFIX_RULES if rule.matches(name)), None)
        target = Target(self.default, name) if rule is None else rule.target(name)
        if not target.model.strip():
            raise ErrBadRequest(
                f"`model` names the provider {target.provider} but no model (got {name!r})", field="model"
            )
        return target

    def chain(self, names: Iterable[str]) -> tuple[Target, ...]:
        """The targets of these names, in the order in which they are tried, without duplicates.

        A tier is replaced by its models. Raises ErrBadRequest as `target` does.
        """
        members = [member for name in names for member in self.tiers.get(name, (name,))]
        return tuple(dict.fromkeys(map(self.target, members)))
