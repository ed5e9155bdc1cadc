"""What is measured of one gateway, and how. Every measurement starts it anew and gives named figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tools.bench import disconnect_latency, load
from tools.bench.accounting import accounting
from tools.bench.forms import measure_forms
from tools.bench.gateways import Lakehouse
from tools.bench.load import Target
from tools.bench.peer import Peer
from tools.bench.process import Running, established
from tools.bench.relays import Direct
from tools.bench.streams import hold_streams
from tools.bench.upstream import PIECES, SLOW_PIECES
from tools.bench.upstream import PORT as UPSTREAM_PORT

Figures = Mapping[str, float]
Measure = Callable[["Bench", type[Peer]], Figures]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where and how long to measure."""

    directory: Path
    gateway_cores: str
    load_cores: str
    seconds: float
    connections: tuple[int, ...]
    streams: tuple[int, ...]
    tries: int
    crowd: int

    def rate(self, target: Target, connections: int, *, seconds: float = 0) -> load.Rate:
        """Requests a second, once the gateway is warm."""
        return load.requests(
            target,
            connections=connections,
            seconds=seconds or self.seconds,
            cores=self.load_cores,
            directory=self.directory,
        )

    def warm(self, target: Target) -> None:
        """Have it asked for a second; slow ones answer nothing in that time."""
        with suppress(RuntimeError):
            self.rate(target, 16, seconds=1)

    def cost(
        self, running: Running, target: Target, connections: int, *, seconds: float = 0
    ) -> tuple[load.Rate, float]:
        """The rate, and the gateway's CPU time for one request in microseconds."""
        before = running.cpu_seconds()
        rate = self.rate(target, connections, seconds=seconds)
        return rate, (running.cpu_seconds() - before) / rate.requests * 1e6


def requests(bench: Bench, peer: type[Peer]) -> Figures:
    """Relayed GETs of 1 KiB and whole chats."""
    figures: dict[str, float] = {}
    gateway = peer(bench.directory)
    with gateway.start(cores=bench.gateway_cores) as running:
        for kind, target in (("get", gateway.get()), ("chat", gateway.chat("whole"))):
            if target is None:
                continue
            bench.warm(target)
            for connections in bench.connections:
                rate, cost = bench.cost(running, target, connections)
                name = f"{kind}_{connections}"
                figures |= {f"{name}_rate": rate.per_second, f"{name}_p50": rate.p50, f"{name}_p99": rate.p99}
                figures[f"{name}_cpu"] = cost
    return figures


def streams(bench: Bench, peer: type[Peer]) -> Figures:
    """The first piece of a stream alone, and the pieces of 16 streams that come as fast as they can."""
    gateway = peer(bench.directory)
    with gateway.start(cores=bench.gateway_cores) as running:
        target = gateway.chat("burst")
        bench.warm(target)
        first = load.first_piece(gateway.chat("first"), tries=100)
        rate, cost = bench.cost(running, target, 16, seconds=2 * bench.seconds + 2)
        return {"first_piece": first * 1e6, "pieces": rate.per_second * PIECES, "piece_cpu": cost / PIECES}


def held(bench: Bench, peer: type[Peer]) -> Figures:
    """Crowds of slow streams, ten pieces a second each."""
    figures: dict[str, float] = {}
    for count in bench.streams:
        gateway = peer(bench.directory)
        with gateway.start(cores=bench.gateway_cores) as running:
            load.first_piece(gateway.chat("burst"), tries=20)  # what the first stream of all brings is no stream's
            idle, cpu = running.resident_bytes(), running.cpu_seconds()
            duration = SLOW_PIECES / 10
            seen = hold_streams(gateway.chat("slow"), streams=count, duration=duration, resident=running.resident_bytes)
            expected = count * SLOW_PIECES
            figures |= {
                f"held_{count}_delivered": seen.pieces / expected * 100,
                f"held_{count}_late": (seen.late + expected - seen.pieces) / expected * 100,
                f"held_{count}_flowing": seen.flowing,
                f"held_{count}_worst": seen.worst * 1000,
                f"held_{count}_memory": (seen.resident - idle) / max(seen.flowing, 1) / 1000,
                f"held_{count}_cpu": (running.cpu_seconds() - cpu) / seen.seconds * 100,
            }
    return figures


def bodies(bench: Bench, peer: type[Peer]) -> Figures:
    """One body of 100 MB each way."""
    figures: dict[str, float] = {}
    gateway = peer(bench.directory)
    file = bench.directory / "up" / "files" / "100mb"
    with gateway.start(cores=bench.gateway_cores):
        if (down := gateway.get("/down")) is not None:
            figures["down"] = median(load.large_body(down, cores=bench.load_cores) for _ in range(3))
        if (up := gateway.post()) is not None:
            figures["up"] = median(load.large_body(up, cores=bench.load_cores, upload=file) for _ in range(3))
    return figures


def client_gone(bench: Bench, peer: type[Peer]) -> Figures:
    """From a client's leaving to the end of its upstream connection, waiting and in a stream."""
    figures: dict[str, float] = {}
    if peer is Direct:
        return figures
    gateway = peer(bench.directory, upstream=disconnect_latency.URL)
    with disconnect_latency.watched_upstream() as upstream, gateway.start(cores=bench.gateway_cores):
        for name, kind in (("waiting", "whole"), ("streaming", "slow")):
            times = [
                disconnect_latency.measure_disconnect(
                    gateway.chat(kind), upstream, mark=f"{name} {n}", streaming=kind == "slow"
                )
                for n in range(bench.tries)
            ]
            ended = [seconds for seconds in times if seconds < disconnect_latency.NEVER]
            figures[f"gone_{name}_share"] = len(ended) / len(times) * 100
            if ended:
                figures |= {f"gone_{name}": median(ended) * 1000, f"gone_{name}_worst": max(ended) * 1000}
    return figures


