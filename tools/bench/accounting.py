"""What accounting costs: the CPU time of a request that names its session, and with the system tables on.

The variants take turns of a second in one process, in an order of chance. What other programs do to the machine only
ever adds time, so of each variant the fastest quarter of its turns counts. A variant with a session is compared with
the same request whose header means nothing: its client sends the header whether or not anybody reads it.

The work of other processes comes in bursts, so all of it is divided by all requests with tables; of the starts of the
service, the one with the least of it counts. That of the services process, after which a row is durable, is part of the
cost of the request. That of the engines, which make segments of rows that have been stored long ago, is a figure of its
own.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import mean
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

from tools.bench.gateways import Lakehouse
from tools.bench.load import Target
from tools.bench.peer import JSON, PORT, Peer
from tools.bench.process import Running

if TYPE_CHECKING:
    from tools.bench.measure import Bench

CONNECTIONS = 16
STARTS = 3
"""Of the service, for each kind of request."""
TURN = 1.0
"""Seconds of load."""
FLUSHED_AFTER = 1.2
"""Seconds after a turn with the tables when its last rows have been sent: that is part of its cost."""
WARM_REQUESTS = 30_000
"""Enough rows for a segment: the engine that writes it is started once, not for each."""
SERVICES = "lakehouse.services.host.process"
"""In the command of the services process."""
SAMPLES = 2000
"""Of the bootstrap."""

SESSION = "x-session-id: 6f1c1f0e-1f39-4a53-9a3c-3f1d8a0b7c11"
OTHER_HEADER = "x-sessiom-id: 6f1c1f0e-1f39-4a53-9a3c-3f1d8a0b7c11"
"""A header of the same size that means nothing."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Whether the service has the system tables, the header of the requests, and the variant to compare with."""

    tables: bool = False
    header: str = ""
    base: str = "none"


VARIANTS: Mapping[str, Variant] = {
    "none": Variant(),
    "header": Variant(header=OTHER_HEADER),
    "session": Variant(header=SESSION, base="header"),
    "tables": Variant(tables=True),
    "both": Variant(tables=True, header=SESSION, base="header"),
}

Round = Mapping[str, float]
"""Microseconds of CPU time of a request in the process that serves it, by variant, of turns one after the other."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one start: the rounds, and microseconds of CPU time in other processes for a request with the tables: to store
    its row, and to make segments."""

    rounds: Sequence[Round]
    stored: float
    segments: float


def accounting(bench: Bench, peer: type[Peer]) -> Mapping[str, float]:
    """The CPU time of relayed GETs and whole chats in each variant, in per cent of its base, and intervals of 95 %."""
    if not issubclass(peer, Lakehouse):
        return {}
    figures: dict[str, float] = {}
    for kind in ("get", "chat"):
        costs = [_measure_start(bench, peer, kind) for _ in range(STARTS)]
        figures[f"accounting_{kind}_cpu"] = mean(_average_fastest(cost.rounds, "none") for cost in costs)
        figures[f"accounting_{kind}_stored"] = min(cost.stored for cost in costs)
        figures[f"accounting_{kind}_segments"] = min(cost.segments for cost in costs)
        for name in VARIANTS.keys() - {"none"}:
            low, middle, high = _compare(costs, name)
            prefix = f"accounting_{kind}_{name}"
            figures |= {prefix: middle, f"{prefix}_low": low, f"{prefix}_high": high}
    return figures


def _measure_start(bench: Bench, peer: type[Lakehouse], kind: str) -> Cost:
    """Start the service, and give its variants the load in rounds."""
    directory = bench.directory / "accounting"
    shutil.rmtree(directory, ignore_errors=True)
    options = f'[lake]\npath = "{directory}/lake"\nstart = "eager"'
    gateway = peer(directory, port=PORT + 1, options=options, module="tools.bench.switched")
    target = gateway.get() if kind == "get" else gateway.chat("whole")
    with gateway.start(cores=bench.gateway_cores) as running:
        warm = 0
        while warm < WARM_REQUESTS:
            warm += bench.rate(target, CONNECTIONS, seconds=TURN).requests
        _make_segments(gateway)
        before, requests, rounds = _measure_others(running), 0, []
        for _ in range(bench.tries * 3 // 2):
            costs = {}
            for name in random.sample(sorted(VARIANTS), len(VARIANTS)):
                variant = VARIANTS[name]
                headers = [*target.headers, *filter(None, [variant.header])]
                costs[name], count = _take_turn(bench, running, replace(target, headers=headers), tables=variant.tables)
                requests += count * variant.tables
            rounds.append(costs)
        _make_segments(gateway)
        stored, segments = (
            (now - then) / requests * 1e6 for now, then in zip(_measure_others(running), before, strict=True)
        )
        return Cost(rounds=rounds, stored=stored, segments=segments)


def _measure_others(running: Running) -> tuple[float, float]:
    """The CPU time of the services process so far, and that of the engines, in seconds."""
    stored = running.child_cpu_seconds(SERVICES)
    return stored, running.cpu_seconds() - running.own_cpu_seconds() - stored


def _take_turn(bench: Bench, running: Running, target: Target, *, tables: bool) -> tuple[float, int]:
    """Send requests for one turn. Returns microseconds of CPU time for one, and their number."""
    with _recording(running, tables=tables):
        before = running.own_cpu_seconds()
        requests = bench.rate(target, CONNECTIONS, seconds=TURN).requests
        time.sleep(FLUSHED_AFTER if tables else 0.1)
        return (running.own_cpu_seconds() - before) / requests * 1e6, requests


@contextmanager
def _recording(running: Running, *, tables: bool) -> Iterator[None]:
    """Record requests in the system tables for the block, or not."""
    running.process.send_signal(signal.SIGUSR1 if tables else signal.SIGUSR2)
    time.sleep(0.1)
    yield


def _make_segments(gateway: Lakehouse) -> None:
    """Read the system tables, for which rows become segments that are too many otherwise."""
    body = json.dumps({"sql": "SELECT count(*) FROM lakehouse.requests"}).encode()
    headers = dict(header.split(": ", 1) for header in (gateway.TOKEN, JSON))
    request = Request(f"http://127.0.0.1:{gateway.port}/v1/sql", body, headers)
    with urlopen(request, timeout=60) as answer:
        answer.read()


def _compare(costs: Sequence[Cost], name: str) -> tuple[float, float, float]:
    """The cost of a variant in per cent of its base, the mean over the starts, and the interval in which 95 % of those
    are whose rounds are drawn by chance."""
    stored = min(cost.stored for cost in costs)
    drawn = sorted(
        mean(_divide(random.choices(cost.rounds, k=len(cost.rounds)), name, stored) for cost in costs)
        for _ in range(SAMPLES)
    )
    return drawn[SAMPLES // 40], mean(_divide(cost.rounds, name, stored) for cost in costs), drawn[-SAMPLES // 40]


def _divide(rounds: Sequence[Round], name: str, stored: float) -> float:
    variant = VARIANTS[name]
    spent = _average_fastest(rounds, name) + stored * variant.tables
    return spent / _average_fastest(rounds, variant.base) * 100


def _average_fastest(rounds: Sequence[Round], name: str) -> float:
    """The mean of the fastest quarter of a variant's turns."""
    turns = sorted(one[name] for one in rounds)
    return mean(turns[: max(1, len(turns) // 4)])
