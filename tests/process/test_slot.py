"""A slot in virtual time, with fake children in place of processes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import pytest
import trio

from lakehouse.process.child import Child
from lakehouse.process.errors import ChildStartFailed
from lakehouse.process.protocol import ReadyMessage
from lakehouse.process.spec import ChildSpec, RestartPolicy
from lakehouse.process.states import (
    CHILD_TRANSITIONS,
    POOLED_CHILD_TRANSITIONS,
    SLOT_TRANSITIONS,
    ChildState,
    SlotState,
    StateMachine,
)
from lakehouse.process.supervision.backoff import Backoff
from lakehouse.process.supervision.slot import Slot

SPEC = ChildSpec(name="worker 3", target="nothing:nothing")
OTHER_SPEC = replace(SPEC, settings=b'"others"')
POLICY = RestartPolicy(initial_delay=0.25, max_delay=30.0, stable_after=60.0, stable_delay=0.5)


class FakeChild:
    """A fake child that fails to start, or serves for a number of seconds."""

    def __init__(self, spec: ChildSpec, life: float | str, status: int) -> None:
        self.spec = spec
        self.life = life
        self.status = status
        self.ended = trio.Event()

    async def wait_ready(self) -> ReadyMessage:
        await trio.sleep(1)
        if isinstance(self.life, str):
            raise ChildStartFailed(SPEC.name, self.life)
        return ReadyMessage(ready=True)

    async def wait_exit(self) -> int:
        assert isinstance(self.life, float)
        with trio.move_on_after(self.life):
            await self.ended.wait()
        return self.status

    async def describe_exit(self) -> str:
        return f"exited with status {self.status}"

    def terminate(self) -> None:
        self.status = 0
        self.ended.set()


class Script:
    """Opens fake children one after the other, and records the times."""

    def __init__(self, *lives: float | str | OSError) -> None:
        self.lives = list(lives)
        self.starts: list[float] = []
        self.open = 0

    @asynccontextmanager
    async def open_child(self, spec: ChildSpec) -> AsyncIterator[Child]:
        assert spec in (SPEC, OTHER_SPEC)
        self.starts.append(trio.current_time())
        life = self.lives.pop(0) if self.lives else 1e9
        if isinstance(life, OSError):
            raise life
        self.open += 1
        try:
            yield cast("Child", FakeChild(spec, life, 9))
        finally:
            self.open -= 1

    def pauses(self) -> list[float]:
        """The seconds between consecutive starts."""
        return [round(later - earlier, 6) for earlier, later in zip(self.starts, self.starts[1:], strict=False)]


async def test_a_child_whose_specification_is_replaced_while_it_starts_is_replaced_as_well(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    script = Script()
    slot = Slot(SPEC, restart=POLICY, open_child=script.open_child)
    nursery.start_soon(slot.run)
    await trio.sleep(0.5)
    slot.spec = OTHER_SPEC
    await trio.sleep(5)
    assert slot.child is not None
    assert (slot.child.spec, script.pauses()) == (OTHER_SPEC, [1.25])
    slot.spec = SPEC  # of a child that is ready, it is no concern
    await trio.sleep(5)
    assert len(script.starts) == 2
    nursery.cancel_scope.cancel()


async def test_delays_grow_until_a_child_is_stable(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    script = Script(0.0, 0.0, "no", OSError(11, "no more processes"), 100.0, 0.0)
    slot = Slot(SPEC, restart=POLICY, open_child=script.open_child)
    await nursery.start(slot.run)
    await trio.sleep(300)
    # Each start takes a second, and OSError comes at once; after 100 s of service the delays begin anew.
    assert script.pauses() == [1.25, 1.5, 2.0, 2.0, 101.5, 1.25]
    assert slot.state is SlotState.RUNNING
    nursery.cancel_scope.cancel()


async def test_a_first_start_that_fails_is_raised_and_not_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    script = Script("no such model")
    slot = Slot(SPEC, restart=POLICY, open_child=script.open_child)
    with pytest.raises(ChildStartFailed, match="worker 3 did not start: no such model"):
        await slot.run()
    assert len(script.starts) == 1
    assert slot.state is SlotState.STOPPED


async def test_a_child_that_is_ready_has_to_pass_its_check(autojump_clock: trio.testing.MockClock) -> None:
    async def check(_: Child) -> str:
        return "its port does not answer"

    slot = Slot(SPEC, restart=POLICY, open_child=Script(100.0).open_child, check=check)
    with pytest.raises(ChildStartFailed, match="worker 3 did not start: its port does not answer"):
        await slot.run()


async def test_a_drain_ends_the_child_and_the_slot(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    script = Script(1000.0)
    slot = Slot(SPEC, restart=POLICY, open_child=script.open_child)
    await nursery.start(slot.run)
    assert slot.child is not None
    slot.drain()
    await trio.sleep(1)
    assert (slot.state, slot.child, slot.returncode, script.open) == (SlotState.STOPPED, None, 0, 0)
    assert len(script.starts) == 1


async def test_a_drain_during_the_delay_ends_it_at_once(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    script = Script(0.0)
    slot = Slot(SPEC, restart=RestartPolicy(initial_delay=1000, max_delay=1000), open_child=script.open_child)
    await nursery.start(slot.run)
    await trio.sleep(5)
    assert slot.state is SlotState.BACKING_OFF
    slot.drain()
    await trio.sleep(1)
    assert (slot.state, slot.returncode) == (SlotState.STOPPED, None)


async def test_a_drain_during_a_restart_reaches_the_child_that_starts(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    script = Script(0.0, 1000.0)
    slot = Slot(SPEC, restart=POLICY, open_child=script.open_child)
    await nursery.start(slot.run)
    await trio.sleep(0.5)  # of the second that a start takes
    assert slot.state is SlotState.STARTING
    slot.drain()
    await trio.sleep(2)
    assert (slot.state, slot.returncode, script.open) == (SlotState.STOPPED, 0, 0)


@pytest.mark.parametrize("moment", [0.5, 1.5, 2.1, 3.0])
async def test_cancelled_at_any_stage_nothing_is_left(moment: float, autojump_clock: trio.testing.MockClock) -> None:
    script = Script(1.0)
    slot = Slot(SPEC, restart=POLICY, open_child=script.open_child)
    with trio.move_on_after(moment):
        await slot.run()
    assert (slot.state, slot.child, script.open) == (SlotState.STOPPED, None, 0)


class Listener:
    """Records its calls with their times."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str]] = []

    def child_ready(self, child: Child) -> None:
        self.told.append((trio.current_time(), "ready"))

    def child_exited(self) -> None:
        self.told.append((trio.current_time(), "gone"))

    def restart_delayed(self, delay: float, failures: int) -> None:
        self.told.append((trio.current_time(), f"{failures}: {delay:g} s"))


