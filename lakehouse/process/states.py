"""The states of a child, of a supervised slot, and of a pool's member, with every transition that is allowed.

child    STARTING ─> READY ─> DRAINING ─> KILLED ─> REAPED      (each may skip ahead, none goes back)
slot     STARTING ─> RUNNING ─> BACKING_OFF ─> STARTING …, and from each to STOPPED
member   STARTING ─> IDLE <─> BUSY ─> RESETTING ─> IDLE, and from each to ENDED
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar


class ChildState(Enum):
    """One child process, as its parent sees it."""

    STARTING = "starting"  # it runs, and has not written its ready line
    READY = "ready"
    DRAINING = "draining"  # it was asked to end with SIGTERM
    KILLED = "killed"  # SIGKILL was sent, the kernel takes it down
    REAPED = "reaped"  # it has ended and its exit status was collected


class SlotState(Enum):
    """One place under a supervisor: a child and its successors."""

    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing off"  # the child ended; the next one starts when the delay has passed
    STOPPED = "stopped"


class PooledChildState(Enum):
    """One child of a pool."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"  # a call has it
    RESETTING = "resetting"  # the call was cancelled; the child was asked to stop and has not answered yet
    ENDED = "ended"  # killed, or dead by itself; another child takes its place


CHILD_TRANSITIONS: Mapping[ChildState, frozenset[ChildState]] = {
    ChildState.STARTING: frozenset({ChildState.READY, ChildState.DRAINING, ChildState.KILLED, ChildState.REAPED}),
    ChildState.READY: frozenset({ChildState.DRAINING, ChildState.KILLED, ChildState.REAPED}),
    ChildState.DRAINING: frozenset({ChildState.KILLED, ChildState.REAPED}),
    ChildState.KILLED: frozenset({ChildState.REAPED}),
    ChildState.REAPED: frozenset(),
}
SLOT_TRANSITIONS: Mapping[SlotState, frozenset[SlotState]] = {
    SlotState.STARTING: frozenset({SlotState.RUNNING, SlotState.BACKING_OFF, SlotState.STOPPED}),
    SlotState.RUNNING: frozenset({SlotState.BACKING_OFF, SlotState.STOPPED}),
    SlotState.BACKING_OFF: frozenset({SlotState.STARTING, SlotState.STOPPED}),
    SlotState.STOPPED: frozenset(),
}
POOLED_CHILD_TRANSITIONS: Mapping[PooledChildState, frozenset[PooledChildState]] = {
    PooledChildState.STARTING: frozenset({PooledChildState.IDLE, PooledChildState.ENDED}),
    PooledChildState.IDLE: frozenset({PooledChildState.BUSY, PooledChildState.ENDED}),
    PooledChildState.BUSY: frozenset({PooledChildState.IDLE, PooledChildState.RESETTING, PooledChildState.ENDED}),
    PooledChildState.RESETTING: frozenset({PooledChildState.IDLE, PooledChildState.ENDED}),
    PooledChildState.ENDED: frozenset(),
}

S = TypeVar("S", bound=Enum)


class StateMachine(Generic[S]):
    """A state that changes only as its table allows."""

    __slots__ = ("_transitions", "state")

    def __init__(self, initial: S, transitions: Mapping[S, frozenset[S]]) -> None:
        self.state = initial
        self._transitions = transitions

    def advance(self, state: S) -> None:
        """Change to `state`. Raises RuntimeError, a defect of the caller, for what the table does not have."""
        if not self.can_advance(state):
            raise RuntimeError(f"{type(state).__name__} cannot change from {self.state.name} to {state.name}")
        self.state = state

    def can_advance(self, state: S) -> bool:
        """Whether the table has this transition."""
        return state in self._transitions[self.state]
