"""What is opened once for a service, however many workers it has: by the supervisor, which shares it with each worker.

With one process, that process opens a resource. With several, the supervisor opens it, makes it reachable in the
workers' private directory and hands each worker its description; a worker joins it. Its users do not know which.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

import msgspec

from lakehouse.chat.dispatch.open_dispatcher import LocalServer
from lakehouse.config import Config, LocalTable
from lakehouse.local_model.readiness import SOCKET, follow_readiness, publish_readiness

T = TypeVar("T")


class Resource(Protocol[T]):
    """One kind of resource."""

    name: ClassVar[str]

    def is_configured(self, config: Config) -> bool:
        """Whether the configuration asks for it."""

    def open(self, config: Config) -> AbstractAsyncContextManager[T]:
        """Open it in this process, for as long as the block runs."""

    def share(self, opened: T, directory: Path) -> AbstractAsyncContextManager[object]:
        """Let workers join it through the directory for as long as the block runs; its description, for JSON."""

    def join(self, description: msgspec.Raw, directory: Path) -> AbstractAsyncContextManager[T]:
        """Join it in a worker, for as long as the block runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedResources:
    """What the supervisor has opened for its workers: a JSON description of each resource, by its name."""

    descriptions: Mapping[str, msgspec.Raw] = field(default_factory=dict)
    directory: Path = Path()


@asynccontextmanager
async def share_resources(config: Config, directory: Path) -> AsyncIterator[SharedResources]:
    """Open and share everything that the configuration asks for; closed with the block, the last one first."""
    async with AsyncExitStack() as stack:
        descriptions = {}
        for resource in RESOURCES:
            if resource.is_configured(config):
                opened = await stack.enter_async_context(resource.open(config))
                described = await stack.enter_async_context(resource.share(opened, directory))
                descriptions[resource.name] = msgspec.Raw(msgspec.json.encode(described))
        yield SharedResources(descriptions=descriptions, directory=directory)


@asynccontextmanager
async def obtain(resource: Resource[T], config: Config, shared: SharedResources) -> AsyncIterator[T | None]:
    """A resource for as long as the block runs: the supervisor's, or our own, or None if it is not configured."""
    described = shared.descriptions.get(resource.name)
    if described is not None:
        async with resource.join(described, shared.directory) as joined:
            yield joined
    elif resource.is_configured(config):
        async with resource.open(config) as opened:
            yield opened
    else:
        yield None


@asynccontextmanager
async def open_local_server(table: LocalTable) -> AsyncIterator[LocalServer]:
    """The embedded model that the configuration names, for as long as the block runs. Raises LocalModelError."""
    from lakehouse.local_model import EngineConfig, open_engine  # what supervises a process, for few services

    path = Path(table.model) if table.model else None
    async with open_engine(EngineConfig(model_path=path, demo=table.demo, context=table.context)) as engine:
        yield LocalServer(
            base_url=engine.base_url, api_key=engine.api_key, model=engine.name, readiness=engine.readiness
        )


class _Description(msgspec.Struct, frozen=True, kw_only=True):
    base_url: str
    api_key: str
    model: str


class LocalModel:
    """The embedded model. Workers speak to its port, and learn over a Unix socket when it is served."""

    name: ClassVar[str] = "local_model"

    def is_configured(self, config: Config) -> bool:
        """See `Resource`."""
        return config.chatd.local.configured

    def open(self, config: Config) -> AbstractAsyncContextManager[LocalServer]:
        """Raises LocalModelError."""
        return open_local_server(config.chatd.local)

    @asynccontextmanager
    async def share(self, opened: LocalServer, directory: Path) -> AsyncIterator[_Description]:
        """See `Resource`."""
        assert opened.readiness is not None  # noqa: S101 - it is our own engine's
        async with publish_readiness(opened.readiness, directory / SOCKET):
            yield _Description(base_url=opened.base_url, api_key=opened.api_key, model=opened.model)

    @asynccontextmanager
    async def join(self, description: msgspec.Raw, directory: Path) -> AsyncIterator[LocalServer]:
        """See `Resource`. Raises OSError if the supervisor is gone."""
        described = msgspec.json.decode(description, type=_Description)
        server = LocalServer(base_url=described.base_url, api_key=described.api_key, model=described.model)
        async with follow_readiness(directory / SOCKET) as readiness:
            yield replace(server, readiness=readiness)


LOCAL_MODEL = LocalModel()

RESOURCES: tuple[Resource[LocalServer], ...] = (LOCAL_MODEL,)
"""Every resource, in the order in which they are opened."""
