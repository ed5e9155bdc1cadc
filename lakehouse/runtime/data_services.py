"""The embedded data services as the runtime has them: the services process as a shared resource, and the 501s.

A service of the configuration that is `"embedded"` is reached through the socket of the services process. If the extra
`lake` is not installed, its prefix answers 501 with a sentence that says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import msgspec

from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.config import Config
from lakehouse.config.urls import UNIX_SCHEME
from lakehouse.core.errors import ErrNotInstalled, LakehouseError
from lakehouse.core.extras import LAKE, install_hint, missing_modules
from lakehouse.runtime.service_address import service_address
from lakehouse.services.host.names import SERVICES, embedded_services, is_embedded

if TYPE_CHECKING:
    from lakehouse.telemetry.traffic import TrafficRecorder


class DataServices(msgspec.Struct, frozen=True, kw_only=True):
    """The sockets of the services process: for requests, reports of gauges and phases, rows of the system tables."""

    socket: str
    reports: str
    traffic: str

    @property
    def url(self) -> str:
        """The URL of all embedded services."""
        return UNIX_SCHEME + self.socket

    @property
    def reports_path(self) -> Path:
        """The socket for `telemetry.process_reports`."""
        return Path(self.reports)


class DataServicesResource:
    """The services process. Workers reach it through its socket, in a directory that only this user can enter.

    `get_config` returns the configuration in force, which a reload replaces.
    """

    name: ClassVar[str] = "data_services"

    def __init__(self, get_config: Callable[[], Config]) -> None:
        self._get_config = get_config

    def is_configured(self, config: Config) -> bool:
        """Whether a service is embedded and the extra `lake` is installed."""
        return bool(embedded_services(config.gateway))

    @asynccontextmanager
    async def open(self, config: Config, directory: Path | None = None) -> AsyncIterator[DataServices]:
        """Raises LakeError if `[lake] start` is "eager" and the process cannot start."""
        from lakehouse.services.host.activation import open_services_process  # what supervises processes

        service = service_address(config) if config.gateway.bind.port else ""  # a free port is not known yet
        async with open_services_process(
            config, directory=directory, service=service, get_config=self._get_config
        ) as process:
            yield DataServices(socket=process.socket_path, reports=process.reports_path, traffic=process.traffic_path)

    @asynccontextmanager
    async def publish(self, opened: DataServices, _directory: Path) -> AsyncIterator[DataServices]:
        """Its sockets are in the directory already."""
        yield opened

    @asynccontextmanager
    async def attach(self, description: msgspec.Raw, _directory: Path) -> AsyncIterator[DataServices]:
        """The sockets of the supervisor's process."""
        yield msgspec.json.decode(description, type=DataServices)


def open_traffic(config: Config, services: DataServices | None, *, worker: int) -> TrafficRecorder | None:
    """What records the requests of a worker in the system tables; None without a lake, or if they are off."""
    if services is None or not config.observe.system_tables.enabled:
        return None
    from lakehouse.telemetry.traffic import TrafficRecorder  # not for a service without a lake

    return TrafficRecorder(Path(services.traffic), worker=worker, contents=config.observe.system_tables.contents)


def unavailable_apps(config: Config) -> dict[str, App]:
    """An application for each embedded service that cannot be served, which answers every request with the reason."""
    return {name: UnavailableService(error) for name, error in _unavailable(config)}


def describe_unavailable(config: Config) -> dict[str, str]:
    """The embedded services that cannot be served, with the reason."""
    return {name: error.message for name, error in _unavailable(config)}


def _unavailable(config: Config) -> Iterator[tuple[str, LakehouseError]]:
    absent = missing_modules(*LAKE)
    if not absent:
        return
    for name in SERVICES:
        if is_embedded(config.gateway, name):
            yield name, ErrNotInstalled(f"{name} {install_hint('lake', absent)}")


class UnavailableService:
    """An application that answers every request with the same error."""

    def __init__(self, error: LakehouseError) -> None:
        self._error_type, self._message = type(error), error.message

    async def __call__(self, _scope: Scope, _receive: Receive, _send: Send) -> None:
        raise self._error_type(self._message)
