"""Operations over HTTP: what is counted, what is refused, and what is still there after the end of the process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from lakehouse.services.lake.directory import open_lake_directory
from lakehouse.services.observerd.app import make_observerd_app
from lakehouse.services.observerd.store import RING_SIZE, open_operation_store
from tools.kit.raw_http import serve_app


@asynccontextmanager
async def open_observerd(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    with open_lake_directory(folder) as directory:
        async with (
            open_operation_store(directory) as store,
            serve_app(make_observerd_app(store), lifetime=True) as server,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}/observer", trust_env=False) as client,
        ):
            yield client


async def post(client: httpx.AsyncClient, name: str, document: object, status: int = 200) -> Any:
    answer = await client.post(f"/{name}", json=document)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_operations_are_counted_and_kept(tmp_path: Path) -> None:
    async with open_observerd(tmp_path) as client:
        for number in range(5):
            source = {"source": "scenario"} if number < 2 else {}
            operation = {"endpoint": "/x", "success": number < 3, "duration_ms": number, **source}
            assert await post(client, "event", operation) == {"accepted": True, "ring_size": number + 1}
        before = (await client.get("/stats")).json()
    assert {name: before[name] for name in ("total", "successes", "failures", "by_source")} == {
        "total": 5,
        "successes": 3,
        "failures": 2,
        "by_source": {"scenario": 2, "mcp": 3},
    }
    assert [operation["duration_ms"] for operation in before["recent_scenario_ops"]] == [0, 1]
    assert "error" not in before["recent_scenario_ops"][0]
    async with open_observerd(tmp_path) as again:
        assert (await again.get("/stats")).json() == before
        assert (await again.get("/health")).json() == {"status": "ok", "service": "observerd", "ring_size": 5}


@pytest.mark.parametrize(
    ("name", "document", "status", "says"),
    [
        ("event", {}, 400, "`endpoint`"),
        ("event", {"endpoint": "/x", "success": "yes"}, 400, "`success`"),
        ("inbox", {"type": "fax", "body": "x"}, 400, "`type`"),
        ("inbox", {"body": "x"}, 400, "`type`"),
        ("inbox", {"type": "sms", "body": " \n"}, 400, "`body`"),
        ("inbox", {"type": "sms", "body": "x", "priority": "none"}, 400, "`priority`"),
        ("inbox", {"type": "sms", "body": "é" * 4097}, 413, "8192 bytes"),
        ("workflow/run", {}, 501, "gateway"),
    ],
)
async def test_mistakes_are_refused(tmp_path: Path, name: str, document: object, status: int, says: str) -> None:
    async with open_observerd(tmp_path) as client:
        assert says in (await post(client, name, document, status))["error"]["message"]
        assert (await client.get("/stats")).json()["total"] == 0


async def test_null_is_nothing_and_a_long_summary_is_cut(tmp_path: Path) -> None:
    async with open_observerd(tmp_path) as client:
        await post(client, "event", {"endpoint": "/x", "source": "scenario", "error": None, "count": None})
        await post(client, "event", {"endpoint": "/y", "source": "scenario", "output_summary": "s" * 9_000})
        first, second = (await client.get("/stats")).json()["recent_scenario_ops"]
        assert {"error", "count"}.isdisjoint(first)
        assert len(second["output_summary"]) == 4_001


async def test_a_message_is_an_operation_without_line_breaks(tmp_path: Path) -> None:
    async with open_observerd(tmp_path) as client:
        message = {"type": "email", "sender": "a\r\nb", "subject": "s" * 300, "body": "one\ntwo", "priority": "urgent"}
        await post(client, "inbox", message)
        assert (await client.get("/stats")).json()["by_source"] == {"inbox": 1}


async def test_the_ring_has_the_newest_and_a_file_is_imported(tmp_path: Path) -> None:
    lines = [{"endpoint": f"/{number}", "source": "scenario", "success": True} for number in range(RING_SIZE + 5)]
    body = b"\n".join(map(msgspec.json.encode, lines)) + b'\n{"broken\n\n{"source": "mcp"}\n'
    async with open_observerd(tmp_path) as client:
        answer = await client.post("/import", content=body)
        assert answer.json() == {"imported": RING_SIZE + 5, "skipped": 2}
        stats = (await client.get("/stats")).json()
        assert stats["total"] == RING_SIZE
        assert [one["endpoint"] for one in stats["recent_scenario_ops"]] == [f"/{RING_SIZE + n}" for n in range(-5, 5)]
