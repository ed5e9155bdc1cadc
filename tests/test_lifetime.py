"""Nothing outlives its request: the whole service, in every phase, by every way of ending.

The scene is `tools.lifetime`: clients, service and upstreams in this one process, so that everything can be counted.
`python -m tools.lifetime` prints the same as figures.
"""

from __future__ import annotations

import errno
import os
import statistics
from dataclasses import replace

import pytest
import trio
import trio.testing

from tools.lifetime.aborts import aborts, resident, successes
from tools.lifetime.leaving import Took, crowd, drain, leave, overtake
from tools.lifetime.limits import DEADLINE, SILENT, STALL, answered_late, healthy_stream, stalled_reader
from tools.lifetime.phases import PHASES, Phase
from tools.lifetime.scene import SLOW, Scene, scene

MEDIAN, LONGEST = 1e-3, 20e-3
"""Seconds from a client's leaving to the moment in which the upstream sees the end of its connection."""

TRIES = 8
ROUNDS = 8
"""A machine that is busy with something else makes everybody late: a promise that is kept is kept in one of them."""

IDS = [phase.name for phase in PHASES]


async def rounds(stage: Scene, phase: Phase, how: str) -> list[Took]:
    """A round in which the promise was kept, or the last one."""
    for _ in range(ROUNDS):
        took = [await leave(stage, phase, how) for _ in range(TRIES)]
        if kept(took):
            break
    return took


def kept(took: list[Took]) -> bool:
    """Whether the promise was kept."""
    seconds = [one.promised for one in took]
    return statistics.median(seconds) < MEDIAN and max(seconds) < LONGEST


@pytest.mark.parametrize("phase", PHASES, ids=IDS)
async def test_a_client_that_leaves_ends_everything_at_once(phase: Phase) -> None:
    async with scene() as stage:
        for how in phase.ways:
            async with crowd(stage, phase):
                await leave(stage, phase, how)  # what is made once and kept is made now
                before = await stage.quiet()
                took = await rounds(stage, phase, how)
                assert await stage.settle(before) == before
            assert kept(took), (how, took)


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase.deadline], ids=lambda phase: phase.name)
async def test_a_deadline_ends_everything(phase: Phase) -> None:
    """504 when nothing of the answer is out; an answer that has begun is cut, and does not look complete."""
    seconds = 0.25
    async with scene() as stage, crowd(stage, phase):
        await leave(stage, phase, phase.ways[-1])
        before = await stage.quiet()
        took, client, lasted = await overtake(stage, phase, seconds)
        assert await stage.settle(before) == before
    assert max(took) < 0.25
    if phase.head_out:
        assert not client.said.endswith(b"0\r\n\r\n")
    else:
        assert seconds - 0.01 < lasted < seconds + 0.25
        assert client.said.startswith(b"HTTP/1.1 504 ")
        assert b'"code":"ErrTimeout"' in client.said or b'"code":"timeout"' in client.said


@pytest.mark.parametrize("phase", PHASES, ids=IDS)
async def test_the_end_of_draining_ends_everything(phase: Phase) -> None:
    """503 when nothing of the answer is out; an answer that has begun is cut, or told its end if it is a stream."""
    async with scene() as stage, crowd(stage, phase):
        took, client = await drain(stage, phase)
    after = await stage.settle(stage.census()._replace(in_use=0, waiting=0, flights=0, clients=0, strays=0))
    assert after[2:] == (0, 0, 0, 0, 0)
    assert max(took) < 0.25
    if phase.head_out:
        assert b" 503 " not in client.said
        streamed = b"text/event-stream" in client.said
        assert client.said.endswith(b"0\r\n\r\n") == streamed == (b"shutting down" in client.said)
    else:
        assert client.said.startswith(b"HTTP/1.1 503 ")


async def test_ten_thousand_requests_aborted_at_random_instants_leave_nothing() -> None:
    pools = {"gateway": {"max_connections": 10}, "chatd": {"max_connections": 10}}
    async with scene(**pools) as stage:
        await aborts(stage, 1_000, seed=1)  # what Python and its allocator keep for ever is kept now
        assert await successes(stage, 200, clients=10) == 200
        before, memory = await stage.quiet(), resident()
        await aborts(stage, 10_000, seed=2)
        assert await stage.settle(before) == before
        assert resident() - memory < 10
        assert await successes(stage, 1_000, clients=10) == 1_000
        assert await stage.settle(before) == before
        busy = [pool for pool in stage.house.sources.pools() if pool.idle]
        assert {pool.name for pool in busy} == {"storaged", "ollama"}
        assert all(pool.idle <= 10 for pool in busy)


async def test_a_deadline_of_300_ms_is_answered_in_time() -> None:
    """Whatever waits for whom; a few times, for the machine may be busy in some of them."""
    took: dict[str, list[float]] = {name: [] for name in SILENT}

    async def ask(name: str) -> None:
        seconds, status = await answered_late(stage, SILENT[name])
        assert status.startswith(b"HTTP/1.1 504 ")
        took[name].append(seconds)

    async with scene() as stage:
        for _ in range(4):
            async with trio.open_nursery() as nursery:
                for name in SILENT:
                    nursery.start_soon(ask, name)
    assert all(DEADLINE - 0.01 <= min(seconds) <= DEADLINE + 0.1 for seconds in took.values()), took


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.EMFILE])
async def test_a_connection_that_fails_before_it_is_accepted_ends_nothing(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that a firewall forbids, or whose client was gone before anybody looked."""
    listener = trio.socket.socket()
    accept = type(listener).accept
    listener.close()
    failed = set()

    async def fail_once(self: trio.socket.SocketType) -> object:
        """Once for each socket that listens: the service's, and those of its upstreams, which are trio's own."""
        if self not in failed:
            failed.add(self)
            raise OSError(number, os.strerror(number))
        return await accept(self)

    monkeypatch.setattr(type(listener), "accept", fail_once)
    async with scene() as stage:
        assert await successes(stage, 2, clients=1) == 2
    assert len(failed) == 3


async def test_a_reader_that_stalls_is_cut_and_its_upstream_left() -> None:
    with trio.fail_after(10):
        assert STALL - 0.05 < await stalled_reader() < STALL + 0.5


@pytest.fixture
def hours_in_seconds() -> trio.testing.MockClock:
    """A clock that jumps when nothing happens. The threshold is for what the kernel does meanwhile, in real seconds."""
    return trio.testing.MockClock(autojump_threshold=0.02)


async def test_a_healthy_stream_is_cut_by_no_total_limit(hours_in_seconds: trio.testing.MockClock) -> None:
    """A piece every 50 s, which is in time for every limit of a silence, and beyond all limits of a whole."""
    async with scene(chatd={"timeout": 60, "first_token_timeout": 55, "idle_timeout": 60}) as stage:
        stage.provider.profile = replace(SLOW, pause=50)
        lasted, said = await healthy_stream(stage, "drip.x", "X-Request-Timeout-Ms: 55000\r\n")
    assert lasted > 400
    assert said.count(b'"type":"content"') == 9
    assert b'"type":"done"' in said
    assert said.endswith(b"0\r\n\r\n")
