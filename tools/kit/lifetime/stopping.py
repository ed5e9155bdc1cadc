"""From the stop of a session to the end of everything that was done for its requests."""

from __future__ import annotations

import json
import time
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import trio

from tools.kit.lifetime.evidence import waited_for_cpu
from tools.kit.lifetime.leaving import CLOSE_TIMEOUT, END_TIMEOUT, Durations
from tools.kit.lifetime.phases import Phase, asked, gateway
from tools.kit.lifetime.testbed import Client, ServiceTestbed


class Stopped(NamedTuple):
    """How long it took, the clients of the session, and the receipt."""

    took: Durations
    clients: list[Client]
    receipt: dict[str, Any]
    worked: float
    """Seconds of `took` in which this thread, which is client, service and upstreams, had a processor."""


async def send_stop(testbed: ServiceTestbed, session: str) -> dict[str, Any]:
    """DELETE of a session, on a connection of its own: the receipt."""
    async with await testbed.client() as client:
        request = f"DELETE /v1/sessions/{session} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        await client.send(request.encode())
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    receipt: dict[str, Any] = json.loads(body)
    return receipt


async def stop_phase(testbed: ServiceTestbed, phase: Phase) -> Stopped:
    """The session of a client that is in the phase is stopped, and the client waits for what comes of it."""
    with trio.fail_after(END_TIMEOUT):
        before = testbed.active_requests
        async with await testbed.client() as client:
            session = testbed.tag()
            keys = await phase.enter(testbed, session, client, f"X-Session-Id: {session}\r\n")
            return await _stop(testbed, session, keys, [client], before)


async def stop_run(testbed: ServiceTestbed, session: str) -> Stopped:
    """A run of forty calls at once, in three levels of agents, is stopped."""
    with trio.fail_after(END_TIMEOUT):
        before = testbed.active_requests
        async with AsyncExitStack() as stack:
            clients: list[Client] = []
            keys: list[str] = []
            for number in range(10):
                for agent, parent, enter in (
                    ("", "", asked("silent")),
                    ("a", "", asked("stall", said=b"request", stream=True)),
                    ("b", "a", asked("silent", path="/v1/chat/completions")),
                    (f"c{number % 3}", "b", gateway("silent")),
                ):
                    client = await stack.enter_async_context(await testbed.client())
                    lines = f"X-Session-Id: {session}\r\n"
                    lines += f"X-Session-Agent-Id: {agent}\r\n" if agent else ""
                    lines += f"X-Session-Parent-Agent-Id: {parent}\r\n" if parent else ""
                    keys += await enter(testbed, testbed.tag(), client, lines)
                    clients.append(client)
            return await _stop(testbed, session, keys, clients, before)


async def _stop(testbed: ServiceTestbed, session: str, keys: list[str], clients: list[Client], before: int) -> Stopped:
    await trio.sleep(0.002)  # what was to be done at once has been done
    queued, worked, began = waited_for_cpu(), time.thread_time(), trio.current_time()
    receipt = await send_stop(testbed, session)
    while testbed.active_requests > before:
        await trio.lowlevel.checkpoint()
    context = trio.current_time() - began
    left = await testbed.wait_abandoned(*keys)
    took = Durations(max(0.0, left - began) if left else 0.0, context, waited_for_cpu() - queued)
    worked = time.thread_time() - worked
    for client in clients:
        with trio.move_on_after(CLOSE_TIMEOUT):
            await client.rest()
    return Stopped(took, clients, receipt, worked)
