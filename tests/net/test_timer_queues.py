"""One task keeps many deadlines, to the moment."""

from __future__ import annotations

from math import inf

import trio
import trio.testing

from lakehouse.net.timer_queues import DeadlineHeap


class Waiting:
    """Somebody who waits, until it is told."""

    def __init__(self) -> None:
        self.deadline = self.scheduled_deadline = inf
        self.ended: list[float] = []

    def expire(self) -> None:
        """Write down when."""
        self.ended.append(trio.current_time())
        self.deadline = inf


def wait(deadlines: DeadlineHeap, deadline: float, who: Waiting | None = None) -> Waiting:
    who = who or Waiting()
    who.deadline = deadline
    deadlines.schedule(who)
    return who


async def test_each_is_told_in_its_time(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    deadlines = DeadlineHeap()
    nursery.start_soon(deadlines.run)
    start = trio.current_time()
    await trio.sleep(1)
    late, early, never = wait(deadlines, start + 60), wait(deadlines, start + 7), wait(deadlines, inf)
    await trio.sleep(2)
    earliest = wait(deadlines, start + 5)  # while it sleeps until 7
    await trio.sleep(100)
    assert [who.ended for who in (earliest, early, late)] == [[start + 5], [start + 7], [start + 60]]
    assert never.ended == []


async def test_a_deadline_that_moves(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    deadlines = DeadlineHeap()
    nursery.start_soon(deadlines.run)
    start = trio.current_time()
    moving, gone, nearer = wait(deadlines, start + 10), wait(deadlines, start + 10), wait(deadlines, start + 50)
    gone.deadline = inf  # it waits no more
    for _ in range(8):
        await trio.sleep(5)
        moving.deadline += 5  # as every piece of a stream does, without telling anybody
    wait(deadlines, start + 45, nearer)
    await trio.sleep(100)
    assert moving.ended == [start + 50]
    assert gone.ended == []
    assert nearer.ended == [start + 45]


async def test_waits_cost_one_entry_each(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    deadlines = DeadlineHeap()
    nursery.start_soon(deadlines.run)
    who = Waiting()
    for _ in range(1000):
        wait(deadlines, trio.current_time() + 30, who)
        await trio.sleep(0.01)
    assert len(deadlines) == 1
    await trio.sleep(100)
    assert len(who.ended) == 1
    assert len(deadlines) == 0


async def test_waits_that_are_over_do_not_stay(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    deadlines = DeadlineHeap()
    nursery.start_soon(deadlines.run)
    start = trio.current_time()
    held, again = [wait(deadlines, start + 3600) for _ in range(100)], Waiting()
    for _ in range(1000):  # connections that are made and closed
        wait(deadlines, start + 3600).deadline = inf
        wait(deadlines, start + 3600, again).deadline = inf
    assert len(deadlines) <= 2 * len(held) + DeadlineHeap.MIN_SIZE
    wait(deadlines, start + 30, again)
    await trio.sleep(4000)
    assert again.ended == [start + 30]
    assert all(who.ended == [start + 3600] for who in held)
