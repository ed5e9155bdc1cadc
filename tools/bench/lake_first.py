"""The first upload and the first query of a new service, whose processes start when they are needed."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from tools.bench.lake_service import Figure, LakeBench, lake_service
from tools.bench.lake_upload import query, small_file, upload


def measure(bench: LakeBench) -> Iterator[Figure]:
    """Medians of fresh services, each with an empty folder."""
    uploads, queries, seconds = [], [], []
    with small_file(bench) as file:
        for _ in range(1 if bench.quick else 5):
            with lake_service(bench, cores=f"{bench.service_cores},{bench.load_cores}", start="lazy") as running:
                seconds.append(running.ready_after)
                uploads.append(upload(file, name="first", kind="csv"))
                queries.append(query("SELECT count(*), max(day) FROM first"))
    yield Figure(name="start to ready", value=statistics.median(seconds) * 1e3, unit="ms")
    yield Figure(name="first upload", value=statistics.median(uploads) * 1e3, unit="ms", target=3000, at_most=True)
    yield Figure(name="first query", value=statistics.median(queries) * 1e3, unit="ms", target=100, at_most=True)
