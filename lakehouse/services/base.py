"""The interface between a service and the runtime: open with settings and dependencies, then serve as an ASGI app."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.health import Health
from lakehouse.services.contracts.catalog import Catalog
from lakehouse.services.contracts.embedder import Embedder
from lakehouse.services.contracts.object_store import ObjectStore
from lakehouse.services.contracts.query_engine import QueryEngine
from lakehouse.services.contracts.retriever import Retriever
from lakehouse.services.contracts.vector_index import VectorIndex
from lakehouse.telemetry.gauges import Gauge

Settings = TypeVar("Settings", contravariant=True)


class ServiceDependencies(Protocol):
    """The dependencies of a service. Each contract is a service of this process or a client of a URL.

    Reading a contract that the configuration does not provide raises ConfigError while the service is opened.
    """

    @property
    def directory(self) -> Path:
        """A directory for this service only, mode 0700, kept when the process ends."""

    @property
    def object_store(self) -> ObjectStore: ...
    @property
    def catalog(self) -> Catalog: ...
    @property
    def query_engine(self) -> QueryEngine: ...
    @property
    def embedder(self) -> Embedder: ...
    @property
    def vector_index(self) -> VectorIndex: ...
    @property
    def retriever(self) -> Retriever: ...


class ServiceApp(Protocol):
    """An open service: an ASGI application, with health and gauges for the runtime.

    The scope is `http` with a `RequestScope` (asgi.request_scope). A `LakehouseError` that is raised before the
    response begins is sent as the response. A request that is cancelled at any checkpoint leaves no task, no child
    process at work and no partial write; a write that was acknowledged stays.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    async def health(self) -> Health:
        """Report the health of the service. The runtime treats a call of more than one second as unavailable."""

    def gauges(self) -> Iterable[Gauge]:
        """Return the gauges of the service, registered once when it is open; each name begins with the service's."""


class Service(Protocol[Settings]):
    """One kind of service, for the table of services that can be embedded."""

    name: ClassVar[str]
    """The name in the configuration and in `lakehouse run`: "storaged"."""
    prefix: ClassVar[str]
    """The path below which the service answers: "/v1/storage"."""

    def open(self, settings: Settings, dependencies: ServiceDependencies) -> AbstractAsyncContextManager[ServiceApp]:
        """Open the service for the length of the block; every task and process of it has ended afterwards.

        Raises ConfigError, or OSError for a file or an address that is not available.
        """
