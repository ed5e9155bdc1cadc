"""The service in several processes: the parent binds, opens the shared resources, and supervises the workers.

The parent binds once and its workers inherit the descriptors, so a connection waits in one shared backlog while workers
start or are replaced; with SO_REUSEPORT a closing worker would reset the connections in its private queue. Hypercorn's
own workers do not drain (the first to finish stops the others, https://github.com/pgjones/hypercorn) and a crashed one
ends the service with status 0.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from signal import SIGHUP

import trio

from lakehouse.config import Config
from lakehouse.process.spec import ChildSpec, OrphanPolicy, RestartPolicy
from lakehouse.process.supervision.slot import Slot
from lakehouse.process.supervision.supervisor import supervise
from lakehouse.process.tasks import open_background
from lakehouse.runtime.preflight import preflight
from lakehouse.runtime.reload.reloader import ReadConfig, Reloader
from lakehouse.runtime.reload.sighup import reload_at_sighup
from lakehouse.runtime.reload.workers import WorkerGroup, serve_workers
from lakehouse.runtime.resources import list_resources, share_resources
from lakehouse.runtime.service import bind_addresses
from lakehouse.runtime.worker_config import WorkerConfig
from lakehouse.server.drain import ABORT_TIMEOUT
from lakehouse.server.listening import listen, url_of
from lakehouse.server.server import Service
from lakehouse.telemetry.log import Log
from lakehouse.telemetry.worker_ipc import make_private_directory

logger = logging.getLogger("lakehouse.workers")

TARGET = "lakehouse.runtime.worker:run"
RESTART = RestartPolicy(initial_delay=0.1, max_delay=5.0, stable_after=5.0, stable_delay=0.05)


async def serve_multiprocess(
    config: Config,
    workers: int,
    *,
    read_config: ReadConfig,
    log: Log,
    task_status: trio.TaskStatus[Service] = trio.TASK_STATUS_IGNORED,
) -> bool:
    """`service.serve` in `workers` processes on the same sockets. True if all of them left in good order.

    `read_config` reads the configuration again for a reload; `log` is this process's own. Raises what `serve` does, and
    ChildStartFailed when a worker does not come up.
    """
    checked = preflight(config, os.environ)
    reloader = Reloader(config, os.environ, read_config)
    with bind_addresses(config) as sockets, make_private_directory() as directory:
        async with share_resources(list_resources(lambda: reloader.running), config, directory) as resources:
            for sock in sockets:
                listen(sock)
            descriptors = tuple(sock.fileno() for sock in sockets)

            def make_spec(index: int, config: Config) -> ChildSpec:
                worker = WorkerConfig(config=config, descriptors=descriptors, index=index, resources=resources)
                return _make_spec(worker)

            slots = [Slot(make_spec(index, config), restart=RESTART, log=logger) for index in range(workers)]
            reloader.apply = WorkerGroup(slots, directory, make_spec, log).apply
            service = Service(tuple(url_of(sock, secure=checked.tls is not None) for sock in sockets), trio.Event())
            return await _run_workers(
                slots,
                sockets,
                directory,
                reloader,
                service,
                timeout=config.server.drain_timeout + ABORT_TIMEOUT,
                task_status=task_status,
            )


async def _run_workers(
    slots: Sequence[Slot],
    sockets: Sequence[socket.socket],
    directory: Path,
    reloader: Reloader,
    service: Service,
    *,
    timeout: float,
    task_status: trio.TaskStatus[Service],
) -> bool:
    """Run the workers, and the reloads that they or SIGHUP ask for, until the service stops. Drains for `timeout`."""
    clean = False
    async with open_background() as background, trio.open_nursery() as nursery:

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            nonlocal clean
            clean = await supervise(slots, drain=service.stopping, timeout=timeout, task_status=task_status)

        await nursery.start(run)
        await background.start(serve_workers, directory, reloader.reload)
        await background.start(reload_at_sighup, reloader.reload, service.stopping)
        task_status.started(service)
        await service.stopping.wait()
        for sock in sockets:  # once the last worker has closed its own, new connections are refused
            sock.close()
    return clean


def _make_spec(worker: WorkerConfig) -> ChildSpec:
    """A worker's process: it has this process's environment, with the providers' keys, and drains if it ends."""
    return ChildSpec(
        name=f"worker {worker.index}",
        target=TARGET,
        settings=worker.encode(),
        environment=dict(os.environ),
        pass_fds=worker.descriptors,
        orphan=OrphanPolicy.DRAIN,
        blocked_signals=(SIGHUP,),  # of a terminal that is closed, which concerns this process alone
        own_group=False,
        capture_log=False,
    )
