"""The service in several processes: this one binds, owns the embedded model, and supervises workers."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import trio

from lakehouse.chat.dispatch.dispatcher import LocalServer
from lakehouse.config import Config, LocalTable
from lakehouse.local_model.readiness import SOCKET, published
from lakehouse.process.supervisor import Launch, supervise
from lakehouse.runtime.preflight import preflight
from lakehouse.runtime.service import addresses, open_local_server
from lakehouse.runtime.worker import WorkerConfig
from lakehouse.server.listening import listen, url_of
from lakehouse.server.server import ABORT_TIMEOUT, Service
from lakehouse.telemetry.worker_ipc import private_directory


async def serve_multiprocess(
    config: Config, workers: int, *, task_status: trio.TaskStatus[Service] = trio.TASK_STATUS_IGNORED
) -> bool:
    """`service.serve` in `workers` processes on the same sockets. True if all of them left in good order.

    Raises what `serve` does, and WorkerFailed when a worker does not come up.
    """
    checked = preflight(config, os.environ)
    table = config.chatd.local
    async with AsyncExitStack() as stack:
        sockets = stack.enter_context(addresses(config))
        directory = stack.enter_context(private_directory())
        local = None
        if table.configured:
            local = await stack.enter_async_context(_local_server(table, directory))
        for sock in sockets:
            listen(sock)
        descriptors = tuple(sock.fileno() for sock in sockets)

        def orders(index: int) -> bytes:
            return WorkerConfig(
                config=config, descriptors=descriptors, index=index, directory=directory, local=local
            ).encode()

        launch = Launch(
            command=(sys.executable, "-m", "lakehouse.runtime.worker"), orders=orders, descriptors=descriptors
        )
        urls = tuple(url_of(sock, secure=checked.tls is not None) for sock in sockets)
        service = Service(urls, trio.Event())
        clean = False
        async with trio.open_nursery() as nursery:

            async def run(*, task_status: trio.TaskStatus[None]) -> None:
                nonlocal clean
                clean = await supervise(
                    launch,
                    workers=workers,
                    drain=service.stopping,
                    timeout=config.server.drain_timeout + ABORT_TIMEOUT,
                    task_status=task_status,
                )

            await nursery.start(run)
            task_status.started(service)
            await service.stopping.wait()
            for sock in sockets:  # the last worker to close its own refuses whoever comes now
                sock.close()
    return clean


@asynccontextmanager
async def _local_server(table: LocalTable, directory: Path) -> AsyncIterator[LocalServer]:
    """The embedded model as the workers are told of it: how it is, is published in their directory."""
    async with open_local_server(table) as local:
        assert local.poller is not None  # noqa: S101 - the engine is our own
        async with published(local.poller, directory / SOCKET):
            yield replace(local, poller=None)
