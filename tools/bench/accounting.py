"""What accounting costs: the CPU time of a request that names its session, and with the system tables on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tools.bench.gateways import Lakehouse
from tools.bench.load import Target
from tools.bench.peer import PORT, Peer
from tools.bench.process import Running

if TYPE_CHECKING:
    from tools.bench.measure import Bench

CONNECTIONS = 16
TURN = 2.0
"""Seconds for which a variant has the load, before the next one has it."""

SETTLED_AFTER = 1.5
"""Seconds after which the last rows of a turn are stored."""

SESSION = "x-session-id: 6f1c1f0e-1f39-4a53-9a3c-3f1d8a0b7c11"
OTHER_HEADER = "x-sessiom-id: 6f1c1f0e-1f39-4a53-9a3c-3f1d8a0b7c11"
"""A header of the same size that means nothing."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Whether the service has the system tables, and the header of the requests."""

    tables: bool = False
    header: str = ""


VARIANTS: Mapping[str, Variant] = {
    "none": Variant(),
    "header": Variant(header=OTHER_HEADER),
    "session": Variant(header=SESSION),
    "tables": Variant(tables=True),
    "both": Variant(tables=True, header=SESSION),
}
"""Two starts of one service differ by up to a twentieth, so variants of one configuration share a service."""


@dataclass(kw_only=True)
class _Load:
    """The requests of a variant, and the CPU time that its service took for them."""

    running: Running
    target: Target
    seconds: float = 0.0
    requests: int = 0

    def add_turn(self, bench: Bench) -> None:
        """Send requests for one turn, and wait until nothing is left to do for them."""
        before = self.running.cpu_seconds()
        self.requests += bench.rate(self.target, CONNECTIONS, seconds=TURN).requests
        time.sleep(SETTLED_AFTER)
        self.seconds += self.running.cpu_seconds() - before

    def cost(self) -> float:
        """Microseconds of CPU time for one request, in all processes."""
        return self.seconds / self.requests * 1e6


def accounting(bench: Bench, peer: type[Peer]) -> Mapping[str, float]:
    """The CPU time of relayed GETs and of whole chats in each variant, in per cent of `none`."""
    if not issubclass(peer, Lakehouse):
        return {}
    figures: dict[str, float] = {}
    for kind in ("get", "chat"):
        costs = _measure_kind(bench, peer, kind)
        none = costs.pop("none")
        figures[f"accounting_{kind}_cpu"] = none
        figures |= {f"accounting_{kind}_{name}": cost / none * 100 for name, cost in costs.items()}
    return figures


def _measure_kind(bench: Bench, peer: type[Lakehouse], kind: str) -> dict[str, float]:
    """The cost of a request in each variant. They have the load in turns, each round begins with another."""
    with ExitStack() as stack:
        gateways = {tables: _make_gateway(bench, peer, tables=tables) for tables in (False, True)}
        running = {
            tables: stack.enter_context(gateway.start(cores=bench.gateway_cores))
            for tables, gateway in gateways.items()
        }
        loads: dict[str, _Load] = {}
        for name, variant in VARIANTS.items():
            gateway = gateways[variant.tables]
            target = gateway.get() if kind == "get" else gateway.chat("whole")
            target = replace(target, headers=[*target.headers, *filter(None, [variant.header])])
            loads[name] = _Load(running=running[variant.tables], target=target)
            bench.warm(target)
        turns = list(loads.values())
        for _ in range(bench.tries // 2):
            for load in turns:
                load.add_turn(bench)
            turns.append(turns.pop(0))
        return {name: load.cost() for name, load in loads.items()}


def _make_gateway(bench: Bench, peer: type[Lakehouse], *, tables: bool) -> Lakehouse:
    directory = bench.directory / "accounting" / f"tables-{tables}".lower()
    shutil.rmtree(directory, ignore_errors=True)
    options = f"""
        [lake]
        path = "{directory}/lake"
        start = "eager"
        [observe.system_tables]
        enabled = {str(tables).lower()}"""
    return peer(directory, port=PORT + 1 + tables, options=options)
