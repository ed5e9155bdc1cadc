"""Whether anything outlives its request, in figures: the whole service and its upstreams in one process.

    python -m tools.lifetime leaving [TRIES]     from a client's leaving to the end of the work done for it
    python -m tools.lifetime aborts [NUMBER]     what is left of requests that were aborted at random instants
    python -m tools.lifetime limits              stalled readers, silent upstreams, healthy streams
    python -m tools.lifetime hostile             the responses to the table of hostile requests

Exits with 1 when a promise is not kept. The tests run the same phases.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import replace
from functools import partial

import trio

from tools.kit.hostile_client import run_hostile_client
from tools.kit.hostile_requests import LIMITS, TABLE
from tools.kit.lifetime.aborts import aborts, resident, successes
from tools.kit.lifetime.leaving import busy_neighbours, leave_phase
from tools.kit.lifetime.limits import DEADLINE, SILENT, STALL, answered_late, healthy_stream, stalled_reader
from tools.kit.lifetime.phases import PHASES
from tools.kit.lifetime.testbed import SLOW, open_testbed
from tools.kit.raw_http import GET, Client, RunningServer

MEDIAN, LONGEST = 1e-3, 20e-3
"""Seconds: the promise."""


async def leaving(tries: int = 50) -> bool:
    """How long it takes, by phase and by way of leaving."""
    print(f"{'client leaves while':36}{'how':5}{'upstream p50':>14}{'max':>7}{'request p50':>13}{'max':>7}   ms")
    kept = True
    async with open_testbed() as stage:
        for phase in PHASES:
            for how in phase.ways:
                async with busy_neighbours(stage, phase):
                    await leave_phase(stage, phase, how)
                    took = [await leave_phase(stage, phase, how) for _ in range(tries)]
                columns = []
                for times in zip(*((one.upstream, one.context) for one in took), strict=True):
                    middle, longest = statistics.median(times), max(times)
                    columns.append(f"{1e3 * middle:13.2f}{1e3 * longest:7.2f}" if longest else f"{'-':>13}{'-':>7}")
                print(f"{phase.name:36}{how:5} {''.join(columns)}", flush=True)
                promised = [one.promised for one in took]
                kept = kept and statistics.median(promised) < MEDIAN and max(promised) < LONGEST
        left = await stage.quiet()
    print(f"in the end: {left}")
    return kept and left[2:] == (0, 0, 0, 0, 0)


async def aborted(number: int = 10_000) -> bool:
    """What is left of requests that were given up at random instants, on pools of 10."""
    async with open_testbed(gateway={"max_connections": 10}, chatd={"max_connections": 10}) as stage:
        await aborts(stage, number // 10, seed=1)
        await successes(stage, 200, clients=10)
        before, memory, began = await stage.quiet(), resident(), time.perf_counter()
        await aborts(stage, number, seed=2)
        after = await stage.settle(before)
        print(f"{number} requests aborted in {time.perf_counter() - began:.1f} s")
        for name, value in before._asdict().items():
            print(f"{name:16}{value:6} -> {getattr(after, name)}")
        good = await successes(stage, 1000, clients=10)
        grown = resident() - memory
        print(f"{'memory, MB':16}{memory:6.1f} -> {memory + grown:.1f}")
        print(f"of the next 1000 requests {good} succeeded")
        return after == before == await stage.settle(before) and grown < 10 and good == 1000


async def limits(tries: int = 10) -> bool:
    """Deadlines, stalled readers, and a stream that no limit may cut."""
    kept = True
    async with open_testbed() as stage:
        for name, request in SILENT.items():
            await answered_late(stage, request)
            answers = [await answered_late(stage, request) for _ in range(tries)]
            seconds = [taken for taken, _ in answers]
            kept = kept and min(seconds) >= DEADLINE - 0.01 and max(seconds) <= DEADLINE + 0.1
            said = {status.decode() for _, status in answers}
            print(f"deadline of {DEADLINE:g} s, {name}: {min(seconds):.3f} to {max(seconds):.3f} s, {said}")
    stalled = await stalled_reader()
    print(f"a reader that takes nothing for {STALL:g} s is cut after {stalled:.3f} s")
    async with open_testbed(chatd={"timeout": 0.3, "first_token_timeout": 0.3, "idle_timeout": 0.3}) as stage:
        stage.provider.profile = replace(SLOW, pause=0.2)
        lasted, said_ = await healthy_stream(stage, "drip.x", "X-Request-Timeout-Ms: 300\r\n")
        whole = b'"type":"done"' in said_
        print(f"a stream with limits of 0.3 s lasted {lasted:.1f} s and was {'whole' if whole else 'cut'}")
    return kept and STALL - 0.05 < stalled < STALL + 0.5 and whole


async def hostile() -> bool:
    """The table of hostile inputs, thrown at the whole service; what each gets, and how long the next client waits."""
    worst = 0.0
    async with open_testbed(limits=LIMITS) as stage:
        server_state = RunningServer(None, stage.port)
        for name in TABLE:
            got = await run_hostile_client(server_state, name)
            began = time.perf_counter()
            with trio.move_on_after(1):
                async with Client(await trio.open_tcp_stream("127.0.0.1", stage.port)) as client:
                    await client.send(GET.replace(b"GET / ", b"GET /healthz "))
                    assert (await client.response())[0] == 200
            taken = time.perf_counter() - began
            worst = max(worst, taken)
            print(f"{name:52} {got[:20]:21}next client {1e3 * taken:6.1f} ms")
        left = await stage.quiet()
    print(f"{len(TABLE)} rows; the longest that a next client waited: {1e3 * worst:.1f} ms; in the end: {left}")
    return worst < 1 and left[2:5] == (0, 0, 0)


SCENES = {"leaving": leaving, "aborts": aborted, "limits": limits, "hostile": hostile}


def main(arguments: list[str]) -> int:
    """Play what is asked for, everything by default; 1 when a promise was not kept."""
    names, numbers = [a for a in arguments if a in SCENES], [int(a) for a in arguments if a not in SCENES]
    kept = [trio.run(partial(SCENES[name], *numbers)) for name in names or SCENES]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
