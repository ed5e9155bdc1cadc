"""Runs the work of a command so that Ctrl-C and SIGTERM cancel it, with everything that it has started."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

import trio

INTERRUPTED = 128 + signal.SIGINT


def run_interruptible(work: Callable[[], Awaitable[int]]) -> int:
    """Run `work` in trio and return its exit status, or INTERRUPTED if a signal has cancelled it."""
    return trio.run(_run, work)


async def _run(work: Callable[[], Awaitable[int]]) -> int:
    status = INTERRUPTED
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def interrupt() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel(reason="interrupted")

            nursery.start_soon(interrupt)
            status = await work()
            nursery.cancel_scope.cancel(reason="done")
    return status
