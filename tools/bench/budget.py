"""What a request costs: `python -m tools.bench.budget`, a report for CI and no gate. A quarter of a minute.

CPU time depends on the machine, so it is also told in a unit of the machine's own, the price of one trio checkpoint,
and compared with what was saved (`--save`) when somebody last looked. Where the kernel counts instructions for us
(`perf stat`), they are told as well: they hardly depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.bench import load
from tools.bench.gateways import Lakehouse
from tools.bench.load import Target
from tools.bench.process import Running
from tools.bench.upstream import PIECES, fake_upstream

SAVED = Path(__file__).with_name("budget.json")

CHECKPOINTS = """
import time, trio
async def main():
    best = 1.0
    for _ in range(7):
        began = time.process_time()
        for _ in range(5000):
            await trio.lowlevel.checkpoint()
        best = min(best, time.process_time() - began)
    print(best / 5000)
trio.run(main)
"""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one request: microseconds of CPU time, the same in checkpoints, and instructions where they are counted."""

    path: str
    cpu: float
    checkpoints: float
    instructions: float | None


def paths(gateway: Lakehouse) -> dict[str, Target]:
    """The main ones."""
    return {
        "relayed GET of 1 KiB": gateway.get(),
        "whole chat": gateway.chat("whole"),
        f"streamed chat of {PIECES} pieces": gateway.chat("burst"),
    }


def checkpoint() -> float:
    """Seconds of CPU time that one checkpoint of trio takes here."""
    return float(subprocess.run([sys.executable, "-c", CHECKPOINTS], check=True, capture_output=True, text=True).stdout)


@contextmanager
def counted(running: Running, out: Path) -> Iterator[None]:
    """Count its instructions into `out`, if that can be done here."""
    perf = shutil.which("perf")
    if perf is None:
        yield
        return
    pids = ",".join(map(str, running.pids()))
    command = [perf, "stat", "-x", ",", "-e", "instructions:u", "-p", pids, "-o", str(out)]
    counter = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        counter.send_signal(2)  # which makes it write
        counter.wait(10)


def instructions(out: Path) -> float | None:
    """What `counted` wrote; None if it could not count."""
    if not out.exists():
        return None
    rows = [row.split(",") for row in out.read_text().splitlines() if "instructions" in row]
    out.unlink()
    return float(rows[0][0]) if rows and rows[0][0].isdigit() else None


def measure(directory: Path, *, seconds: float) -> list[Cost]:
    """Start the service once, and load one path after the other."""
    cores = [str(core) for core in sorted(os.sched_getaffinity(0))]
    costs = []
    unit = checkpoint()
    gateway, out = Lakehouse(directory), directory / "perf"
    with fake_upstream(directory / "up", cores=cores[-1]), gateway.start(cores=cores[0]) as running:
        for path, target in paths(gateway).items():
            load.requests(target, connections=16, seconds=1, cores=cores[-1], directory=directory)
            before = running.cpu_seconds()
            with counted(running, out):
                rate = load.requests(target, connections=16, seconds=seconds, cores=cores[-1], directory=directory)
            cpu = (running.cpu_seconds() - before) / rate.requests
            count = instructions(out)
            each = None if count is None else count / rate.requests
            costs.append(Cost(path=path, cpu=cpu * 1e6, checkpoints=cpu / unit, instructions=each))
    return costs


def markdown(costs: list[Cost], saved: dict[str, float]) -> str:
    """The report."""
    rows = ["| one | CPU | in checkpoints | saved | change | instructions |", "|---|---:|---:|---:|---:|---:|"]
    for cost in costs:
        was = saved.get(cost.path)
        change = "" if was is None else f"{(cost.checkpoints / was - 1) * 100:+.0f} %"
        count = "" if cost.instructions is None else f"{cost.instructions:,.0f}"
        before = "" if was is None else f"{was:.0f}"
        rows.append(f"| {cost.path} | {cost.cpu:,.0f} us | {cost.checkpoints:.0f} | {before} | {change} | {count} |")
    return "\n".join(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.budget", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3, help="for each path")
    parser.add_argument("--save", action="store_true", help=f"as what later reports compare with, in {SAVED.name}")
    parser.add_argument("--directory", type=Path, default=Path("build/bench"))
    options = parser.parse_args()
    directory = options.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    costs = measure(directory, seconds=options.seconds)
    saved = json.loads(SAVED.read_text()) if SAVED.exists() else {}
    print(markdown(costs, saved))
    if options.save:
        SAVED.write_text(json.dumps({cost.path: round(cost.checkpoints, 1) for cost in costs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
