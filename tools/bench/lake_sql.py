"""SQL: many small statements, aggregates over ten million rows, large results, and clients that leave."""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from tools.bench.lake_service import PORT, TOKEN, Figure, LakeBench, lake_service
from tools.bench.lake_upload import upload
from tools.bench.load import Target
from tools.bench.process import Running

HEADERS = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
ARROW = "application/vnd.apache.arrow.stream"
AGGREGATE = "SELECT g, count(*) AS n, sum(x) AS total FROM {table} GROUP BY g ORDER BY g"
FILTER = "SELECT * FROM {table} WHERE id = 5555555"
EXPORT = "SELECT id, g, x, s FROM {table} LIMIT {rows}"
ENDLESS = {
    "hash join": "SELECT count(*) FROM range(30000000) a(i) JOIN range(30000000) b(j) ON hash(i) = hash(j * 7)",
    "sort": "SELECT max(i) FROM (SELECT i FROM range(400000000) t(i) ORDER BY hash(i) OFFSET 5)",
    "range": "SELECT sum(i) FROM range(1000000000000) t(i)",
    "unnest": "SELECT sum(x) FROM (SELECT unnest(range(10000000)) AS x FROM range(100000))",
    "levenshtein": "SELECT sum(levenshtein(repeat('ab', 20000), repeat('ba', 20000 + i::INT))) FROM range(1000) t(i)",
    "lpad": "SELECT sum(length(lpad('a', 100000000 + i::INT, 'x'))) FROM range(1000) t(i)",
    "group": "SELECT count(*) FROM (SELECT hash(i) AS h, count(*) FROM range(500000000) t(i) GROUP BY h)",
    "stream": "SELECT i, repeat('x', 100) FROM range(1000000000) t(i)",
}


def measure(bench: LakeBench) -> Iterator[Figure]:
    """Small statements on one core, then queries and results with both cores, beside DuckDB in its own process."""
    yield from _small(bench)
    rows = 1_000_000 if bench.quick else 10_000_000
    files = _make_files(bench, rows)
    with lake_service(bench, cores=f"{bench.service_cores},{bench.load_cores}") as running:
        for file in files:
            upload(file, name="bench", kind="parquet", mode="append")
        yield from _queries(bench, files)
        yield from _export(bench, files)
        yield from _leave(bench, running)


def _small(bench: LakeBench) -> Iterator[Figure]:
    body = json.dumps({"sql": "SELECT 1"}).encode()
    headers = tuple(f"{name}: {value}" for name, value in HEADERS.items())
    target = Target(port=PORT, path="/v1/sql", headers=headers, body=body)
    with lake_service(bench) as running:
        latencies = sorted(_time(lambda: _post("SELECT 1")) for _ in range(300))
        yield Figure(name="SELECT 1, p50", value=latencies[150] * 1e3, unit="ms", target=3, at_most=True)
        for connections in (4, 16):
            before = running.cpu_seconds()
            rate = bench.measure_load(target, connections)
            cpu = (running.cpu_seconds() - before) / rate.requests * 1e6
            name = f"SELECT 1, {connections} connections"
            yield Figure(name=name, value=rate.per_second, unit="/s", target=800)
            yield Figure(name=f"{name}, CPU", value=cpu, unit="us")


def _queries(bench: LakeBench, files: list[Path]) -> Iterator[Figure]:
    rounds = 5 if bench.quick else 15
    for name, query in (("aggregate", AGGREGATE), ("one row", FILTER)):
        _post("SELECT 1")  # an engine is running
        statement = query.format(table="bench")
        first = _median(1, partial(_post, statement))
        ours = _median(rounds, partial(_post, statement))
        bare = _bare(bench, files, query, rounds)
        yield Figure(name=f"{name}, DuckDB alone", value=bare, unit="ms")
        yield Figure(name=f"{name}, more than DuckDB alone", value=ours - bare, unit="ms", target=15, at_most=True)
        yield Figure(name=f"{name}, first time, more", value=first - bare, unit="ms", target=100, at_most=True)


def _export(bench: LakeBench, files: list[Path]) -> Iterator[Figure]:
    rows = 300_000 if bench.quick else 3_000_000
    query = EXPORT.format(table="bench", rows=rows)
    size = len(_post(query, ARROW))
    ours = _median(5, lambda: _read(query, ARROW)) / 1e3
    bare = _bare(bench, files, EXPORT.replace("{rows}", str(rows)), 5) / 1e3
    yield Figure(name="Arrow result", value=size / 1e6, unit="MB")
    yield Figure(name="Arrow result", value=size / 1e6 / ours, unit="MB/s")
    yield Figure(name="Arrow result, of DuckDB's own export", value=bare / ours, unit="", target=0.6)
    for accept in (ARROW, "application/x-ndjson", "text/csv"):
        first = statistics.median(_first_bytes(query, accept) for _ in range(7)) * 1e3
        name = accept.rpartition("/")[2]
        yield Figure(name=f"{name}, first bytes", value=first, unit="ms", target=30, at_most=True)
    seconds = _median(3, lambda: _read(query, "application/x-ndjson")) / 1e3
    yield Figure(name="NDJSON result", value=rows / seconds / 1e6, unit="million rows/s")


