"""Several children of one kind: started together, replaced one by one, drained together."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import trio

from lakehouse.process.errors import ChildStartFailed
from lakehouse.process.supervision.slot import Slot

logger = logging.getLogger("lakehouse.process")

EXIT_GRACE = 3.0
"""Seconds beyond the drain's own timeout: time to close files and leave."""


async def supervise(
    slots: Sequence[Slot],
    *,
    drain: trio.Event,
    timeout: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> bool:
    """Run the slots until `drain` is set, then let their children end. True if each of them exited with status 0.

    `timeout` is how many seconds the drain may take before children are killed. Raises ChildStartFailed when one does
    not start at first; one that ends later is replaced. When cancelled, the children are killed and reaped.
    """
    failures: list[ChildStartFailed] = []

    async def start(slot: Slot) -> None:
        try:
            await nursery.start(slot.run)
        except ChildStartFailed as failure:
            failures.append(failure)

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as starting:
            for slot in slots:
                starting.start_soon(start, slot)
        if failures:
            nursery.cancel_scope.cancel(reason="a child did not start")
        else:
            task_status.started()
            await drain.wait()
            for slot in slots:
                slot.drain()
            nursery.cancel_scope.deadline = trio.current_time() + timeout + EXIT_GRACE
    if failures:
        raise failures[0]
    return not nursery.cancel_scope.cancelled_caught and not any(slot.returncode for slot in slots)
