"""`python -m tools.bench`: measure the gateway beside its peers, in one run."""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tools.bench import report
from tools.bench.gateways import Lakehouse, LiteLLM, Portkey, Stock
from tools.bench.measure import SCENARIOS, Bench
from tools.bench.peer import Peer
from tools.bench.plot import plot
from tools.bench.relays import Caddy, Direct, Nginx
from tools.bench.report import Results, Sample
from tools.bench.upstream import fake_upstream

PEERS: tuple[type[Peer], ...] = (Direct, Nginx, Caddy, Lakehouse, Portkey, Stock, LiteLLM)


def main() -> None:
    """Parse the command line, measure, and write the report."""
    options = _options()
    peers = [peer for peer in PEERS if not options.peers or peer.name in options.peers]
    scenarios = [name for name in SCENARIOS if not options.scenarios or name in options.scenarios]
    bench = _bench(options)
    _allow_descriptors(bench.crowd + 4096)
    results = Results(
        command=f"python -m tools.bench {' '.join(sys.argv[1:])}".strip(),
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        machine=report.machine(),
    )
    installed = [peer for peer in peers if _install(peer, bench, results)]
    with fake_upstream(bench.directory / "up", cores=bench.load_cores):
        for scenario, repetition, peer in itertools.product(scenarios, range(options.repetitions), installed):
            results.samples.append(_measure(bench, peer, scenario, repetition))
            report.write(results, options.out)
    _plot(results, options.out)
    print((options.out / "bench.md").read_text())


def _plot(results: Results, directory: Path) -> None:
    try:
        plot(results.medians(), directory / "bench.svg", caption=f"{results.machine}, {results.date}")
    except ImportError:
        print("no plot: pip install --group bench", file=sys.stderr)


def _measure(bench: Bench, peer: type[Peer], scenario: str, repetition: int) -> Sample:
    started = time.perf_counter()
    sample = Sample(peer=peer.name, scenario=scenario, repetition=repetition)
    try:
        sample.figures.update(SCENARIOS[scenario](bench, peer))
    except (RuntimeError, OSError) as error:
        sample.error = f"{type(error).__name__}: {error}"
    took = time.perf_counter() - started
    print(f"{scenario:10} {repetition + 1} {peer.name:26} {took:5.1f} s  {sample.error or ''}", file=sys.stderr)
    return sample


def _install(peer: type[Peer], bench: Bench, results: Results) -> bool:
    gateway = peer(bench.directory)
    try:
        gateway.install()
    except (RuntimeError, OSError) as error:
        results.left_out[peer.name] = str(error)
        print(f"{peer.name} is left out: {error}", file=sys.stderr)
        return False
    results.versions[peer.name] = gateway.version()
    return True


def _bench(options: argparse.Namespace) -> Bench:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("the bench needs two cores: one for the gateway, one for the load")
    quick: bool = options.quick
    return Bench(
        directory=options.directory,
        gateway_cores=str(cores[0]),
        load_cores=str(cores[1]),
        seconds=1 if quick else 3,
        connections=(1, 64) if quick else (1, 16, 64),
        streams=(500,) if quick else (500, 2000),
        tries=3 if quick else 10,
        crowd=1000 if quick else 10_000,
    )


def _allow_descriptors(count: int) -> None:
    """For us and for every process we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(count, soft), max(count, hard)))


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    names = {peer.name.lower(): peer.name for peer in PEERS}
    names["stock"] = Stock.name
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help=f"can be repeated: a peer ({', '.join(names)}) or a scenario ({', '.join(SCENARIOS)})",
    )
    parser.add_argument("--quick", action="store_true", help="one repetition of a second each: is everything there?")
    parser.add_argument("--repetitions", type=int, default=0, help="3, or 1 with --quick")
    parser.add_argument("--directory", type=Path, default=Path("build/bench"), help="where peers are installed and run")
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench"), help="where bench.md, .json and .svg are written"
    )
    options = parser.parse_args(arguments)
    options.directory, options.out = options.directory.resolve(), options.out.resolve()
    options.repetitions = options.repetitions or (1 if options.quick else 3)
    options.peers = {names[name.lower()] for name in options.only if name.lower() in names}
    options.scenarios = {name for name in options.only if name in SCENARIOS}
    unknown = [name for name in options.only if name.lower() not in names and name not in SCENARIOS]
    if unknown:
        parser.error(f"--only {unknown[0]}: neither a peer nor a scenario")
    options.directory.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    main()
