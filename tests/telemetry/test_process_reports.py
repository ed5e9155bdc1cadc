"""The reports of another process of the service, where it cannot be understood or does not run."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import trio

from lakehouse.telemetry.process_reports import METRICS, PHASES, GaugeReport, Reports
from lakehouse.telemetry.worker_ipc import serve_queries


@pytest.mark.parametrize("reply", [b"", b"{", b"\xff", b'["another", "version"]'])
async def test_a_reply_that_cannot_be_decoded_counts_as_none(reply: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="reports-") as folder:
        path = Path(folder) / "reports"
        handlers = {METRICS: lambda _: reply, PHASES: lambda _: reply}
        async with trio.open_nursery() as serving:
            await serving.start(serve_queries, path, handlers)
            reports = Reports(path)
            rows: list[dict[str, object]] = [{"id": "r1", "phase": "waiting"}]
            await reports.add_phases(rows)
            assert rows == [{"id": "r1", "phase": "waiting"}]
            assert await reports.read_gauges() == GaugeReport()
            serving.cancel_scope.cancel()
        assert await Reports(path).read_gauges() == GaugeReport()
