"""The scenario mix of the original: searches with boosts while playbooks are recorded, 50 connections, five minutes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from tools.bench.lake_matrix import TABLES, fill_workers
from tools.bench.lake_matrix_data import MODEL, embed_text
from tools.bench.lake_service import PORT, TOKEN, Figure, LakeBench, lake_service
from tools.kit.scripted_ollama import scripted_ollama

CONNECTIONS = 50
WORKERS = 100_000
"""As many as the original's index had."""
ORIGINAL = 438.0
"""Runs a second of the original, after its repair."""


def measure(bench: LakeBench) -> Iterator[Figure]:
    """The rate, the failures, and the times of each scenario."""
    seconds = 10 if bench.quick else 300
    with (
        scripted_ollama(lambda text: [float(value) for value in embed_text(text)], MODEL) as url,
        lake_service(bench, tables=TABLES.format(url=url)) as running,
    ):
        fill_workers(1000 if bench.quick else WORKERS)
        command = ["taskset", "-c", bench.load_cores, sys.executable, "-m", "tools.bench.mix_load"]
        command += ["--port", str(PORT), "--token", TOKEN]
        command += ["--connections", str(CONNECTIONS), "--seconds", str(seconds)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        memory = running.resident_bytes() / 1e6
    report = json.loads(printed)
    for reason in report["reasons"]:
        print(reason, file=sys.stderr)
    yield Figure(
        name=f"scenarios, {CONNECTIONS} connections, {seconds} s", value=report["rate"], unit="/s", target=ORIGINAL
    )
    yield Figure(name="failures", value=report["failures"], unit="", target=0, at_most=True)
    yield Figure(name="scenarios", value=report["runs"], unit="")
    yield Figure(name="memory of all processes", value=memory, unit="MB")
    for name, figures in report["scenarios"].items():
        shown = name.replace("_", " ")
        yield Figure(name=f"{shown}, p50", value=figures["p50"], unit="ms")
        yield Figure(name=f"{shown}, p99", value=figures["p99"], unit="ms")
