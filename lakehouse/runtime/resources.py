"""Resources that are opened once for a service, however many workers it has: the supervisor shares them.

With one process, that process opens a resource. With several, the supervisor opens it, publishes it in the workers'
private directory and passes its description to each worker, which attaches to it. Its users see no difference.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import msgspec

from lakehouse.chat.dispatch.open_dispatcher import LocalServer
from lakehouse.config import Config, LocalTable
from lakehouse.local_model.readiness import SOCKET, follow_readiness, publish_readiness
from lakehouse.runtime.data_services import DataServicesResource

T = TypeVar("T")


class Resource(Protocol[T]):
    """One kind of resource."""

    name: ClassVar[str]

    def is_configured(self, config: Config) -> bool:
        """Whether the configuration has it."""

    def open(self, config: Config, directory: Path | None = None) -> AbstractAsyncContextManager[T]:
        """Open it in this process, for as long as the block runs. `directory` is the workers', None without workers."""

    def publish(self, opened: T, directory: Path) -> AbstractAsyncContextManager[object]:
        """Make it reachable for workers through the directory while the block runs; yields a description (JSON)."""

    def attach(self, description: msgspec.Raw, directory: Path) -> AbstractAsyncContextManager[T]:
        """Reach it from a worker, for as long as the block runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedResources:
    """What the supervisor has opened for its workers: a JSON description of each resource, by its name."""

    descriptions: Mapping[str, msgspec.Raw] = field(default_factory=dict)
    directory: Path = Path()


@asynccontextmanager
async def share_resources(
    resources: Sequence[Resource[Any]], config: Config, directory: Path
) -> AsyncIterator[SharedResources]:
    """Open and publish every configured one of the resources; closed with the block, the last one first."""
    async with AsyncExitStack() as stack:
        descriptions = {}
        for resource in resources:
            if resource.is_configured(config):
                description = await stack.enter_async_context(_publish(resource, config, directory))
                descriptions[resource.name] = msgspec.Raw(msgspec.json.encode(description))
        yield SharedResources(descriptions=descriptions, directory=directory)


@asynccontextmanager
async def _publish(resource: Resource[T], config: Config, directory: Path) -> AsyncIterator[object]:
    async with resource.open(config, directory) as opened, resource.publish(opened, directory) as description:
        yield description


@asynccontextmanager
async def open_resource(resource: Resource[T], config: Config, shared: SharedResources) -> AsyncIterator[T | None]:
    """A resource for as long as the block runs: the supervisor's, one opened here, or None if it is not configured."""
    description = shared.descriptions.get(resource.name)
    if description is not None:
        async with resource.attach(description, shared.directory) as attached:
            yield attached
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
    """The embedded model. Workers send requests to its port; a Unix socket reports to them whether it is ready."""

    name: ClassVar[str] = "local_model"

    def is_configured(self, config: Config) -> bool:
        """Whether the configuration names an embedded model."""
        return config.chatd.local.configured

    def open(self, config: Config, _directory: Path | None = None) -> AbstractAsyncContextManager[LocalServer]:
        """Raises LocalModelError."""
        return open_local_server(config.chatd.local)

    @asynccontextmanager
    async def publish(self, opened: LocalServer, directory: Path) -> AsyncIterator[_Description]:
        """Publish the readiness on a Unix socket in the directory; yields address, key and model."""
        assert opened.readiness is not None  # noqa: S101 - `open_local_server` sets it
        async with publish_readiness(opened.readiness, directory / SOCKET):
            yield _Description(base_url=opened.base_url, api_key=opened.api_key, model=opened.model)

    @asynccontextmanager
    async def attach(self, description: msgspec.Raw, directory: Path) -> AsyncIterator[LocalServer]:
        """The server at the described address. Raises OSError if the supervisor has ended."""
        decoded = msgspec.json.decode(description, type=_Description)
        server = LocalServer(base_url=decoded.base_url, api_key=decoded.api_key, model=decoded.model)
        async with follow_readiness(directory / SOCKET) as readiness:
            yield replace(server, readiness=readiness)


LOCAL_MODEL = LocalModel()


def list_resources(get_config: Callable[[], Config]) -> tuple[Resource[Any], ...]:
    """Every resource, in the order in which they are opened. `get_config` returns the configuration in force."""
    return LOCAL_MODEL, DataServicesResource(get_config)
