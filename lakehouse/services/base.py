"""What a service is for the runtime: it is opened with its settings and needs, and is an ASGI application then."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.health import Health
from lakehouse.services.contracts import Catalog, Embedder, ObjectStore, QueryEngine, Retriever, VectorIndex
from lakehouse.telemetry.gauges import Gauge

Settings = TypeVar("Settings", contravariant=True)


class Needs(Protocol):
    """What a service may ask of its surroundings. Each contract is a service of this process or a URL behind it.

    Asking for a contract that the configuration does not provide raises ConfigError, when the service is opened.
    """

    @property
    def directory(self) -> Path:
        """A directory of this service's own, mode 0700, that outlives the process."""

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
    """An open service: a plain ASGI application, and what the runtime registers of it.

    A request is `http` with a `RequestScope` (asgi.request_scope); `LakehouseError`s that are raised before the
    response begins become its answer. Cancelled at any moment, a request leaves no task, no child that works for it and
    nothing half written; what was answered as written stays written.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    async def health(self) -> Health:
        """How the service is. Answers within a second, or is taken to be unavailable."""

    def gauges(self) -> Iterable[Gauge]:
        """Its gauges, registered once when it is open; their names begin with the service's."""


class Service(Protocol[Settings]):
    """One kind of service, for the table of those that can be embedded."""

    name: ClassVar[str]
    """As the configuration and `lakehouse run` call it: "storaged"."""
    prefix: ClassVar[str]
    """The route that it answers, with all below it: "/v1/storage"."""

    def open(self, settings: Settings, needs: Needs) -> AbstractAsyncContextManager[ServiceApp]:
        """Open it for as long as the block runs; whatever it started has ended afterwards.

        Raises ConfigError, or OSError for files and addresses that cannot be had.
        """