def _leave(bench: LakeBench, running: Running) -> Iterator[Figure]:
    for name, query in ENDLESS.items():
        delays = sorted(_idle_after(running, query) for _ in range(5 if bench.quick else 15))
        middle = delays[len(delays) // 2] * 1e3
        yield Figure(name=f"client leaves, {name}, idle p50", value=middle, unit="ms", target=20, at_most=True)
        worst = delays[-1] * 1e3
        yield Figure(name=f"client leaves, {name}, idle max", value=worst, unit="ms", target=100, at_most=True)


def _make_files(bench: LakeBench, rows: int) -> list[Path]:
    """Ten Parquet files, made by DuckDB in another process, so that this one has no threads of it."""
    place = bench.fresh("tables")
    script = (
        "import duckdb, sys; con = duckdb.connect()\n"
        'for k in range(10): con.execute(f"COPY (SELECT i AS id, i % 100 AS g, random() AS x, '
        "'name' || (i % 1000) AS s "
        f"FROM range({{k}} * {rows // 10}, ({{k}} + 1) * {rows // 10}) t(i)) TO '{{sys.argv[1]}}/{{k}}.parquet' "
        '(FORMAT parquet, COMPRESSION zstd)")'
    )
    subprocess.run([sys.executable, "-c", script, str(place)], check=True)
    return sorted(place.glob("*.parquet"))


def _bare(bench: LakeBench, files: list[Path], query: str, rounds: int) -> float:
    """Milliseconds (median) of a query with DuckDB alone over the same files, its result exported as Arrow."""
    paths = ", ".join(f"'{file}'" for file in files)
    statement = query.format(table=f"read_parquet([{paths}])")
    script = (
        "import duckdb, pyarrow, statistics, sys, time; con = duckdb.connect(); con.execute('SET threads = 2')\n"
        "con.execute('SET parquet_metadata_cache = true'); times = []\n"
        "for _ in range(int(sys.argv[2]) + 1):\n"
        "    t = time.perf_counter(); con.sql(sys.argv[1]).to_arrow_table(); times.append(time.perf_counter() - t)\n"
        "print(statistics.median(times[1:]) * 1e3)"
    )
    command = [sys.executable, "-c", script, statement, str(rounds)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=bench.directory).stdout
    return float(output.split()[-1])


def _post(sql: str, accept: str = "application/json") -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)) as connection:
        connection.request("POST", "/v1/sql", json.dumps({"sql": sql}), {**HEADERS, "accept": accept})
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"{sql[:100]} failed: {answer[:300]!r}")
        return answer


def _open(sql: str, accept: str) -> socket.socket:
    """A connection on which a statement was sent."""
    body = json.dumps({"sql": sql}).encode()
    lines = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    lines += f"accept: {accept}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
    head = f"POST /v1/sql HTTP/1.1\r\nhost: lake\r\n{lines}\r\n"
    stream = socket.create_connection(("127.0.0.1", PORT), timeout=120)
    stream.sendall(head.encode() + body)
    return stream


def _read(sql: str, accept: str) -> int:
    """Read a whole response as fast as the socket gives it; its bytes."""
    size = 0
    buffer = bytearray(1 << 20)
    with _open(sql, accept) as stream:
        while count := stream.recv_into(buffer):
            size += count
    return size


def _first_bytes(sql: str, accept: str) -> float:
    started = time.perf_counter()
    with _open(sql, accept) as stream:
        received = b""
        while not received.partition(b"\r\n\r\n")[2]:
            received += stream.recv(65536)
        return time.perf_counter() - started


def _idle_after(running: Running, sql: str) -> float:
    """Seconds from a client's departure until no process of the service uses a processor."""
    _post("SELECT 1")
    processes = running.pids()
    stream = _open(sql, "application/x-ndjson")
    time.sleep(0.15)
    stream.close()
    left = busy = earlier = time.perf_counter()
    before = sum(map(_runtime, processes))
    while earlier - left < 0.3:
        time.sleep(0.004)
        now, used = time.perf_counter(), sum(map(_runtime, processes))
        if used - before > 0.2e9 * (now - earlier):  # less is an idle thread of the engine that frees memory
            busy = now
        earlier, before = now, used
    return busy - left


def _runtime(pid: int) -> int:
    """Nanoseconds of processor time of all threads of a process; 0 for an ended one."""
    with suppress(OSError):
        threads = Path(f"/proc/{pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_bytes().split()[0]) for thread in threads)
    return 0


def _time(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _median(rounds: int, call: Callable[[], object]) -> float:
    """Milliseconds."""
    return statistics.median(_time(call) for _ in range(rounds)) * 1e3
