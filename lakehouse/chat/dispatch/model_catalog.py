"""The models of all providers, and whether the providers answer."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from math import inf

import msgspec
import trio

from lakehouse.chat.dispatch.provider_queries import ProviderQueries, decode_object
from lakehouse.chat.model.listing import LoadedModel, ModelCard, ModelDescription, ProbeResult
from lakehouse.chat.model.request import Message, Request
from lakehouse.chat.providers.base import ListedModel, Provider
from lakehouse.chat.providers.registry import ModelRoute, Registry
from lakehouse.core.errors import LakehouseError

logger = logging.getLogger("lakehouse.chat")

FRESH_FOR = 60.0
"""Seconds for which the models of the providers are cached."""

LISTING_TIMEOUT = 2.5
"""Seconds for the whole list, so that a dead provider does not delay the others for long. Claude Code and other clients
wait three seconds for a list of models."""


class ModelCatalog:
    """The models of all providers, queried again when the cached lists are older than `FRESH_FOR`.

    Concurrent callers wait for the one that queries the providers. If that one is cancelled, the next one queries.
    """

    def __init__(self, registry: Registry, queries: ProviderQueries, tiers: Iterable[str]) -> None:
        self._providers = registry.providers
        self._replicas = registry.list_replicas()
        self._hosts = registry.list_hosts()
        self._queries = queries
        self._tiers = [ModelCard(id=tier, owned_by="lakehouse") for tier in tiers]
        self._models: dict[Provider, list[ListedModel]] = {}
        self._refreshed = -inf
        self._refresh_lock = trio.Lock()

    async def models(self) -> list[ModelCard]:
        """The tiers, then every provider's models under the names that requests use: those that it lists, those of the
        configuration, and further names.

        The models of a provider that does not answer in time are those of its last list, if there was one.
        """
        deadline = trio.current_time() + LISTING_TIMEOUT
        async with self._refresh_lock:
            started = trio.current_time()
            if started >= self._refreshed + FRESH_FOR:
                await self._refresh(deadline)
                ended = trio.current_time()
                if ended < deadline or ended >= started + LISTING_TIMEOUT:  # not cut short by the wait for the lock
                    self._refreshed = ended
        pairs = ((provider, self._list(name)) for name, provider in self._providers.items())
        return [*self._tiers, *(card for provider, listed in pairs for card in _join_models(provider, listed))]

    def _list(self, name: str) -> list[ListedModel]:
        """What the hosts of a provider have listed, each model once."""
        known: dict[str, ListedModel] = {}
        for host in self._hosts[name]:
            for model in self._models.get(host, ()):
                known.setdefault(model.model, model)
        return list(known.values())

    async def probe(self) -> list[ProbeResult]:
        """Send every replica of every provider its small probe request, all at the same time."""
        replicas = [replica for several in self._replicas.values() for replica in several]
        results: dict[Provider, ProbeResult] = {}
        async with trio.open_nursery() as nursery:
            for replica in replicas:
                nursery.start_soon(self._probe, replica, results)
        return [results[replica] for replica in replicas]

    async def describe(self, routes: Sequence[ModelRoute]) -> ModelDescription:
        """What is known about a model, by one of its routes, which are the replicas of its provider.

        Raises what the last of them answers in place of a description.
        """
        *others, last = routes
        for route in others:
            with suppress(LakehouseError):
                return await self._describe_at(route)
        return await self._describe_at(last)

    async def _describe_at(self, route: ModelRoute) -> ModelDescription:
        provider, model = route.provider, route.model
        document = None
        if path := provider.description_path:
            body = msgspec.json.encode({"model": model})
            document = decode_object(await self._queries.send(provider, b"POST", path, body))
        hello = Request(model=model, messages=(Message(role="user", content=""),))
        images = provider.quirks(model, hello, route.endpoint.dialect.form).images != "none"
        return ModelDescription(
            provider=provider.name, model=model, images=images, document=document, facts=route.facts
        )

    async def list_loaded(self) -> list[LoadedModel]:
        """The models that the providers have in memory, as far as they say so in time."""
        found: dict[Provider, list[LoadedModel]] = {}
        async with trio.open_nursery() as nursery:
            for host in self._list_hosts():
                if host.loaded_path:
                    nursery.start_soon(self._list_loaded, host, found)
        return [loaded for host in self._list_hosts() for loaded in found.get(host, ())]

    async def _list_loaded(self, host: Provider, found: dict[Provider, list[LoadedModel]]) -> None:
        deadline = trio.current_time() + LISTING_TIMEOUT
        try:
            document = decode_object(await self._queries.send(host, b"GET", host.loaded_path, deadline=deadline))
        except LakehouseError as error:
            logger.warning("%s does not list the models that it has loaded: %s", host.transport_name, error.message)
            return
        listed = document.get("models")
        found[host] = [
            LoadedModel(id=f"{host.name}/{model['name']}", document=model)
            for model in (listed if isinstance(listed, list) else ())
            if isinstance(model, dict) and isinstance(model.get("name"), str)
        ]

    def _list_hosts(self) -> Iterator[Provider]:
        return (host for hosts in self._hosts.values() for host in hosts)

    async def _refresh(self, deadline: float) -> None:
        async with trio.open_nursery() as nursery:
            for host in self._list_hosts():
                nursery.start_soon(self._refresh_host, host, deadline)

    async def _refresh_host(self, host: Provider, deadline: float) -> None:
        try:
            body = await self._queries.send(host, b"GET", host.listing_path, deadline=deadline)
            self._models[host] = host.parse_listing(body)
        except LakehouseError as error:
            logger.warning("%s does not list its models: %s", host.transport_name, error.message)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            logger.warning("%s: the list of models could not be decoded: %s", host.transport_name, error)

    async def _probe(self, replica: Provider, results: dict[Provider, ProbeResult]) -> None:
        started = trio.current_time()
        try:
            await self._queries.send(replica, b"GET", replica.probe_path)
            answers, detail = True, "answers"
        except LakehouseError as error:
            answers, detail = error.upstream_status is not None and error.upstream_status < 500, error.message
        duration = round((trio.current_time() - started) * 1000, 3)
        label = "" if replica.replica is None else str(replica.replica)
        results[replica] = ProbeResult(name=replica.name, replica=label, answers=answers, detail=detail, ms=duration)


def _join_models(provider: Provider, listed: Iterable[ListedModel]) -> Iterator[ModelCard]:
    """The models that a provider lists, unless the configuration excludes them, and those of the configuration."""
    name, configured = provider.name, provider.models
    known = {model.model: model for model in listed if not provider.only_models or model.model in configured}
    for model in (*known.values(), *(ListedModel(model) for model in configured if model not in known)):
        yield ModelCard(id=f"{name}/{model.model}", owned_by=name, created=model.created)
        if model.model in configured:
            for alias in configured[model.model].alias:
                yield ModelCard(id=alias, owned_by=name, created=model.created)
