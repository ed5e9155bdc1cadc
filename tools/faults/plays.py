"""What callers do in the rows."""

from __future__ import annotations

import trio

from tools.faults.caller import Outcome
from tools.faults.cases import Case, Play, Played, Stage

LEAVING = 1.0
"""Seconds within which the provider must see a caller's leaving. How fast it really is, `tools.disconnect` measures."""


async def once(stage: Stage, case: Case) -> Played:
    """One call."""
    return Played([await stage.ask(case)])


async def in_a_hurry(stage: Stage, case: Case) -> Played:
    """One call with a deadline of the caller's own."""
    return Played([await stage.ask(case, timeout=stage.profile.caller)])


def many(count: int, *, spread: bool = False) -> Play:
    """Calls one after the other; `spread` over the time in which the provider is down and a bit more."""

    async def play(stage: Stage, case: Case) -> Played:
        outcomes = []
        for _ in range(count):
            outcomes.append(await stage.ask(case))
            if spread:
                await trio.sleep(stage.profile.every)
        return Played(outcomes)

    return play


def leaving(member: int, visits: int = 1) -> Play:
    """A call that the caller gives up when this member has been asked so often."""

    async def play(stage: Stage, case: Case) -> Played:
        model = case.members[member][1]
        played = Played([Outcome(end="left")])

        async def ask() -> None:
            played.outcomes[0] = await stage.ask(case)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            with trio.move_on_after(stage.profile.timeout):
                while len(await stage.visits(model)) < visits:
                    await trio.sleep(0.01)
            await trio.sleep(
                min(stage.profile.pause, stage.profile.retry_after) / 2
            )  # into the stream, or the back-off
            before = len(await stage.visits(model))
            nursery.cancel_scope.cancel()
        with trio.move_on_after(LEAVING) as timeout:
            while any(visit.left is None and not visit.ended for visit in await stage.visits(model)):
                await trio.sleep(0.01)
        if timeout.cancelled_caught:
            played.problems.append(f"the provider was still at work {LEAVING:g} s after the caller had left")
        await trio.sleep(stage.profile.retry_after + stage.profile.backoff)  # when a retry would have come
        if len(await stage.visits(model)) > before:
            played.problems.append("the provider was asked again after the caller had left")
        return played

    return play
