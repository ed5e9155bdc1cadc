"""What the providers say about themselves: which models they have, and whether they answer at all."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from math import inf

import httpx
import msgspec
import trio

from lakehouse.chat.dispatch.provider_response import send_via_httpx
from lakehouse.chat.model.listing import ModelCard, ProbeResult
from lakehouse.chat.providers.base import ListedModel, Provider
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import failure

logger = logging.getLogger("lakehouse.chat")

FRESH_FOR = 60.0
"""Seconds that a list of models is good for."""

PATIENCE = 5.0
"""Seconds for one provider's list or probe, so that a dead one does not hold up the others' for long."""

MAX_LISTING = 16 * 1024 * 1024
"""Bytes. OpenRouter's list has half a megabyte."""


class ModelCatalog:
    """The models of all providers, asked for again when the last answer is older than `FRESH_FOR`.

    Those who ask meanwhile wait for the one who asks the providers, and whoever is cancelled leaves that to the next.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        transports: Mapping[str, httpx.AsyncBaseTransport],
        tiers: Iterable[str],
    ) -> None:
        self._providers = providers
        self._transports = transports
        self._tiers = [ModelCard(id=tier, owned_by="lakehouse") for tier in tiers]
        self._models: dict[str, list[ListedModel]] = {}
        self._asked = -inf
        self._refresh_lock = trio.Lock()

    async def models(self) -> list[ModelCard]:
        """Tiers first, then every provider's models under the names that lead to them.

        A provider that does not answer is missing, or keeps the list that it gave last.
        """
        async with self._refresh_lock:
            if trio.current_time() >= self._asked + FRESH_FOR:
                await self._ask_all()
                self._asked = trio.current_time()
        cards = (
            ModelCard(id=f"{name}/{listed.model}", owned_by=name, created=listed.created)
            for name in self._providers
            for listed in self._models.get(name, ())
        )
        return [*self._tiers, *cards]

    async def probe(self) -> list[ProbeResult]:
        """Ask every provider for something small, all at once."""
        probed: dict[str, ProbeResult] = {}
        async with trio.open_nursery() as nursery:
            for name, provider in self._providers.items():
                nursery.start_soon(self._probe, name, provider, probed)
        return [probed[name] for name in self._providers]

    async def _ask_all(self) -> None:
        async with trio.open_nursery() as nursery:
            for name, provider in self._providers.items():
                nursery.start_soon(self._ask, name, provider)

    async def _ask(self, name: str, provider: Provider) -> None:
        try:
            body = await self._get(provider, provider.listing)
            self._models[name] = provider.parse_listing(body)
        except LakehouseError as error:
            logger.warning("%s does not list its models: %s", name, error.message)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            logger.warning("%s lists its models in a way that is not understood: %s", name, error)

    async def _probe(self, name: str, provider: Provider, probed: dict[str, ProbeResult]) -> None:
        began = trio.current_time()
        try:
            await self._get(provider, provider.probe)
            answers, detail = True, "answers"
        except LakehouseError as error:
            answers, detail = error.upstream_status is not None and error.upstream_status < 500, error.message
        probed[name] = ProbeResult(
            name=name, answers=answers, detail=detail, ms=round((trio.current_time() - began) * 1000, 3)
        )

    async def _get(self, provider: Provider, path: str) -> bytes:
        request = httpx.Request("GET", provider.base_url + path, headers=provider.query_headers)
        with trio.move_on_after(PATIENCE):
            if provider.readiness is not None:
                await provider.readiness.served()
            async with await send_via_httpx(
                self._transports[provider.name], request, provider=provider.name
            ) as incoming:
                if incoming.status != 200:
                    raise await incoming.refusal(secrets=provider.secrets)
                return await incoming.read(MAX_LISTING, _nothing)
        raise failure("timeout", f"{provider.name} did not answer within {PATIENCE:g} s", provider=provider.name)


def _nothing() -> None:
    """Nobody wants to know when a list begins."""
