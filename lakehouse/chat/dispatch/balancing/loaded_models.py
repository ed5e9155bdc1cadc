"""Which Ollama has which model in memory: another one would have to load it first, and to unload what it has."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import inf

import trio

from lakehouse.chat.dialects.lenient_json import as_objects, as_string
from lakehouse.chat.dispatch.provider_queries import ProviderQueries, decode_object
from lakehouse.chat.providers.base import Provider
from lakehouse.chat.providers.model_router import add_tag
from lakehouse.core.errors import LakehouseError

logger = logging.getLogger("lakehouse.chat")

FRESH_FOR = 5.0
"""Seconds for which the lists of the hosts are used. An Ollama keeps a model for five minutes, unless it needs room."""

TIMEOUT = 0.5
"""Seconds that a call waits for the lists; a host that is slower keeps its last one."""


class LoadedModels:
    """The models that the hosts of one provider have in memory, as they said last (`/api/ps`).

    The call that finds the lists too old asks for new ones; others that come meanwhile use the old ones.
    """

    def __init__(self, hosts: Sequence[Provider], queries: ProviderQueries) -> None:
        self._hosts = hosts
        self._queries = queries
        self._loaded: dict[str, set[str]] = {}
        self._refreshed = -inf
        self._refreshing = False

    def has(self, provider: Provider, model: str) -> bool:
        """Whether this host has the model in memory."""
        return add_tag(model) in self._loaded.get(provider.base_url, ())

    def add(self, provider: Provider, model: str) -> None:
        """A host has answered with a model."""
        self._loaded.setdefault(provider.base_url, set()).add(add_tag(model))

    async def refresh(self) -> None:
        """Ask all hosts, if their lists are too old and nobody else asks, within `TIMEOUT`."""
        if self._refreshing or trio.current_time() < self._refreshed + FRESH_FOR:
            return
        self._refreshing = True
        try:
            with trio.move_on_after(TIMEOUT):
                async with trio.open_nursery() as nursery:
                    for host in self._hosts:
                        nursery.start_soon(self._ask, host)
            self._refreshed = trio.current_time()
        finally:
            self._refreshing = False

    async def _ask(self, host: Provider) -> None:
        deadline = trio.current_time() + TIMEOUT
        try:
            document = decode_object(await self._queries.send(host, b"GET", host.loaded_path, deadline=deadline))
        except LakehouseError as error:
            logger.debug("%s at %s does not list the models that it has loaded: %s", host.name, host.base_url, error)
            return
        names = (as_string(model.get("name")) for model in as_objects(document.get("models")))
        self._loaded[host.base_url] = {add_tag(name) for name in names if name}
