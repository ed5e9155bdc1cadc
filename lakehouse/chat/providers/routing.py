"""Which provider answers a model's name, as a table.

The first rule that fits decides. A prefix is matched whole, so `openrouterx/m` has a foreign prefix and belongs, as
every name that fits no rule, unchanged to the default provider.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from lakehouse.core.errors import ErrBadRequest

LONGEST_NAME = 512
"""Characters: far beyond any real one. What is remembered about models is remembered by name, and callers choose it."""


class Target(NamedTuple):
    """A provider, and the name that it is asked for."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class PrefixRule(NamedTuple):
    """Names with this prefix or suffix go to `provider` without it."""

    provider: str
    prefix: str = ""
    suffix: str = ""

    def __str__(self) -> str:
        return f"{self.prefix}<m>{self.suffix}"

    def fits(self, name: str) -> bool:
        """Whether this rule decides about `name`."""
        return name.startswith(self.prefix) and name.endswith(self.suffix)

    def target(self, name: str) -> Target:
        """Where `name`, which fits, goes."""
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
class Router:
    """The rules, the provider of bare names, and the tiers: names that stand for one model or a chain of them."""

    default: str = "ollama"
    tiers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def target(self, name: str) -> Target:
        """Where a model's name goes; raises ErrBadRequest for a prefix or suffix with no model beside it, and for a
        name that is longer than `LONGEST_NAME`."""
        if len(name) > LONGEST_NAME:
            raise ErrBadRequest(
                f"`model` must be at most {LONGEST_NAME} characters long (got {len(name)})", field="model"
            )
        rule = next((rule for rule in PREFIX_RULES if rule.fits(name)), None)
        target = Target(self.default, name) if rule is None else rule.target(name)
        if not target.model.strip():
            raise ErrBadRequest(
                f"`model` names the provider {target.provider} but no model (got {name!r})", field="model"
            )
        return target

    def chain(self, names: Iterable[str]) -> tuple[Target, ...]:
        """The targets that these names lead to, in the order in which they are tried, each once.

        Tiers among the names stand for their members. Raises ErrBadRequest as `target` does.
        """
        members = [member for name in names for member in self.tiers.get(name, (name,))]
        return tuple(dict.fromkeys(map(self.target, members)))
