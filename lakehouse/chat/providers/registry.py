"""The registered providers: those with a key or without need of one, and the embedded model if it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass, field
from urllib.parse import urlsplit

import msgspec

from lakehouse.chat.dialects.base import Form
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.providers.base import Provider, ProviderEndpoint
from lakehouse.chat.providers.create import create_replicas
from lakehouse.chat.providers.keys import find_keys
from lakehouse.chat.providers.local import Local
from lakehouse.chat.providers.model_facts import add_cost
from lakehouse.chat.providers.model_router import CircuitTarget, ModelRouter, ReplicaTarget, Target
from lakehouse.config import Config, ModelTable, ProviderEntry, list_entries
from lakehouse.core.errors import ErrProviderNotFound
from lakehouse.core.provider_failures import make_failure

UNKNOWN_MODEL = ModelTable()


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """A provider, and the name of the model that it is sent.

    `target` has the names of both, `circuit_target` also that of the replica. `endpoint` is the provider's endpoint for
    the model, its first without `chosen`. `facts` is what the configuration says about the model.
    """

    provider: Provider
    model: str
    chosen: InitVar[ProviderEndpoint | None] = None
    target: Target = field(init=False, repr=False, compare=False)
    circuit_target: CircuitTarget = field(init=False, repr=False, compare=False)
    endpoint: ProviderEndpoint = field(init=False, repr=False, compare=False)
    facts: ModelTable = field(init=False, repr=False, compare=False)

    def __post_init__(self, chosen: ProviderEndpoint | None) -> None:
        target, replica = Target(self.provider.name, self.model), self.provider.replica
        object.__setattr__(self, "target", target)
        circuit_target = target if replica is None else ReplicaTarget(*target, str(replica))
        object.__setattr__(self, "circuit_target", circuit_target)
        object.__setattr__(self, "endpoint", chosen or self.provider.endpoint(self.model))
        object.__setattr__(self, "facts", self.provider.models.get(self.model, UNKNOWN_MODEL))

    def for_form(self, form: Form) -> ModelRoute:
        """The route over the provider's endpoint for clients of this form, if it has one for the model."""
        endpoint = self.provider.endpoint_of_form(self.model, form)
        return self if endpoint is None else ModelRoute(self.provider, self.model, endpoint)

    def add_cost(self, reply: ProviderAnswer) -> ProviderAnswer:
        """The answer with its cost by the prices of the configuration, if the provider has sent none."""
        if self.facts is UNKNOWN_MODEL:
            return reply
        return msgspec.structs.replace(reply, usage=add_cost(reply.usage, self.facts.prices))

    def __str__(self) -> str:
        return str(self.circuit_target)


@dataclass(frozen=True, slots=True)
class Registry:
    """The registered providers by name, the reasons why others are missing, and warnings about keys.

    `replicas` has all of those with several hosts or keys; `providers` has the first of them. `ready` are the entries
    that a key would switch on, with the name of the key's variable.
    """

    providers: Mapping[str, Provider]
    missing: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    ready: Mapping[str, str] = field(default_factory=dict)
    entries: Mapping[str, ProviderEntry] = field(default_factory=dict)
    replicas: Mapping[str, tuple[Provider, ...]] = field(default_factory=dict)

    def make_router(self, config: Config) -> ModelRouter:
        """The router of the names that lead to these providers."""
        names = frozenset((*self.providers, *self.missing))
        entries = [entry for name, entry in self.entries.items() if name in names]
        return ModelRouter(
            default=config.chatd.default,
            tiers=config.models,
            providers=names,
            ollamas=frozenset(entry.name for entry in entries if ("ollama",) in entry.wire.values()),
            aliases=_list_aliases(entries),
        )

    def list_replicas(self) -> dict[str, tuple[Provider, ...]]:
        """All replicas of every registered provider, also of those with only one."""
        return {name: self.replicas.get(name, (provider,)) for name, provider in self.providers.items()}

    def list_hosts(self) -> dict[str, tuple[Provider, ...]]:
        """A replica at each host of every registered provider."""
        return {name: select_hosts(several) for name, several in self.list_replicas().items()}

    def routes(self, target: Target) -> tuple[ModelRoute, ...]:
        """The routes to `target`, one for each replica of its provider. Raises as `route`."""
        several = self.replicas.get(target.provider)
        first = self.route(target)
        return (first,) if several is None else tuple([ModelRoute(provider, target.model) for provider in several])

    def route(self, target: Target) -> ModelRoute:
        """The route to `target`, at the first replica of its provider.

        Raises as `find`, and `model_not_found` for a model that the configuration excludes.
        """
        name = target.provider
        provider = self.find(name)
        entry = self.entries.get(name)
        if entry is not None and entry.only_models and target.model not in entry.models:
            message = f"{target.model} is not among the models of providers.{name}, and only_models is true"
            raise make_failure("model_not_found", message, provider=name)
        return ModelRoute(provider, target.model)

    def find(self, name: str) -> Provider:
        """The first replica of a provider. Raises ErrProviderNotFound, which names what would register it."""
        if (provider := self.providers.get(name)) is not None:
            return provider
        no_key = f"no key was found in ${self.ready[name]}" if name in self.ready else "there is no such provider"
        reason = self.missing.get(name, no_key)
        known = ", ".join(self.providers) or "none"
        raise ErrProviderNotFound(
            f"the provider {name} is not registered: {reason} (registered: {known})", provider=name
        )