def start(bench: Bench, peer: type[Peer]) -> Figures:
    """From the command to the first answer, and memory before any work."""
    if peer is Direct:
        return {}
    with peer(bench.directory).start(cores=bench.gateway_cores) as running:
        ready = running.ready_after
        time.sleep(1)
        return {"start": ready * 1000, "idle": running.resident_bytes() / 1e6}


def messages(bench: Bench, peer: type[Peer]) -> Figures:
    """Whole chats with messages of 1 KB, 100 KB and 5 MB, four at a time."""
    figures: dict[str, float] = {}
    gateway = peer(bench.directory)
    with gateway.start(cores=bench.gateway_cores) as running:
        for name, size in (("1k", 0), ("100k", 100_000), ("5m", 5_000_000)):
            rate, cost = bench.cost(running, gateway.chat("whole", size=size), 4, seconds=3)
            figures |= {f"message_{name}_rate": rate.per_second, f"message_{name}_cpu": cost / 1000}
    return figures


def crowds(bench: Bench, peer: type[Peer]) -> Figures:
    """The cost of a request beside idle upstream connections, and beside idle clients, to that with none."""
    figures: dict[str, float] = {}
    gateway = peer(bench.directory)
    target, wait = gateway.get(), gateway.get("/wait")
    if target is None or wait is None or peer is Direct:
        return figures
    with gateway.start(cores=bench.gateway_cores) as running:
        bench.warm(target)
        _, alone = bench.cost(running, target, 64)
        memory = running.resident_bytes()
        with load.idle_clients(target, bench.crowd):
            _, beside = bench.cost(running, target, 64)
            figures["idle_client_memory"] = (running.resident_bytes() - memory) / bench.crowd / 1000
        _, after = bench.cost(running, target, 64)
        figures["idle_clients"] = beside / ((alone + after) / 2) * 100
        load.at_once(wait, 1000)
        _, beside = bench.cost(running, target, 64)
        figures["idle_upstreams"] = beside / after * 100
        figures["idle_upstreams_count"] = established(UPSTREAM_PORT)
    return figures


def tiers(bench: Bench, peer: type[Peer]) -> Figures:
    """The cost of a whole chat with 1,000 tiers to that with none."""
    if not issubclass(peer, Lakehouse):
        return {}
    return {"tiers": _compare(bench, peer(bench.directory), peer(bench.directory, tiers=1000))}


def providers(bench: Bench, peer: type[Peer]) -> Figures:
    """The cost of a whole chat with 1,000 further providers to that with six."""
    if not issubclass(peer, Lakehouse):
        return {}
    further = "".join(
        f'[providers.further{number}]\nwire = "chat_completions"\nbase_url = "http://127.0.0.1:9/{number}"\n'
        for number in range(1000)
    )
    return {"providers": _compare(bench, peer(bench.directory), peer(bench.directory, options=further))}


def _compare(bench: Bench, few: Lakehouse, many: Lakehouse) -> float:
    """The cost of a whole chat at `many` in per cent of that at `few`."""
    costs: dict[Lakehouse, list[float]] = {few: [], many: []}
    for _ in range(2):
        for gateway, seen in costs.items():
            with gateway.start(cores=bench.gateway_cores) as running:
                bench.warm(gateway.chat("whole"))
                seen.append(bench.cost(running, gateway.chat("whole"), 64)[1])
    return sum(costs[many]) / sum(costs[few]) * 100


def workers(bench: Bench, peer: type[Peer]) -> Figures:
    """Two workers on both cores against one on one; the load shares one of them, so twice is out of reach."""
    if not issubclass(peer, Lakehouse):
        return {}
    figures: dict[str, float] = {}
    for count, cores in ((1, bench.gateway_cores), (2, f"{bench.gateway_cores},{bench.load_cores}")):
        gateway = peer(bench.directory, workers=count)
        with gateway.start(cores=cores) as running:
            for kind, target in (("get", gateway.get()), ("chat", gateway.chat("whole"))):
                bench.warm(target)
                rate, cost = bench.cost(running, target, 64)
                figures |= {f"workers_{count}_{kind}_rate": rate.per_second, f"workers_{count}_{kind}_cpu": cost}
    return figures


def forms(bench: Bench, peer: type[Peer]) -> Figures:
    """Chats of each form, relayed and rebuilt."""
    if not issubclass(peer, Lakehouse):
        return {}
    return measure_forms(
        bench.directory, gateway_cores=bench.gateway_cores, load_cores=bench.load_cores, seconds=1, rounds=3
    )


SCENARIOS: Mapping[str, Measure] = {
    "start": start,
    "requests": requests,
    "streams": streams,
    "held": held,
    "bodies": bodies,
    "gone": client_gone,
    "messages": messages,
    "crowds": crowds,
    "tiers": tiers,
    "providers": providers,
    "workers": workers,
    "accounting": accounting,
    "forms": forms,
}
