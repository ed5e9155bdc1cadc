"""One child of a pool, from its start to its end, and who has it meanwhile."""

from __future__ import annotations

import trio

from lakehouse.process.calls.rpc import Connection, Reply
from lakehouse.process.child import Child
from lakehouse.process.errors import ChildExited
from lakehouse.process.states import MEMBER_TRANSITIONS, MemberState, StateMachine


class Member:
    """A child and the call that has it. The pool's task for it is in `wait_over`; callers never wait for that task."""

    def __init__(self) -> None:
        self.calls = 0
        """Calls that it was given."""
        self._machine = StateMachine(MemberState.STARTING, MEMBER_TRANSITIONS)
        self._connection: Connection | None = None
        self._reply: Reply | None = None
        self._reset_wanted = trio.Event()

    @property
    def state(self) -> MemberState:
        """See `states.MemberState`."""
        return self._machine.state

    @property
    def usable(self) -> bool:
        """Whether it is idle and its process is still there."""
        return self.state is MemberState.IDLE and self._child is not None and not self._child.has_exited()

    @property
    def _child(self) -> Child | None:
        return None if self._connection is None else self._connection.child

    def attach(self, child: Child, *, max_frame: int) -> None:
        """The child is ready."""
        self._connection = Connection(child, max_frame=max_frame)
        self._machine.advance(MemberState.IDLE)

    def take(self) -> None:
        """A call has it now."""
        self._machine.advance(MemberState.BUSY)

    def begin(self) -> Reply:
        """The reply of the call that has it."""
        assert self._connection is not None  # noqa: S101 - a member that was taken has one
        self.calls += 1
        self._reply = Reply(self._connection, self.calls)
        return self._reply

    def give_back(self, *, resettable: bool) -> bool:
        """The call is over, however that came about; true if the member can be used for the next one at once.

        An answer that was not read to its end is cancelled in the child if the child can do that, else the child is
        killed. Does not wait.
        """
        reply, self._reply = self._reply, None
        if self.state is not MemberState.BUSY:
            return False  # its child has ended
        if reply is None or (reply.ended and not reply.replace):
            self._machine.advance(MemberState.IDLE)
            return True
        if reply.sent and not reply.ended and resettable:
            self._machine.advance(MemberState.RESETTING)
            self._reply = reply
            self._reset_wanted.set()
        else:
            self.end()
        return False

    def end(self) -> None:
        """Kill the child; it takes no further call."""
        if self._machine.can_advance(MemberState.ENDED):
            self._machine.advance(MemberState.ENDED)
        if self._child is not None:
            self._child.kill()

    async def wait_reset(self, timeout: float) -> bool:
        """Wait until a call was cancelled and then for the child to stop it; false if it does not within `timeout`."""
        await self._reset_wanted.wait()
        self._reset_wanted = trio.Event()
        reply, self._reply = self._reply, None
        with trio.move_on_after(timeout):
            try:
                assert reply is not None  # noqa: S101 - set together with the event
                await reply.discard()
            except ChildExited:
                return False
            if not reply.replace and self.state is MemberState.RESETTING:
                self._machine.advance(MemberState.IDLE)
                return True
        return False
