"""The lake when its processes are killed: a part of what `python -m tools.lake_crashes` does at length."""

from __future__ import annotations

from pathlib import Path

import trio

from tools.kit.lake_crashes.report import CrashReport
from tools.kit.lake_crashes.run import run_crashes

VICTIMS = ("tables", "writer", "query", "services", "everything")
WRITTEN = {"object put", "object put, if match", "object delete", "batch append, keyed"}


def is_under_way(report: CrashReport) -> bool:
    """Whether the clients have written in every way."""
    return {kind for kind, ending in report.steps if ending == "acknowledged"} >= WRITTEN


async def test_kills_lose_nothing_acknowledged_halve_nothing_and_leave_nothing(tmp_path: Path) -> None:
    with trio.fail_after(180):
        report = await run_crashes(
            tmp_path, VICTIMS, seed=1, object_writers=1, table_writers=1, unrecovered=0.7, ready=is_under_way
        )
    assert report.wrong == []
    assert sorted(report.kills.elements()) == sorted(VICTIMS)
    assert report.reads["tables"] > 0
    assert report.checks["repeated idempotency keys"] > 0
