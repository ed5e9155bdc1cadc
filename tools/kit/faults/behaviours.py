"""What callers do in the rows."""

from __future__ import annotations

import trio

from tools.kit.faults.caller import Outcome
from tools.kit.faults.case_model import Behaviour, Case, CaseRun, CaseRunner

DISCONNECT_TIMEOUT = 1.0
"""Seconds within which the provider must see a caller's leaving. How fast it really is, `tools.disconnect` measures."""


async def call_once(stage: CaseRunner, case: Case) -> CaseRun:
    """One call."""
    return CaseRun([await stage.call(case)])


async def call_with_deadline(stage: CaseRunner, case: Case) -> CaseRun:
    """One call with a deadline of the caller's own."""
    return CaseRun([await stage.call(case, timeout=stage.profile.caller)])


def call_repeatedly(count: int, *, spread: bool = False) -> Behaviour:
    """Calls one after the other; `spread` over the time in which the provider is down and a bit more."""

    async def play(stage: CaseRunner, case: Case) -> CaseRun:
        outcomes = []
        for _ in range(count):
            outcomes.append(await stage.call(case))
            if spread:
                await trio.sleep(stage.profile.every)
        return CaseRun(outcomes)

    return play


def leave_during(member: int, visits: int = 1) -> Behaviour:
    """A call that the caller gives up when this member has been asked so often."""

    async def play(stage: CaseRunner, case: Case) -> CaseRun:
        model = case.members[member][1]
        played = CaseRun([Outcome(end="left")])

        async def ask() -> None:
            played.outcomes[0] = await stage.call(case)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            with trio.move_on_after(stage.profile.timeout):
                while len(await stage.recorded(model)) < visits:
                    await trio.sleep(0.01)
            await trio.sleep(
                min(stage.profile.pause, stage.profile.retry_after) / 2
            )  # into the stream, or the back-off
            before = len(await stage.recorded(model))
            nursery.cancel_scope.cancel()
        with trio.move_on_after(DISCONNECT_TIMEOUT) as timeout:
            while any(visit.client_left is None and not visit.ended for visit in await stage.recorded(model)):
                await trio.sleep(0.01)
        if timeout.cancelled_caught:
            played.problems.append(f"the provider was still at work {DISCONNECT_TIMEOUT:g} s after the caller had left")
        await trio.sleep(stage.profile.retry_after + stage.profile.backoff)  # when a retry would have come
        if len(await stage.recorded(model)) > before:
            played.problems.append("the provider was asked again after the caller had left")
        return played

    return play
