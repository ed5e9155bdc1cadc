"""A service that runs until a signal: the first one drains it, the second one stops it at once. And work beside it."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from lakehouse.server.server import Service


class Serve(Protocol):
    """Serves until `service.stop()`, and reports the service as started."""

    def __call__(self, *, task_status: trio.TaskStatus[Service]) -> Awaitable[None]: ...


async def run_until_signal(serve: Serve, announce: Callable[[Service], None]) -> int:
    """Serve; `announce` is called once connections are accepted. Returns 0, or 128 and the number of a second signal.

    A signal during the start stops it at once.
    """
    status = 0
    service: Service | None = None
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def handle_signals() -> None:
                nonlocal status
                async for number in signals:
                    if service is not None and not service.stopping.is_set():
                        service.stop()
                    else:
                        status = 128 + number
                        nursery.cancel_scope.cancel(reason="a second signal")

            nursery.start_soon(handle_signals)
            async with trio.open_nursery() as serving:
                service = await serving.start(serve)
                announce(service)
            nursery.cancel_scope.cancel(reason="drained")
    return status


async def run_unless_stopping(work: Callable[[], Awaitable[None]], stopping: trio.Event) -> None:
    """Run `work` beside a service. It is cancelled when the service begins to stop."""
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await work()
            nursery.cancel_scope.cancel()

        nursery.start_soon(run)
        await stopping.wait()
        nursery.cancel_scope.cancel()
