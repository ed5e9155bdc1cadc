"""How soon threads run that have been woken: those of services wait for their turn, those that sync the disk do not."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import pytest
import trio

from lakehouse.process.scheduling import wake_thread_at_once, wake_without_preemption
from lakehouse.services.lake.group_commit import GroupCommit, PendingChange
from lakehouse.services.observerd.records import Recorded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the policies are Linux'")


def _policy() -> int:
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK


def _run_in_thread(run: Callable[[], None]) -> None:
    """Call a function in a new thread, so that this one keeps its policy."""
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def test_a_thread_has_its_own_policy() -> None:
    seen: list[int] = []

    def run() -> None:
        for choose in (wake_without_preemption, wake_thread_at_once):
            choose()
            seen.append(_policy())

    before = _policy()
    _run_in_thread(run)
    assert seen == [os.SCHED_BATCH, os.SCHED_OTHER]
    assert _policy() == before


def test_changes_are_made_by_a_thread_that_is_woken_at_once() -> None:
    seen: list[int] = []

    def apply(changes: object) -> list[Recorded]:
        seen.append(_policy())
        return [Recorded()]

    async def change() -> None:
        commit: GroupCommit[int, Recorded] = GroupCommit(apply, lambda _: None)
        await commit.make(PendingChange(1))
        seen.append(_policy())

    def run() -> None:
        wake_without_preemption()
        trio.run(change)

    _run_in_thread(run)
    assert seen == [os.SCHED_OTHER, os.SCHED_BATCH]
