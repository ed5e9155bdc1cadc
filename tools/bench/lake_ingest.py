"""Ingest: half a million rows of eighteen columns over HTTP, beside DuckDB that converts the same file alone."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.bench.lake_service import Figure, LakeBench, lake_service
from tools.bench.lake_upload import ROWS, make_files, upload
from tools.bench.process import Running

BARE = """
import sys, time, duckdb
con = duckdb.connect(config={"threads": 2})
started = time.perf_counter()
con.execute(f"COPY (FROM read_csv_auto('{sys.argv[1]}')) TO '{sys.argv[2]}' (FORMAT parquet, COMPRESSION zstd)")
print(time.perf_counter() - started)
"""


def measure(bench: LakeBench) -> Iterator[Figure]:
    """CSV with its ratio and the memory of the service, then the other formats. Both cores are for everybody."""
    rows = ROWS // 10 if bench.quick else ROWS
    rounds = 1 if bench.quick else 3
    files = make_files(bench, rows)
    yield Figure(name="CSV file", value=files["csv"].stat().st_size / 1e6, unit="MB")
    with lake_service(bench, cores=f"{bench.service_cores},{bench.load_cores}") as running:
        upload(files["parquet"], name="warm", kind="parquet")
        ours, bare = [], []
        with _memory_peak(running) as peak:
            for _ in range(rounds):  # alternating, so that a disturbance meets both
                ours.append(upload(files["csv"], name="big", kind="csv"))
                bare.append(_bare(bench, files["csv"]))
        csv, alone = statistics.median(ours), statistics.median(bare)
        yield Figure(name="CSV", value=rows / csv, unit="rows/s", target=160_000)
        yield Figure(name="CSV, DuckDB alone", value=rows / alone, unit="rows/s")
        yield Figure(name="CSV, of DuckDB's speed", value=alone / csv, unit="", target=0.4)
        yield Figure(name="memory, sum of PSS", value=peak.bytes / 1e6, unit="MB", target=1000, at_most=True)
        for kind in ("ndjson", "parquet"):
            seconds = statistics.median(upload(files[kind], name=f"big_{kind}", kind=kind) for _ in range(rounds))
            yield Figure(name=kind, value=rows / seconds, unit="rows/s")


def _bare(bench: LakeBench, file: Path) -> float:
    """Seconds in which DuckDB alone converts the file, with its own guess of the types."""
    target = bench.directory / "bare.parquet"
    command = [sys.executable, "-c", BARE, str(file), str(target)]
    seconds = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    target.unlink()
    return seconds


class _Peak:
    """The largest sum that was sampled."""

    def __init__(self) -> None:
        self.bytes = 0


@contextmanager
def _memory_peak(running: Running) -> Iterator[_Peak]:
    """Sample the sum of the PSS of all processes of the service ten times a second: a shared page counts once."""
    peak, done = _Peak(), threading.Event()

    def sample() -> None:
        while not done.wait(0.1):
            peak.bytes = max(peak.bytes, sum(map(_proportional, running.pids())))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _proportional(pid: int) -> int:
    """The proportional set size of a process in bytes; 0 for an ended one."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
