"""Uploads for the scenarios of the lake: a large table in three formats, and one `POST /v1/ingest`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from tools.bench.lake_service import PORT, TOKEN, LakeBench

ROWS = 500_000

COLUMNS = """
  i AS id,
  'customer ' || (hash(i) % 40000) AS customer,
  TIMESTAMP '2024-01-01 00:00:00' + to_seconds(i * 7) AS created,
  DATE '2024-01-01' + (i // 500)::INTEGER AS "day",
  (hash(i + 1) % 100000000) / 97.0 AS amount,
  (hash(i + 2) % 10000) / 100.0 AS price,
  CASE WHEN i % 10 > 0 THEN hash(i + 3) % 100000 END AS quantity,
  hash(i + 4) % 2 = 0 AS active,
  chr((65 + hash(i + 5) % 26)::INTEGER) || chr((65 + hash(i + 6) % 26)::INTEGER) AS country,
  lpad((hash(i + 7) % 100000)::VARCHAR, 5, '0') AS code,
  'city ' || (hash(i + 8) % 2000) AS city,
  'street ' || (hash(i + 9) % 9000) || ', ' || (i % 100) AS street,
  'name' || (hash(i + 10) % 100000) || '@example' || (i % 700) || '.example' AS email,
  '+49' || (1000000000 + hash(i + 11) % 9000000000) AS phone,
  CASE WHEN i % 50 = 0 THEN 'said "yes", ' ELSE '' END || n.body AS note,
  (hash(i + 12) % 1000000) / 250000.0 - 2.0 AS score,
  printf('%016x', hash(i + 13) // 2) AS ref,
  m.body AS comment
"""
"""Integers, texts with quotes and commas, timestamps, dates, fractions, integers with gaps, booleans, padded codes."""

_MAKE = """
import sys, duckdb
columns, rows, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
con = duckdb.connect(config={"threads": 2})
con.execute("CREATE TABLE texts AS SELECT k, (SELECT string_agg(substr(md5((k * 50 + w)::VARCHAR), 1, "
            "3 + (hash(k * 50 + w) % 8)::INTEGER), ' ' ORDER BY w) FROM range(32) u(w)) AS body FROM range(3000) t(k)")
con.execute(f"CREATE TABLE big AS SELECT {columns} FROM range({rows}) t(i) "
            "JOIN texts n ON n.k = hash(i + 20) % 3000 JOIN texts m ON m.k = hash(i + 21) % 3000 ORDER BY i")
con.execute(f"COPY big TO '{folder}/big.csv' (FORMAT csv, HEADER)")
con.execute(f"COPY big TO '{folder}/big.ndjson' (FORMAT json)")
con.execute(f"COPY big TO '{folder}/big.parquet' (FORMAT parquet, COMPRESSION zstd)")
"""

_SMALL = b"id,name,day\n" + b"".join(b"%d,name %d,2024-05-%02d\n" % (k, k % 7, k % 28 + 1) for k in range(1000))


@contextmanager
def small_file(bench: LakeBench) -> Iterator[Path]:
    """A CSV file of 1,000 rows."""
    with NamedTemporaryFile(dir=bench.directory, suffix=".csv") as file:
        file.write(_SMALL)
        file.flush()
        yield Path(file.name)


def make_files(bench: LakeBench, rows: int) -> Mapping[str, Path]:
    """The table as CSV, NDJSON and Parquet, the same at each call, made by DuckDB in another process."""
    place = bench.fresh("uploads")
    subprocess.run([sys.executable, "-c", _MAKE, COLUMNS, str(rows), str(place)], check=True)
    return {kind: place / f"big.{kind}" for kind in ("csv", "ndjson", "parquet")}


def upload(file: Path, *, name: str, kind: str, mode: str = "replace") -> float:
    """Seconds from the connection to the response of an upload that becomes table `name`."""
    url = f"http://127.0.0.1:{PORT}/v1/ingest?name={name}&mode={mode}&format={kind}"
    command = ["curl", "-sS", "--max-time", "300", "-H", "Expect:", "-H", f"authorization: Bearer {TOKEN}"]
    command += ["-w", "\n%{http_code} %{time_total}", "-T", str(file), "-X", "POST", url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    answer, _, summary = output.rpartition("\n")
    status, seconds = summary.split()
    if status not in ("200", "201"):
        raise RuntimeError(f"the upload of {file.name} failed: {answer[:300]}")
    return float(seconds)


def query(sql: str) -> float:
    """Seconds of one statement, answered as JSON, on a connection of its own."""
    command = ["curl", "-sS", "--max-time", "60", "-H", f"authorization: Bearer {TOKEN}"]
    command += ["-H", "content-type: application/json", "-d", json.dumps({"sql": sql})]
    command += ["-w", "\n%{http_code} %{time_total}", f"http://127.0.0.1:{PORT}/v1/sql"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    answer, _, summary = output.rpartition("\n")
    status, seconds = summary.split()
    if status != "200":
        raise RuntimeError(f"{sql[:100]} failed: {answer[:300]}")
    return float(seconds)
