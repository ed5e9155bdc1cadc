"""Several slots of one kind: started together, restarted one by one, drained together."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import trio

from lakehouse.process.errors import ChildStartFailed
from lakehouse.process.supervision.slot import Slot

logger = logging.getLogger("lakehouse.process")

EXIT_GRACE = 3.0
"""Seconds after the timeout of the drain, in which children close their files and exit."""


async def supervise(
    slots: Sequence[Slot],
    *,
    drain: trio.Event,
    timeout: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> bool:
    """Run the slots until `drain` is set, then drain their children. Returns whether all exited with status 0.

    Children that have not ended after `timeout` and `EXIT_GRACE` seconds are killed. Raises ChildStartFailed if the
    first child of a slot does not start; a child that ends later is replaced. On cancellation, children are killed and
    reaped.
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