async def test_a_listener_is_called_at_once(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    listener = Listener()
    slot = Slot(SPEC, restart=POLICY, open_child=Script(5.0, "no", 100.0).open_child, listener=listener)
    await nursery.start(slot.run)
    await trio.sleep(8)
    assert listener.told == [
        (1, "ready"),
        (6, "gone"),
        (6, "1: 0.25 s"),
        (7.25, "2: 0.5 s"),
        (8.75, "ready"),
    ]
    nursery.cancel_scope.cancel()


async def test_the_log_says_how_it_ended_and_when_the_next_one_starts(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    slot = Slot(SPEC, restart=POLICY, open_child=Script(0.0).open_child, level=logging.WARNING)
    await nursery.start(slot.run)
    await trio.sleep(5)
    assert caplog.record_tuples == [
        (
            "lakehouse.process",
            logging.WARNING,
            "worker 3 ended: its process exited with status 9; starting it again in 0.25 s",
        )
    ]
    nursery.cancel_scope.cancel()


def test_delays_double_up_to_the_longest_and_begin_anew_after_a_stable_life() -> None:
    backoff = Backoff(POLICY)
    assert [backoff.delay_after(None) for _ in range(9)] == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [backoff.delay_after(60), backoff.delay_after(59), backoff.delay_after(None)] == [0.5, 0.25, 0.5]
    for _ in range(2000):
        assert backoff.delay_after(1) <= 30


def test_a_short_run_is_a_failure_only_if_configured() -> None:
    backoff = Backoff(replace(POLICY, short_run_is_failure=False))
    assert [backoff.delay_after(1) for _ in range(3)] == [0.25] * 3
    assert backoff.failures == 0


@pytest.mark.parametrize("transitions", [CHILD_TRANSITIONS, SLOT_TRANSITIONS, POOLED_CHILD_TRANSITIONS])
def test_every_state_has_its_transitions_and_one_is_the_last(
    transitions: dict[ChildState, frozenset[ChildState]],
) -> None:
    states = set(type(next(iter(transitions))))
    assert set(transitions) == states
    assert [state for state in states if not transitions[state]] == [list(type(next(iter(transitions))))[-1]]


def test_a_transition_that_is_not_in_the_table_is_a_defect() -> None:
    machine = StateMachine(ChildState.READY, CHILD_TRANSITIONS)
    with pytest.raises(RuntimeError, match="ChildState cannot change from READY to STARTING"):
        machine.advance(ChildState.STARTING)
    assert machine.state is ChildState.READY
