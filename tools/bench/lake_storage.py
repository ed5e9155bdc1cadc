"""Objects: small ones by the thousand, and one of a gibibyte each way, beside nginx on the same disk."""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tools.bench.lake_service import (
    NGINX_PORT,
    PORT,
    TOKEN,
    Figure,
    LakeBench,
    grown,
    lake_service,
    nginx_files,
    reset_peaks,
)
from tools.bench.load import Target

HEADERS = (f"authorization: Bearer {TOKEN}",)
GIB = 2**30


def measure(bench: LakeBench) -> Iterator[Figure]:
    """Rates of small objects, the speed and memory of large ones."""
    yield from _small(bench)
    yield from _large(bench)


def _small(bench: LakeBench) -> Iterator[Figure]:
    with lake_service(bench) as running:
        _put("small", b"x" * 1024)
        target = Target(port=PORT, path="/v1/storage/get/small", headers=HEADERS)
        bench.measure_load(target, 16)
        for connections in (1, 16, 64):
            before = running.cpu_seconds()
            rate = bench.measure_load(target, connections)
            cpu = (running.cpu_seconds() - before) / rate.requests * 1e6
            yield Figure(
                name=f"GET 1 KiB, {connections} connections",
                value=rate.per_second,
                unit="/s",
                target=2000 if connections > 1 else None,
            )
            yield Figure(name=f"GET 1 KiB, {connections} connections, CPU", value=cpu, unit="us")
        target = Target(port=PORT, path="/v1/storage/put/written", headers=HEADERS, body=b"x" * 1024)
        for connections in (1, 16):
            rate = bench.measure_load(target, connections)
            yield Figure(name=f"PUT 1 KiB, durable, {connections} connections", value=rate.per_second, unit="/s")


def _large(bench: LakeBench) -> Iterator[Figure]:
    size = GIB // 8 if bench.quick else GIB
    source = _random_file(bench.directory / f"random-{size}", size)
    rounds = 1 if bench.quick else 3
    with nginx_files(bench) as files:
        url = f"http://127.0.0.1:{NGINX_PORT}/large"
        up = _median(lambda: _curl(bench, "-T", str(source), url), rounds)
        down = _median(lambda: _curl(bench, "-o", "/dev/null", url), rounds)
        (files / "large").unlink()
    yield Figure(name="nginx, 1 GiB up", value=size / up / 1e6, unit="MB/s")
    yield Figure(name="nginx, 1 GiB down", value=size / down / 1e6, unit="MB/s")
    with lake_service(bench) as running:
        _put("warm", b"x" * 100_000)
        before = reset_peaks(running)
        url = f"http://127.0.0.1:{PORT}/v1/storage/objects/large"
        mine_up = _median(lambda: _curl(bench, "-T", str(source), url), rounds)
        mine_down = _median(lambda: _curl(bench, "-o", "/dev/null", url), rounds)
        memory = grown(running, before)
    yield Figure(name="1 GiB up, durable", value=size / mine_up / 1e6, unit="MB/s")
    yield Figure(name="1 GiB down", value=size / mine_down / 1e6, unit="MB/s")
    yield Figure(name="up, of nginx's speed", value=up / mine_up, unit="", target=0.5)
    yield Figure(name="down, of nginx's speed", value=down / mine_down, unit="", target=0.5)
    yield Figure(name="growth of a process", value=memory / 1e6, unit="MB", target=40, at_most=True)


def _median(run: Callable[[], float], rounds: int) -> float:
    return statistics.median(run() for _ in range(rounds))


def _put(key: str, data: bytes) -> None:
    command = ["curl", "-sS", "--fail", "-o", "/dev/null", "-X", "PUT", "--data-binary", "@-", *_headers()]
    subprocess.run([*command, f"http://127.0.0.1:{PORT}/v1/storage/objects/{key}"], input=data, check=True)


def _curl(bench: LakeBench, *arguments: str) -> float:
    """Seconds of one transfer. Raises RuntimeError if it fails."""
    command = ["taskset", "-c", bench.load_cores, "curl", "-sS", "--fail", "--max-time", "300", "-H", "Expect:"]
    command += ["-w", "\n%{time_total}", *_headers(), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[:200])
    return float(done.stdout.rsplit("\n", 1)[1])


def _headers() -> Sequence[str]:
    return [part for header in HEADERS for part in ("-H", header)]


def _random_file(path: Path, size: int) -> Path:
    if not path.exists() or path.stat().st_size != size:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for _ in range(size // 2**20):
                file.write(os.urandom(2**20))
    path.read_bytes()[:0]  # into the kernel's memory
    return path
