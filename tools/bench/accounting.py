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
TURN = 1.0
"""Seconds for which a service has the load, before the next one has it."""

SETTLED_AFTER = 1.5
"""Seconds after which the last rows are stored."""

SESSION = "x-session-id: 6f1c1f0e-1f39-4a53-9a3c-3f1d8a0b7c11"
OTHER_HEADER = "x-sessiom-id: 6f1c1f0e-1f39-4a53-9a3c-3f1d8a0b7c11"
"""A header of the same size that means nothing."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A service, and the header of its requests."""

    tables: bool = False
    header: str = ""


VARIANTS: Mapping[str, Variant] = {
    "none": Variant(),
    "header": Variant(header=OTHER_HEADER),
    "session": Variant(header=SESSION),
    "tables": Variant(tables=True),
    "both": Variant(tables=True, header=SESSION),
}
"""Each has a service of its own, with all processes of the lake: what one does later is not counted for another."""


@dataclass(kw_only=True)
class _Service:
    """The service of a variant, with its CPU time when it had been warmed, and the requests since then."""

    running: Running
    target: Target
    began: float = 0.0
    requests: int = 0

    def cost(self) -> float:
        """Microseconds of CPU time for one request, in all processes."""
        return (self.running.cpu_seconds() - self.began) / self.requests * 1e6


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
    """The cost of a request in each variant. The services have the load in turns, each round begins with another."""
    with ExitStack() as stack:
        services = {name: _start(stack, bench, peer, name, kind) for name in VARIANTS}
        for service in services.values():
            bench.warm(service.target)
            service.began = service.running.cpu_seconds()
        turns = list(services.values())
        for _ in range(bench.tries):
            for service in turns:
                service.requests += bench.rate(service.target, CONNECTIONS, seconds=TURN).requests
            turns.append(turns.pop(0))
        time.sleep(SETTLED_AFTER)
        return {name: service.cost() for name, service in services.items()}


def _start(stack: ExitStack, bench: Bench, peer: type[Lakehouse], name: str, kind: str) -> _Service:
    variant = VARIANTS[name]
    directory = bench.directory / "accounting" / name
    shutil.rmtree(directory, ignore_errors=True)
    options = f"""
        [lake]
        path = "{directory}/lake"
        start = "eager"
        [observe.system_tables]
        enabled = {str(variant.tables).lower()}"""
    gateway = peer(directory, port=PORT + 1 + list(VARIANTS).index(name), options=options)
    running = stack.enter_context(gateway.start(cores=bench.gateway_cores))
    target = gateway.get() if kind == "get" else gateway.chat("whole")
    headers = [*target.headers, *filter(None, [variant.header])]
    return _Service(running=running, target=replace(target, headers=headers))
