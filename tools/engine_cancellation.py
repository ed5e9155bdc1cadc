"""How soon does an engine stop working for a client that has left?

    python -m tools.engine_cancellation [--rounds N] [ENGINE...]

Starts `lakehouse serve`, and real servers from packages on loopback (the groups `scaleout`, `spark-server` and
`trino-server`; `nox -s engine_cancellation` installs them). Engines are duckdb, spark, trino, sail, flight_sql, s3,
pgvector, llama and embedding, by default all that are installed. The client closes its connection at another moment of
the work in each round. What counts is the processor time of the service's processes and of those of the server, not
their answers: the time until it stands still, of which the median and the longest are printed, as rows of a table.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import trio

from tools.kit.engine_leaving.clusters import CLUSTERS
from tools.kit.engine_leaving.engines import Engine, Setup
from tools.kit.engine_leaving.left_work import LONGEST, WINDOW, Work, finish, leave
from tools.kit.engine_leaving.models import MODELS
from tools.kit.engine_leaving.stores import STORES
from tools.kit.serve_process import run_lakehouse

ENGINES = {**CLUSTERS, **STORES, **MODELS}


def describe(times: Sequence[float | None]) -> str:
    """The median and the longest."""
    found = sorted(1000 * value for value in times if value is not None)
    never = len(times) - len(found)
    if never:
        return f"{never} of {len(times)} still worked after {LONGEST:g} s | "
    return " | ".join(describe_time(value) for value in (statistics.median(found), found[-1]))


def describe_time(milliseconds: float) -> str:
    """A time, as far as it was seen."""
    seen = 1000 * WINDOW
    return f"< {seen:.0f} ms" if milliseconds < seen else f"{milliseconds:,.0f} ms"


async def measure(title: str, setup: Setup, service: tuple[int, int], rounds: int) -> None:
    """Measure each work of an engine. `service` is the port and the process of the service."""
    port, pid = service
    for request in setup.before:
        await finish(port, request)
    for work in setup.works:
        times = await leave_often(work, port, [pid, *setup.pids], rounds)
        rest = await setup.find_rest()
        print(f"| {title}: {work.name} | {describe(times)} |{f' left behind: {rest}' if rest else ''}", flush=True)
        if times[-1] is None:
            break  # what still works would count for the next one


async def leave_often(work: Work, port: int, pids: Sequence[int], rounds: int) -> list[float | None]:
    """Leave the work, in each round at another moment, until it does not end."""
    times: list[float | None] = []
    for number in range(rounds):
        after = work.first + (work.last - work.first) * (number + 0.5) / rounds
        times.append(await leave(port, work, pids, after=after))
        if times[-1] is None:
            break
    return times


def run(engine: Engine, rounds: int) -> None:
    """Start the servers of an engine and the service, and measure."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        setup = engine.open(Path(folder), stack)
        service = stack.enter_context(run_lakehouse(setup.tables, log=Path(folder) / "service.log"))
        trio.run(measure, engine.title, setup, (service.port, service.pid), rounds)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help=", ".join(ENGINES))
    arguments = parser.parse_args()
    for name in arguments.engines or ENGINES:
        if missing := ENGINES[name].find_missing():
            print(f"{name} is left out: not installed: {', '.join(missing)}", flush=True)
        else:
            run(ENGINES[name], arguments.rounds)


if __name__ == "__main__":
    main()
