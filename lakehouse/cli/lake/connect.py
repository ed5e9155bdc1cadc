"""The way to the lake: the running service that has its folder open, or services of this command's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from math import inf

from lakehouse.cli.lake.client import LakeClient
from lakehouse.cli.smoke_request import authorization
from lakehouse.config import Config
from lakehouse.core.errors import LakehouseError
from lakehouse.core.extras import LAKE, install_hint, missing_modules
from lakehouse.runtime.service_address import service_address
from lakehouse.services.lake.directory import locate
from lakehouse.services.lake.errors import LakeError
from lakehouse.services.lake.folder_lock import LockContent, find_holder
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.pool import Upstream

CONNECT_TIMEOUT = 1.0
"""Seconds for a connection to a service on this machine."""

START_TIMEOUT = 30.0
"""Seconds for a service to open its lake. Without a running service nothing waits for this."""


@asynccontextmanager
async def open_client(config: Config, env: Mapping[str, str]) -> AsyncIterator[LakeClient]:
    """A client of the lake of this configuration. Raises LakeError."""
    async with open_lake_services(config, env) as services:
        yield LakeClient(services)


@asynccontextmanager
async def open_lake_services(config: Config, env: Mapping[str, str]) -> AsyncIterator[Upstream]:
    """The embedded services of the lake of this configuration, all behind one socket.

    If there is no running service, a services process runs until the end of the block. Raises LakeError.
    """
    holder = await find_running(config, env)
    if holder is not None and holder.socket:
        with _connections(holder.socket) as services:
            yield services
        return
    if absent := missing_modules(*LAKE):
        raise LakeError(f"the lake {install_hint('lake', absent)}")
    from lakehouse.services.host.activation import (
        open_services_process,  # much code, which a mere client can do without
    )

    eager = replace(config, lake=replace(config.lake, start="eager"))  # the start fails with its reason
    async with open_services_process(eager) as process:
        with _connections(process.socket_path) as services:
            yield services


async def find_running(config: Config, env: Mapping[str, str]) -> LockContent | None:
    """Who has the lake open, found through the lock of its folder; None if nobody has.

    A service opens its lake with the first request for it, so the one at the configured address gets a request first.
    """
    path = locate(config.lake.path, env)
    holder = find_holder(path)
    if holder is None and config.gateway.bind.port and await _wake(config):
        holder = find_holder(path)
    return holder


async def _wake(config: Config) -> bool:
    """Make the service at the configured address open its lake. False if there is none, or if it refuses to."""
    return await _succeeds(service_address(config), b"/v1/storage/list?limit=1", authorization(config.auth))


async def is_running(url: str) -> bool:
    """Whether a service answers there. Under another server it has another address than the configured one."""
    return await _succeeds(url, b"/health", [])


async def _succeeds(url: str, target: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
    with open_service(url, response_timeout=START_TIMEOUT) as service:
        try:
            with await service.send(UpstreamRequest(b"GET", target, headers, None)) as response:
                return response.status == 200
        except LakehouseError:
            return False


@contextmanager
def open_service(url: str, *, response_timeout: float = inf) -> Iterator[Upstream]:
    """The connections to a running service on this machine, for the block. `response_timeout` is in seconds."""
    service = Upstream(
        url, name="the running service", connect_timeout=CONNECT_TIMEOUT, response_timeout=response_timeout
    )
    try:
        yield service
    finally:
        service.close()


@contextmanager
def _connections(socket_path: str) -> Iterator[Upstream]:
    services = Upstream(f"unix:{socket_path}", name="the lake")
    try:
        yield services
    finally:
        services.close()
