"""One child of a pool, from its start to its end, and its assignment to calls."""

from __future__ import annotations

from collections.abc import AsyncIterator

import trio

from lakehouse.process.calls.rpc import Connection, Reply
from lakehouse.process.child import Child
from lakehouse.process.errors import ChildExited
from lakehouse.process.states import POOLED_CHILD_TRANSITIONS, PooledChildState, StateMachine
from lakehouse.process.tasks import open_background


class PooledChild:
    """A child and its present call. A task of the pool resets it (`wait_reset`); callers do not wait for that task."""

    def __init__(self) -> None:
        self.calls = 0
        """The number of calls that were assigned to it."""
        self._machine = StateMachine(PooledChildState.STARTING, POOLED_CHILD_TRANSITIONS)
        self._connection: Connection | None = None
        self._reply: Reply | None = None
        self._reset_requested = trio.Event()

    @property
    def state(self) -> PooledChildState:
        """The present state."""
        return self._machine.state

    @property
    def usable(self) -> bool:
        """Whether it is idle and its process still runs."""
        return self.state is PooledChildState.IDLE and self._child is not None and not self._child.has_exited()

    @property
    def _child(self) -> Child | None:
        return None if self._connection is None else self._connection.child

    def set_ready(self, child: Child, *, max_frame: int) -> None:
        """Mark the child as ready and idle."""
        self._connection = Connection(child, max_frame=max_frame)
        self._machine.advance(PooledChildState.IDLE)

    def acquire(self) -> None:
        """Assign it to a call."""
        self._machine.advance(PooledChildState.BUSY)

    def begin_call(self, inputs: AsyncIterator[bytes] | None = None) -> Reply:
        """Begin a call, with what it may request as further input; returns its reply."""
        assert self._connection is not None  # noqa: S101 - an assigned child has one
        self.calls += 1
        self._reply = Reply(self._connection, self.calls, inputs)
        return self._reply

    def release(self, *, resettable: bool) -> bool:
        """End the assignment to a call. Returns whether the child is idle. Does not wait.

        A call whose reply was not read to its end is cancelled in the child if `resettable`; otherwise the child is
        killed.
        """
        reply, self._reply = self._reply, None
        if self.state is not PooledChildState.BUSY:
            return False  # the child has ended
        if reply is None or (reply.ended and not reply.replace):
            self._machine.advance(PooledChildState.IDLE)
            return True
        if reply.sent and not reply.ended and resettable:
            self._machine.advance(PooledChildState.RESETTING)
            self._reply = reply
            self._reset_requested.set()
        else:
            self.end()
        return False

    def end(self) -> None:
        """Kill the child. It is not assigned to further calls."""
        if self._machine.can_advance(PooledChildState.ENDED):
            self._machine.advance(PooledChildState.ENDED)
        if self._child is not None:
            self._child.kill()

    async def wait_reset(self, timeout: float, max_timeout: float) -> bool:
        """Wait for a cancelled call, then stop it in the child. Returns false if that takes too long.

        `timeout` is the time that the child has if it can use the processors, `max_timeout` if it cannot.
        """
        await self._reset_requested.wait()
        self._reset_requested = trio.Event()
        reply, self._reply = self._reply, None
        child = self._child
        assert reply is not None  # noqa: S101 - set together with the event
        assert child is not None  # noqa: S101 - it has answered calls
        try:
            async with open_background() as nursery:
                nursery.start_soon(_kill_if_busy, child, timeout, max_timeout)
                await reply.discard()
        except ChildExited:
            return False
        if child.has_exited():  # it was killed while its last frame was on the way
            return False
        if not reply.replace and self.state is PooledChildState.RESETTING:
            self._machine.advance(PooledChildState.IDLE)
            return True
        return False


async def _kill_if_busy(child: Child, timeout: float, max_timeout: float) -> None:
    """Kill a child that still works after `timeout`; one that waits for a processor after `max_timeout`."""
    before = child.read_cpu_seconds()
    deadline = trio.current_time() + max_timeout
    while True:
        await trio.sleep(timeout)
        if child.read_cpu_seconds() - before >= timeout / 2 or trio.current_time() >= deadline:
            child.kill()
            await child.release_memory()
            return
