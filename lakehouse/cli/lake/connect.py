"""The way to the lake: the service that has its folder open, or services of this command's own if there is none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

from lakehouse.cli.lake.client import LakeClient
from lakehouse.config import Config
from lakehouse.core.extras import LAKE, install_hint, missing_modules
from lakehouse.services.lake.directory import locate
from lakehouse.services.lake.errors import LakeError
from lakehouse.services.lake.folder_lock import find_holder
from lakehouse.upstream.pool import Upstream


@asynccontextmanager
async def open_client(config: Config, env: Mapping[str, str]) -> AsyncIterator[LakeClient]:
    """A client of the lake of this configuration. Raises LakeError."""
    async with open_lake_services(config, env) as services:
        yield LakeClient(services)


@asynccontextmanager
async def open_lake_services(config: Config, env: Mapping[str, str]) -> AsyncIterator[Upstream]:
    """The embedded services of the lake of this configuration, all behind one socket.

    A running service is found through the lock of the folder. If there is none, a services process runs until the end
    of the block. Raises LakeError.
    """
    holder = find_holder(locate(config.lake.path, env))
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


@contextmanager
def _connections(socket_path: str) -> Iterator[Upstream]:
    services = Upstream(f"unix:{socket_path}", name="the lake")
    try:
        yield services
    finally:
        services.close()
