"""From a request's end to the end of everything that was done for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import trio

from tools.kit.lifetime.evidence import waited_for_cpu
from tools.kit.lifetime.phases import Phase, chat_request, get_request
from tools.kit.lifetime.testbed import DRAIN, Client, ServiceTestbed

END_TIMEOUT = 5.0

CLOSE_TIMEOUT = 0.3
"""Seconds for a client to read what it got. A WebSocket of ours waits longer than that for the client's own close."""


class Durations(NamedTuple):
    """Seconds until the upstreams saw it, and until the request was no longer in flight. Where no upstream is busy with
    the phase, the first is 0."""

    upstream: float
    context: float
    queued: float = 0.0
    """Seconds of them in which this thread waited for a processor."""

    @property
    def promised(self) -> float:
        """The one that there is a promise for: the upstream's, or where there is none, that of the request."""
        return self.upstream or self.context

    @property
    def own(self) -> float:
        """`promised` without what the machine spent on others."""
        return max(0.0, self.promised - self.queued)


@asynccontextmanager
async def busy_neighbours(testbed: ServiceTestbed, phase: Phase) -> AsyncIterator[None]:
    """The other clients of this phase, for the block."""
    clients = [await testbed.client() for _ in phase.crowd]
    try:
        for client, key in zip(clients, phase.crowd, strict=True):
            await client.send(get_request(key) if "/" in key else chat_request(key))
        while any(
            visit.client_left is not None for key in phase.crowd for visit in testbed.recorded(key)[-1:]
        ) or not all(testbed.recorded(key) for key in phase.crowd):
            await trio.sleep(0.0005)
        yield
    finally:
        for client in clients:
            client.leave("fin")


async def leave_phase(testbed: ServiceTestbed, phase: Phase, how: str) -> Durations:
    """A client gets into the phase and is gone: by `fin` or `rst`."""
    with trio.fail_after(END_TIMEOUT):
        before = testbed.active_requests
        async with await testbed.client() as client:
            keys = await phase.enter(testbed, testbed.tag(), client, "")
            await _deep_in_it()
            queued, began = waited_for_cpu(), trio.current_time()
            client.leave(how)
            took = await _over(testbed, keys, began, before)
            return took._replace(queued=waited_for_cpu() - queued)


async def exceed_deadline(testbed: ServiceTestbed, phase: Phase, seconds: float) -> tuple[Durations, Client, float]:
    """A client gets into the phase with a deadline of so many seconds, and waits for what comes of it.

    Gives the client and when it had all it would get, in seconds from its request.
    """
    with trio.fail_after(END_TIMEOUT):
        before = testbed.active_requests
        began = trio.current_time()
        async with await testbed.client() as client:
            more = f"X-Request-Timeout-Ms: {round(seconds * 1000)}\r\nConnection: close\r\n"
            keys = await phase.enter(testbed, testbed.tag(), client, more)
            took = await _over(testbed, keys, began + seconds, before)
            with trio.move_on_after(CLOSE_TIMEOUT):
                await client.rest()
            return took, client, trio.current_time() - began


async def drain_phase(testbed: ServiceTestbed, phase: Phase) -> tuple[Durations, Client]:
    """A client is in the phase when the service is told to stop; seconds from the end of the time to drain."""
    with trio.fail_after(END_TIMEOUT):
        async with await testbed.client() as client:
            keys = await phase.enter(testbed, testbed.tag(), client, "")
            await _deep_in_it()
            began = trio.current_time() + DRAIN
            testbed.runtime.stopping.set()
            took = await _over(testbed, keys, began, 0)
            with trio.move_on_after(CLOSE_TIMEOUT):
                await client.rest()
            return took, client


async def _deep_in_it() -> None:
    """What was to be done at once has been done."""
    await trio.sleep(0.002)


async def _over(testbed: ServiceTestbed, keys: list[str], began: float, before: int) -> Durations:
    while testbed.active_requests > before:
        await trio.lowlevel.checkpoint()
    context = trio.current_time() - began
    left = await testbed.wait_abandoned(*keys)
    return Durations(max(0.0, left - began) if left else 0.0, context)
