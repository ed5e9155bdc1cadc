"""The indexes when processes are killed: a part of what `python -m tools.retrieval_crashes` does at length."""

from __future__ import annotations

from pathlib import Path

import trio

from tools.kit.lake_crashes.retrieval_run import run_retrieval_crashes

VICTIMS = ("retrieval", "services", "retrieval", "everything")


async def test_kills_lose_nothing_acknowledged_and_show_nothing_halved(tmp_path: Path) -> None:
    with trio.fail_after(180):
        report = await run_retrieval_crashes(tmp_path, VICTIMS, seed=1, index_writers=2, unrecovered=0.7)
    assert report.wrong == []
    assert sorted(report.kills.elements()) == sorted(VICTIMS)
    done = {kind for kind, ending in report.steps if ending == "acknowledged"}
    assert {"add items", "batch add", "create index", "record a playbook"} <= done
    assert report.reads["batches meanwhile"] > 0
    assert report.checks["items by word and by text"] > 0
