"""One worker of several: a child process of `multiprocess`, from which it gets its `WorkerConfig`.

It drains on SIGTERM, and when its standard input ends, which means that its parent is gone. SIGINT is left to the
parent: a terminal sends it to both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from signal import SIGTERM

import trio

from lakehouse.process.bootstrap import Startup
from lakehouse.process.tasks import wait_end_of_input
from lakehouse.runtime.gc_tuning import tune_gc
from lakehouse.runtime.service import run_service
from lakehouse.runtime.worker_config import WorkerConfig
from lakehouse.server.server import Service
from lakehouse.telemetry.log import Log, redirect_stdlib
from lakehouse.telemetry.worker_ipc import remove_if_unused


def run(startup: Startup) -> None:
    """The target of a worker's process."""
    worker = WorkerConfig.decode(startup.settings)
    log = Log(worker.config.observe.log)
    tune_gc()
    with redirect_stdlib(log):
        orphaned = trio.run(run_worker, worker, log, startup.report_ready)
    if orphaned:
        remove_if_unused(worker.resources.directory)


async def run_worker(worker: WorkerConfig, log: Log, report_ready: Callable[[], None]) -> bool:
    """Serve; drain on SIGTERM or at the end of standard input. Returns whether the parent is gone.

    `report_ready` is called once connections are accepted and both of these are handled.
    """
    orphaned = trio.Event()
    with trio.open_signal_receiver(SIGTERM) as signals:
        async with trio.open_nursery() as watching:
            async with trio.open_nursery() as serving:
                service = await serving.start(partial(run_service, worker.config, log=log, slot=worker.worker_slot()))
                watching.start_soon(_stop_at_signal, service, signals)
                watching.start_soon(_stop_when_orphaned, service, orphaned)
                report_ready()
            watching.cancel_scope.cancel(reason="drained")
    return orphaned.is_set()


async def _stop_at_signal(service: Service, signals: AsyncIterator[int]) -> None:
    async for _ in signals:
        service.stop()


async def _stop_when_orphaned(service: Service, orphaned: trio.Event) -> None:
    await wait_end_of_input()
    orphaned.set()
    service.stop()
