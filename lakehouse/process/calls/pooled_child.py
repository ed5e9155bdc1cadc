"""One child of a pool, from its start to its end, and who has it meanwhile."""

from __future__ import annotations

import trio

from lakehouse.process.calls.rpc import Connection, Reply
from lakehouse.process.child import Child
from lakehouse.process.errors import ChildExited
from lakehouse.process.states import POOLED_CHILD_TRANSITIONS, PooledChildState, StateMachine


class PooledChild:
    """A child and the call that has it. The pool's task for it is in `wait_over`; callers never wait for that task."""

    def __init__(self) -> None:
        self.calls = 0
        """Calls that it was given."""
        self._machine = StateMachine(PooledChildState.STARTING, POOLED_CHILD_TRANSITIONS)
        self._connection: Connection | None = None
        self._reply: Reply | None = None
        self._reset_requested = trio.Event()

    @property
    def state(self) -> PooledChildState:
        """See `states.PooledChildState`."""
        return self._machine.state

    @property
    def usable(self) -> bool:
        """Whether it is idle and its process is still there."""
        return self.state is PooledChildState.IDLE and self._child is not None and not self._child.has_exited()

    @property
    def _child(self) -> Child | None:
        return None if self._connection is None else self._connection.child

    def set_ready(self, child: Child, *, max_frame: int) -> None:
        """The child is ready."""
        self._connection = Connection(child, max_frame=max_frame)
        self._machine.advance(PooledChildState.IDLE)

    def acquire(self) -> None:
        """A call has it now."""
        self._machine.advance(PooledChildState.BUSY)

    def begin_call(self) -> Reply:
        """The reply of the call that has it."""
        assert self._connection is not None  # noqa: S101 - a member that was taken has one
        self.calls += 1
        self._reply = Reply(self._connection, self.calls)
        return self._reply

    def release(self, *, resettable: bool) -> bool:
        """The call is over, however that came about; true if the member can be used for the next one at once.

        An answer that was not read to its end is cancelled in the child if the child can do that, else the child is
        killed. Does not wait.
        """
        reply, self._reply = self._reply, None
        if self.state is not PooledChildState.BUSY:
            return False  # its child has ended
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
        """Kill the child; it takes no further call."""
        if self._machine.can_advance(PooledChildState.ENDED):
            self._machine.advance(PooledChildState.ENDED)
        if self._child is not None:
            self._child.kill()

    async def wait_reset(self, timeout: float) -> bool:
        """Wait until a call was cancelled and then for the child to stop it; false if it does not within `timeout`."""
        await self._reset_requested.wait()
        self._reset_requested = trio.Event()
        reply, self._reply = self._reply, None
        with trio.move_on_after(timeout):
            try:
                assert reply is not None  # noqa: S101 - set together with the event
                await reply.discard()
            except ChildExited:
                return False
            if not reply.replace and self.state is PooledChildState.RESETTING:
                self._machine.advance(PooledChildState.IDLE)
                return True
        return False
