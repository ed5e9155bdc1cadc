"""The models of all providers, and whether the providers answer."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from math import inf

import httpx
import msgspec
import trio

from lakehouse.chat.dispatch.transport.interface import ProviderTransport
from lakehouse.chat.model.listing import ModelCard, ProbeResult
from lakehouse.chat.providers.base import ListedModel, Provider
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import make_failure

logger = logging.getLogger("lakehouse.chat")

FRESH_FOR = 60.0
"""Seconds for which the models of the providers are cached."""

QUERY_TIMEOUT = 5.0
"""Seconds for the list or the probe of one provider, so that a dead provider does not delay the others for long."""

MAX_LISTING = 16 * 1024 * 1024
"""Bytes of a provider's list. OpenRouter's has half a megabyte."""


class ModelCatalog:
    """The models of all providers, queried again when the cached lists are older than `FRESH_FOR`.

    Concurrent callers wait for the one that queries the providers. If that one is cancelled, the next one queries.
    """

    def __init__(
        self, providers: Mapping[str, Provider], transports: Mapping[str, ProviderTransport], tiers: Iterable[str]
    ) -> None:
        self._providers = providers
        self._transports = transports
        self._tiers = [ModelCard(id=tier, owned_by="lakehouse") for tier in tiers]
        self._models: dict[str, list[ListedModel]] = {}
        self._refreshed = -inf
        self._refresh_lock = trio.Lock()

    async def models(self) -> list[ModelCard]:
        """The tiers, then every provider's models under the names that requests use.

        The models of a provider that does not answer are those of its last list, if there was one.
        """
        async with self._refresh_lock:
            if trio.current_time() >= self._refreshed + FRESH_FOR:
                await self._refresh()
                self._refreshed = trio.current_time()
        cards = (
            ModelCard(id=f"{name}/{listed.model}", owned_by=name, created=listed.created)
            for name in self._providers
            for listed in self._models.get(name, ())
        )
        return [*self._tiers, *cards]

    async def probe(self) -> list[ProbeResult]:
        """Send every provider its small probe request, all at the same time."""
        results: dict[str, ProbeResult] = {}
        async with trio.open_nursery() as nursery:
            for name, provider in self._providers.items():
                nursery.start_soon(self._probe, name, provider, results)
        return [results[name] for name in self._providers]

    async def _refresh(self) -> None:
        async with trio.open_nursery() as nursery:
            for name, provider in self._providers.items():
                nursery.start_soon(self._refresh_provider, name, provider)

    async def _refresh_provider(self, name: str, provider: Provider) -> None:
        try:
            body = await self._get(provider, provider.listing_path)
            self._models[name] = provider.parse_listing(body)
        except LakehouseError as error:
            logger.warning("%s does not list its models: %s", name, error.message)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            logger.warning("%s: the list of models could not be decoded: %s", name, error)

    async def _probe(self, name: str, provider: Provider, results: dict[str, ProbeResult]) -> None:
        started = trio.current_time()
        try:
            await self._get(provider, provider.probe_path)
            answers, detail = True, "answers"
        except LakehouseError as error:
            answers, detail = error.upstream_status is not None and error.upstream_status < 500, error.message
        duration = round((trio.current_time() - started) * 1000, 3)
        results[name] = ProbeResult(name=name, answers=answers, detail=detail, ms=duration)

    async def _get(self, provider: Provider, path: str) -> bytes:
        target = httpx.URL(provider.base_url + path).raw_path
        transport = self._transports[provider.name]
        with trio.move_on_after(QUERY_TIMEOUT):
            if provider.readiness is not None:
                await provider.readiness.wait_serving()
            async with await transport.request(b"GET", target, provider.query_headers) as response:
                if response.status != 200:
                    raise await response.read_error(secrets=provider.secrets)
                return await response.read(MAX_LISTING, _ignore_progress)
        raise make_failure(
            "timeout", f"{provider.name} did not answer within {QUERY_TIMEOUT:g} s", provider=provider.name
        )


def _ignore_progress() -> None:
    """A list has no idle timeout."""
