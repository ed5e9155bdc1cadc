"""`python -m tools.bench.lake`: measure the embedded lake in scenarios, and compare with its targets."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tools.bench import (
    lake_answer,
    lake_first,
    lake_ingest,
    lake_leaving,
    lake_matrix,
    lake_mix,
    lake_sql,
    lake_storage,
    lake_traces,
    report,
)
from tools.bench.lake_service import Figure, LakeBench

Scenario = Callable[[LakeBench], Iterator[Figure]]

SCENARIOS: Mapping[str, Scenario] = {
    "storage": lake_storage.measure,
    "sql": lake_sql.measure,
    "ingest": lake_ingest.measure,
    "first": lake_first.measure,
    "matrix": lake_matrix.measure,
    "mix": lake_mix.measure,
    "answer": lake_answer.measure,
    "traces": lake_traces.measure,
    "leaving": lake_leaving.measure,
}


def main() -> None:
    """Parse the command line, measure, print a table and write it as JSON."""
    options = _options()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("the bench needs two cores: one for the service, one for the load")
    options.directory.mkdir(parents=True, exist_ok=True)
    bench = LakeBench(
        directory=options.directory,
        service_cores=str(cores[0]),
        load_cores=str(cores[1]),
        seconds=1 if options.quick else 3,
        quick=options.quick,
    )
    results: dict[str, list[Figure]] = {}
    print(f"{report.machine()}\n\n| scenario | figure | | target | |\n|---|---|---:|---:|---|")
    for name in options.only or SCENARIOS:
        started = time.perf_counter()
        results[name] = []
        for figure in SCENARIOS[name](bench):
            results[name].append(figure)
            print(_line(name, figure), flush=True)
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    document = {name: [asdict(figure) for figure in figures] for name, figures in results.items()}
    (options.directory / "lake.json").write_text(json.dumps(document, indent=1) + "\n")
    if not all(figure.holds for figures in results.values() for figure in figures):
        raise SystemExit(1)


def _line(scenario: str, figure: Figure) -> str:
    number = f"{figure.value:,.2f}" if figure.value < 10 else f"{figure.value:,.0f}"
    target = "" if figure.target is None else f"{'at most' if figure.at_most else 'at least'} {figure.target:g}"
    verdict = "" if figure.target is None else ("holds" if figure.holds else "MISSED")
    return f"| {scenario} | {figure.name} | {number} {figure.unit} | {target} | {verdict} |"


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.lake", description=__doc__)
    parser.add_argument("--only", action="append", default=[], choices=[*SCENARIOS], help="can be repeated")
    parser.add_argument("--quick", action="store_true", help="short and small: is everything there?")
    parser.add_argument("--directory", type=Path, default=Path("build/bench/lake"), help="on the disk to be measured")
    options = parser.parse_args(arguments)
    options.directory = options.directory.resolve()
    return options


if __name__ == "__main__":
    main()
