"""The states of a child, a supervised slot and a pooled child, with all allowed transitions.

child           STARTING ─> READY ─> DRAINING ─> KILLED ─> REAPED      (states can be skipped, not repeated)
slot            STARTING ─> RUNNING ─> BACKING_OFF ─> STARTING …, and from each to STOPPED
pooled child    STARTING ─> IDLE <─> BUSY ─> RESETTING ─> IDLE, and from each to ENDED
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar


class ChildState(Enum):
    """The states of a child process in its parent."""

    STARTING = "starting"  # the process runs, and has not sent its ready message
    READY = "ready"
    DRAINING = "draining"  # SIGTERM was sent
    KILLED = "killed"  # SIGKILL was sent; the kernel is ending the process
    REAPED = "reaped"  # the process has ended and its exit status was collected


class SlotState(Enum):
    """The states of a slot: one child and its successors."""

    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing off"  # the child ended; the next one starts after a delay
    STOPPED = "stopped"


class PooledChildState(Enum):
    """The states of a child in a pool."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"  # assigned to a call
    RESETTING = "resetting"  # the call was cancelled; the child has not confirmed yet
    ENDED = "ended"  # killed or exited; another child replaces it


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
    """A state that changes only by the transitions of a table."""

    __slots__ = ("_transitions", "state")

    def __init__(self, initial: S, transitions: Mapping[S, frozenset[S]]) -> None:
        self.state = initial
        self._transitions = transitions

    def advance(self, state: S) -> None:
        """Change to `state`. Raises RuntimeError for a transition that is not in the table: a defect of the caller."""
        if not self.can_advance(state):
            raise RuntimeError(f"{type(state).__name__} cannot change from {self.state.name} to {state.name}")
        self.state = state

    def can_advance(self, state: S) -> bool:
        """Whether the table has a transition to `state`."""
        return state in self._transitions[self.state]
