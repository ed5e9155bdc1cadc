"""The indexes when processes are killed: a part of what `python -m tools.retrieval_crashes` does at length."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tools.kit.lake_crashes.report import CrashReport
from tools.kit.lake_crashes.retrieval_run import run_retrieval_crashes

VICTIMS = ("retrieval", "services")


def is_under_way(report: CrashReport) -> bool:
    """Whether the clients have written in every way, and have read what others write."""
    done = {kind for kind, ending in report.steps if ending == "acknowledged"}
    recorded = done & {"record a playbook", "record playbooks"}
    return {"create index", "batch add"} <= done and bool(recorded) and report.reads["batches meanwhile"] > 0


@pytest.mark.extended
async def test_kills_lose_nothing_acknowledged_and_show_nothing_halved(tmp_path: Path) -> None:
    with trio.fail_after(180):
        report = await run_retrieval_crashes(
            tmp_path, VICTIMS, seed=1, index_writers=1, unrecovered=0.0, ready=is_under_way
        )
    assert report.wrong == []
    assert sorted(report.kills.elements()) == sorted(VICTIMS)
    assert is_under_way(report)
    assert report.checks["states of a client"] > 0
    assert report.checks["databases of indexes"] == 2
