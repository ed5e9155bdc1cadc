"""A session is a scope: its stop ends its requests in every phase, with everything that they have started."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tools.kit.lifetime.leaving import busy_neighbours
from tools.kit.lifetime.phases import PHASES, Phase, chat_request
from tools.kit.lifetime.stopping import stop_phase, stop_run
from tools.kit.lifetime.testbed import ServiceTestbed, open_testbed
from tools.kit.matrices import spread

pytestmark = pytest.mark.alone  # measures the time from a stop to the end of the work

END = 0.02
"""Seconds from DELETE to the end of the last upstream connection, but for the machine's work for others."""

WAIT = 0.005
"""Seconds of it, at most, in which nothing is done: the rest is the work of ending forty requests, with their clients and
upstreams, in one thread. A slow machine takes more than `END` for that."""

SHARE = 0.3
"""Of the processor time of a run, that from its stop to the end of the last call, at most. It is 0.1 to 0.2."""

TRIES = 20
"""A machine that is busy makes single measurements late; a service that is late is late in all of them."""


async def refused(stage: ServiceTestbed, session: str) -> Any:
    """The error of the next call of a session."""
    async with await stage.client() as client:
        await client.send(chat_request("ok.x", f"X-Session-Id: {session}\r\nConnection: close\r\n"))
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 "), head
    return json.loads(body)["error"]


@pytest.mark.parametrize("phase", spread(PHASES, 3), ids=[phase.name for phase in PHASES])
async def test_a_stopped_session_ends_everything(phase: Phase) -> None:
    """400 when nothing of the answer is out; a stream is told its end, and any other answer is cut."""
    async with open_testbed() as stage, busy_neighbours(stage, phase):
        await stop_phase(stage, phase)  # what is made once and kept is made now
        before = await stage.quiet()
        for _ in range(TRIES):
            took, (client,), receipt, _ = await stop_phase(stage, phase)
            assert await stage.settle(before) == before
            assert receipt["calls"] == 1
            if took.own < END:
                break
        else:
            pytest.fail(f"late each time: {took}")
        assert (await refused(stage, receipt["id"]))["code"] == "ErrSessionStopped"
    said = b"the session %b is over" % receipt["id"].encode()
    if not phase.head_out:
        assert client.said.startswith(b"HTTP/1.1 400 ")
        assert said in client.said
    elif b"text/event-stream" in client.said or b"application/x-ndjson" in client.said:
        assert client.said.endswith(b"0\r\n\r\n")
        assert said in client.said
    else:
        assert not client.said.endswith(b"0\r\n\r\n")
        if b"Sec-WebSocket-Accept" in client.said or b"sec-websocket-accept" in client.said:
            assert client.said.endswith(b"\x03\xf0ErrSessionStopped")  # 1008, a violation of a policy


async def test_forty_calls_in_three_levels_of_agents_are_ended_at_once() -> None:
    wide = {"max_connections": 64}
    async with open_testbed(gateway=wide, chatd=wide) as stage, await stage.client() as neighbour:
        await neighbour.send(chat_request("stall.neighbour", "X-Session-Id: other\r\n", stream=True))
        await neighbour.until(b"request")
        await stop_run(stage, "warm")
        before = await stage.quiet()
        for number in range(TRIES):
            started = time.thread_time()
            took, clients, receipt, worked = await stop_run(stage, f"run-{number}")
            share = worked / (time.thread_time() - started)
            assert await stage.settle(before) == before
            if took.own < END or (took.own - worked < WAIT and share < SHARE):
                break
        else:
            pytest.fail(f"late each time: {took}, {worked} s of it worked, {share} of the run's work")
        assert (receipt["calls"], receipt["agents"], receipt["known"]) == (40, 6, True)
        assert {call["agent"] for call in receipt["ended"]} == {None, "a", "b", "c0", "c1", "c2"}
        streams = [client.said for client in clients if client.said.startswith(b"HTTP/1.1 200 ")]
        assert (len(clients), len(streams)) == (40, 10)
        assert all(said.endswith(b"0\r\n\r\n") and b"ErrSessionStopped" in said for said in streams)
        assert all(client.said.startswith(b"HTTP/1.1 400 ") for client in clients if client.said not in streams)
        assert (await refused(stage, receipt["id"]))["details"] == {"session": receipt["id"]}
        assert stage.active_requests == 1  # the neighbour's
        stopped = {visit.client_left for visit in stage.recorded("stall.neighbour")}
        assert stopped == {None}
