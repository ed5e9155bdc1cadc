"""The indexes when processes are killed: a part of what `python -m tools.retrieval_crashes` does at length."""

from __future__ import annotations

from pathlib import Path

import trio

from tools.kit.lake_crashes.retrieval_run import run_retrieval_crashes

VICTIMS = ("retrieval", "services", "everything")


async def test_kills_lose_nothing_acknowledged_and_show_nothing_halved(tmp_path: Path) -> None:
    with trio.fail_after(180):
        report = await run_retrieval_crashes(tmp_path, VICTIMS, seed=1, index_writers=1, unrecovered=0.0)
    assert report.wrong == []
    assert sorted(report.kills.elements()) == sorted(VICTIMS)
    done = {kind for kind, ending in report.steps if ending == "acknowledged"}
    assert {"create index", "batch add"} <= done
    assert done & {"record a playbook", "record playbooks"}
    assert report.reads["batches meanwhile"] > 0
    assert report.checks["states of a client"] > 0
    assert report.checks["databases of indexes"] == 2
