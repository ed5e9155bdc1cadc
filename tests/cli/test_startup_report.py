"""What a first run says, and that saying it harms nobody."""

from __future__ import annotations

import logging

import pytest
import trio

from lakehouse.cli import startup_report
from lakehouse.config import Config


async def test_a_failure_of_the_report_does_not_end_the_service(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> list[str]:
        raise RecursionError("whatever a provider may cause")

    monkeypatch.setattr(startup_report, "collect_status", broken)
    lines: list[str] = []
    with trio.fail_after(20), caplog.at_level(logging.ERROR, "lakehouse.serve"):
        await startup_report.startup_report(Config(), "http://127.0.0.1:1", trio.Event(), lines.append)
    assert lines == []
    assert [record.getMessage() for record in caplog.records] == [
        "the startup report failed: providers and upstreams could not be probed"
    ]
