"""One worker of several: its orders come on standard input, one line on standard output says that it is ready.

Run by the supervisor as `python -m lakehouse.runtime.worker`. It drains on SIGTERM, and when its standard input ends, which
means that its parent is gone. SIGINT is the parent's business: a terminal sends it to both.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import trio

from lakehouse.chat.dispatch.dispatcher import LocalServer
from lakehouse.config import Config
from lakehouse.process.supervisor import READY
from lakehouse.runtime.gc_tuning import tune_gc
from lakehouse.runtime.service import WorkerSlot, serve
from lakehouse.server.server import Service
from lakehouse.telemetry.log import Log, stdlib_to
from lakehouse.telemetry.worker_ipc import remove_if_unused


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerConfig:
    """What a worker is told. `local` is where the embedded model answers, for the parent owns it."""

    config: Config
    descriptors: tuple[int, ...]
    index: int
    directory: Path
    local: LocalServer | None

    def encode(self) -> bytes:
        """For the worker's standard input: from our own parent to us, never from a stranger."""
        return pickle.dumps(self)

    def worker_slot(self) -> WorkerSlot:
        """The worker's place, with the sockets that it has inherited."""
        sockets = tuple(socket.socket(fileno=descriptor) for descriptor in self.descriptors)
        return WorkerSlot(sockets=sockets, local=self.local, directory=self.directory, index=self.index)


def main() -> None:
    """Read the orders and follow them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    length = int.from_bytes(sys.stdin.buffer.read(4), "big")
    orders = pickle.loads(sys.stdin.buffer.read(length))  # noqa: S301 - written by our parent, see `WorkerConfig.encode`
    log = Log(orders.config.observe.log)
    tune_gc()
    with stdlib_to(log):
        orphaned = trio.run(run_worker, orders, log)
    if orphaned:
        remove_if_unused(orders.directory)


async def run_worker(orders: WorkerConfig, log: Log) -> bool:
    """Serve; drain on SIGTERM or at the end of standard input. Says that it is ready when it can be told to stop.

    Whether the parent is gone.
    """
    orphaned = trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as watching:
            async with trio.open_nursery() as serving:
                service = await serving.start(partial(serve, orders.config, log=log, slot=orders.worker_slot()))
                watching.start_soon(_stop_at_signal, service, signals)
                watching.start_soon(_stop_when_orphaned, service, orphaned)
                os.write(sys.stdout.fileno(), READY)
            watching.cancel_scope.cancel(reason="drained")
    return orphaned.is_set()


async def _stop_at_signal(service: Service, signals: AsyncIterator[int]) -> None:
    async for _ in signals:
        service.stop()


async def _stop_when_orphaned(service: Service, orphaned: trio.Event) -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin:
        while await stdin.receive_some():
            pass
    orphaned.set()
    service.stop()


if __name__ == "__main__":
    # `-m` runs this module under another name than the one by which pickled orders know their class.
    import_module("lakehouse.runtime.worker").main()