def select_hosts(replicas: Iterable[Provider]) -> tuple[Provider, ...]:
    """The first of these replicas at each of their hosts."""
    hosts: dict[str, Provider] = {}
    for replica in replicas:
        hosts.setdefault(replica.base_url, replica)
    return tuple(hosts.values())


def _list_aliases(entries: list[ProviderEntry]) -> dict[str, Target]:
    """Further names of models: bare, and behind the provider's prefix."""
    aliases: dict[str, Target] = {}
    for entry in entries:
        for model, facts in entry.models.items():
            for alias in facts.alias:
                aliases[alias] = aliases[f"{entry.name}/{alias}"] = Target(entry.name, model)
    return aliases


def _find_other_server(entry: ProviderEntry, env: Mapping[str, str]) -> str:
    """The variable that SDKs read beside that of the key, if it has another server's URL; else empty.

    The key of a client of this service, in whose shell the service is started, must not be sent to the provider.
    """
    variable = f"{entry.key_env[0].removesuffix('_API_KEY')}_BASE_URL"
    url = env.get(variable, "").strip()
    return variable if url and urlsplit(entry.base_url[0]).netloc not in url else ""


def register(config: Config, env: Mapping[str, str], *, local: Local | None = None) -> Registry:
    """Search for the keys in `env` and the configured files, and create the providers.

    `local` is the embedded model.
    """
    providers: dict[str, Provider] = {}
    replicas: dict[str, tuple[Provider, ...]] = {}
    missing: dict[str, str] = {}
    ready: dict[str, str] = {}
    warnings: list[str] = []
    entries = list_entries(config)
    for name, entry in entries.items():
        found = find_keys(entry.key_env, entry.key_file, env)
        warnings += found.warnings
        if entry.missing:
            missing[name] = entry.missing
        elif entry.optional and found.keys and (variable := _find_other_server(entry, env)):
            warnings.append(
                f"{name} is not registered: ${variable} says that ${entry.key_env[0]} is for another server"
                f" (an empty table [providers.{name}] registers it)"
            )
        elif found.keys or not entry.key_env:
            several = create_replicas(entry, found.keys, think=config.chatd.think)
            warnings += [f"the provider {name} has no key in ${gone}, and uses its others" for gone in found.missing]
            providers[name] = several[0]
            if len(several) > 1:
                replicas[name] = several
        elif entry.optional:
            ready[name] = entry.key_env[0]
        else:
            places = " or ".join((*(f"${variable}" for variable in entry.key_env), *entry.key_file))
            missing[name] = f"no key was found in {places}"
    if local:
        providers["local"] = local
    else:
        missing["local"] = "no embedded model runs (`--model FILE.gguf`, `--demo` or chatd.local.model starts one)"
    return Registry(providers, missing, tuple(warnings), ready, entries, replicas)
