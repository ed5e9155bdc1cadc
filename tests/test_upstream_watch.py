"""One task keeps many deadlines, to the moment."""

from __future__ import annotations

from math import inf

import trio
import trio.testing

from lakehouse.net.deadline_queue import DeadlineQueue


class Waiting:
    """Somebody who waits, until it is told."""

    def __init__(self) -> None:
        self.deadline = self.scheduled_deadline = inf
        self.ended: list[float] = []

    def expire(self) -> None:
        """Write down when."""
        self.ended.append(trio.current_time())
        self.deadline = inf


def wait(watch: DeadlineQueue, deadline: float, who: Waiting | None = None) -> Waiting:
    who = who or Waiting()
    who.deadline = deadline
    watch.schedule(who)
    return who


async def test_each_is_told_in_its_time(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    watch = DeadlineQueue()
    nursery.start_soon(watch.run)
    start = trio.current_time()
    await trio.sleep(1)
    late, early, never = wait(watch, start + 60), wait(watch, start + 7), wait(watch, inf)
    await trio.sleep(2)
    earliest = wait(watch, start + 5)  # while it sleeps until 7
    await trio.sleep(100)
    assert [who.ended for who in (earliest, early, late)] == [[start + 5], [start + 7], [start + 60]]
    assert never.ended == []


async def test_a_deadline_that_moves(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    watch = DeadlineQueue()
    nursery.start_soon(watch.run)
    start = trio.current_time()
    moving, gone, nearer = wait(watch, start + 10), wait(watch, start + 10), wait(watch, start + 50)
    gone.deadline = inf  # it waits no more
    for _ in range(8):
        await trio.sleep(5)
        moving.deadline += 5  # as every piece of a stream does, without telling anybody
    wait(watch, start + 45, nearer)
    await trio.sleep(100)
    assert moving.ended == [start + 50]
    assert gone.ended == []
    assert nearer.ended == [start + 45]


async def test_waits_cost_one_entry_each(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    watch = DeadlineQueue()
    nursery.start_soon(watch.run)
    who = Waiting()
    for _ in range(1000):
        wait(watch, trio.current_time() + 30, who)
        await trio.sleep(0.01)
    assert len(watch) == 1
    await trio.sleep(100)
    assert len(who.ended) == 1
    assert len(watch) == 0
