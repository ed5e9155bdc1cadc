"""The service in several processes: the parent binds, opens the shared resources, and supervises the workers.

The parent binds once and its workers inherit the descriptors, so a connection waits in one shared backlog while workers
start or are replaced; with SO_REUSEPORT a closing worker would reset the connections in its private queue. Hypercorn's
own workers do not drain (the first to finish stops the others, https://github.com/pgjones/hypercorn) and a crashed one
ends the service with status 0.
"""

from __future__ import annotations

import logging
import os
from contextlib import AsyncExitStack
from functools import partial

import trio

from lakehouse.config import Config
from lakehouse.process.spec import ChildSpec, OrphanPolicy, RestartPolicy
from lakehouse.process.supervision.slot import Slot
from lakehouse.process.supervision.supervisor import supervise
from lakehouse.runtime.preflight import preflight
from lakehouse.runtime.resources import share_resources
from lakehouse.runtime.service import bind_addresses
from lakehouse.runtime.worker_config import WorkerConfig
from lakehouse.server.drain import ABORT_TIMEOUT
from lakehouse.server.listening import listen, url_of
from lakehouse.server.server import Service
from lakehouse.telemetry.worker_ipc import make_private_directory

logger = logging.getLogger("lakehouse.workers")

TARGET = "lakehouse.runtime.worker:run"
RESTART = RestartPolicy(initial_delay=0.1, max_delay=5.0, stable_after=5.0, stable_delay=0.05)


async def serve_multiprocess(
    config: Config, workers: int, *, task_status: trio.TaskStatus[Service] = trio.TASK_STATUS_IGNORED
) -> bool:
    """`service.serve` in `workers` processes on the same sockets. True if all of them left in good order.

    Raises what `serve` does, and ChildStartFailed when a worker does not come up.
    """
    checked = preflight(config, os.environ)
    async with AsyncExitStack() as stack:
        sockets = stack.enter_context(bind_addresses(config))
        directory = stack.enter_context(make_private_directory())
        resources = await stack.enter_async_context(share_resources(config, directory))
        for sock in sockets:
            listen(sock)
        descriptors = tuple(sock.fileno() for sock in sockets)
        shared = partial(WorkerConfig, config=config, descriptors=descriptors, resources=resources)
        slots = [_slot(shared(index=index)) for index in range(workers)]
        service = Service(tuple(url_of(sock, secure=checked.tls is not None) for sock in sockets), trio.Event())
        clean = False
        async with trio.open_nursery() as nursery:

            async def run(*, task_status: trio.TaskStatus[None]) -> None:
                nonlocal clean
                timeout = config.server.drain_timeout + ABORT_TIMEOUT
                clean = await supervise(slots, drain=service.stopping, timeout=timeout, task_status=task_status)

            await nursery.start(run)
            task_status.started(service)
            await service.stopping.wait()
            for sock in sockets:  # once the last worker has closed its own, new connections are refused
                sock.close()
    return clean


def _slot(worker: WorkerConfig) -> Slot:
    """A worker's slot: the worker has this process's environment, with the providers' keys, and drains if it ends."""
    spec = ChildSpec(
        name=f"worker {worker.index}",
        target=TARGET,
        settings=worker.encode(),
        environment=dict(os.environ),
        pass_fds=worker.descriptors,
        orphan=OrphanPolicy.DRAIN,
        blocked_signals=(),
        own_group=False,
        capture_log=False,
    )
    return Slot(spec, restart=RESTART, log=logger)
