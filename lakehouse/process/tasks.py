"""Background tasks that end with a block, and the end of the standard input of a child."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_background() -> AsyncIterator[trio.Nursery]:
    """Open a nursery whose tasks are cancelled when the block ends.

    A single exception of the block or of a task is raised without an exception group, also if the tasks are cancelled
    from outside at the same moment; several are raised as a group.
    """
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        _, errors = group.split(trio.Cancelled)
        found = (errors or group).exceptions
        if len(found) == 1:
            raise found[0] from found[0].__cause__
        raise


async def wait_end_of_input() -> None:
    """Wait for the end of standard input, by which a parent asks its child to end, and which a lost parent leaves."""
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
        while await stdin.receive_some():
            pass
