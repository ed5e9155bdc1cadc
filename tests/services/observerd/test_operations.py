"""Operations over HTTP: what is counted, what is refused, and what is still there after the end of the process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from lakehouse.config.urls import separate_credentials
from lakehouse.services.lake.directory import open_lake_directory
from lakehouse.services.observerd.app import make_observerd_app
from lakehouse.services.observerd.postgres_records import open_postgres_records
from lakehouse.services.observerd.records import RING_SIZE, OperationRecords, open_local_records
from lakehouse.services.observerd.store import OperationStore
from lakehouse.services.postgres.database import open_postgres
from tools.kit.raw_http import serve_app

Opener = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture(params=["folder", "postgres"])
def open_observerd(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Serves the operations in a folder, or in PostgreSQL where that is installed, as often as it is called."""
    if request.param == "folder":
        return lambda: _serve(_open_local(tmp_path))
    url = separate_credentials(request.getfixturevalue("postgres").create_database())
    return lambda: _serve(_open_shared(url))


@asynccontextmanager
async def _open_local(folder: Path) -> AsyncIterator[OperationRecords]:
    with open_lake_directory(folder) as directory:
        async with open_local_records(directory) as records:
            yield records


@asynccontextmanager
async def _open_shared(url: str) -> AsyncIterator[OperationRecords]:
    async with (
        open_postgres(url, schema="lakehouse_lake", load_password=str) as database,
        open_postgres_records(database) as records,
    ):
        yield records


@asynccontextmanager
async def _serve(opened: AbstractAsyncContextManager[OperationRecords]) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        opened as records,
        serve_app(make_observerd_app(OperationStore(records)), lifetime=True) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}/observer", trust_env=False) as client,
    ):
        yield client


async def post(client: httpx.AsyncClient, name: str, document: object, status: int = 200) -> Any:
    answer = await client.post(f"/{name}", json=document)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_operations_are_counted_and_kept(open_observerd: Opener) -> None:
    async with open_observerd() as client:
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
    async with open_observerd() as again:
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
async def test_mistakes_are_refused(
    open_observerd: Opener, name: str, document: object, status: int, says: str
) -> None:
    async with open_observerd() as client:
        assert says in (await post(client, name, document, status))["error"]["message"]
        assert (await client.get("/stats")).json()["total"] == 0


async def test_null_is_nothing_and_a_long_summary_is_cut(open_observerd: Opener) -> None:
    async with open_observerd() as client:
        await post(client, "event", {"endpoint": "/x", "source": "scenario", "error": None, "count": None})
        await post(client, "event", {"endpoint": "/y", "source": "scenario", "output_summary": "s" * 9_000})
        first, second = (await client.get("/stats")).json()["recent_scenario_ops"]
        assert {"error", "count"}.isdisjoint(first)
        assert len(second["output_summary"]) == 4_001


async def test_no_text_of_an_operation_in_memory_is_long(open_observerd: Opener) -> None:
    texts = ("endpoint", "timestamp", "staffer_id", "sig_hash", "event_kind", "role", "city", "state")
    async with open_observerd() as client:
        await post(client, "event", {**dict.fromkeys(texts, "é" * 100_000), "source": "scenario"})
        await post(client, "event", {"endpoint": "/x", "source": "s" * 100_000})
        stats = (await client.get("/stats")).json()
        assert {len(stats["recent_scenario_ops"][0][name]) for name in texts} == {1_025}
        assert {len(source) for source in stats["by_source"]} == {len("scenario"), 1_025}


async def test_a_message_is_an_operation_without_line_breaks(open_observerd: Opener) -> None:
    async with open_observerd() as client:
        message = {"type": "email", "sender": "a\r\nb", "subject": "s" * 300, "body": "one\ntwo", "priority": "urgent"}
        await post(client, "inbox", message)
        assert (await client.get("/stats")).json()["by_source"] == {"inbox": 1}


async def test_the_ring_has_the_newest_and_a_file_is_imported(open_observerd: Opener) -> None:
    lines = [{"endpoint": f"/{number}", "source": "scenario", "success": True} for number in range(RING_SIZE + 5)]
    body = b"\n".join(map(msgspec.json.encode, lines)) + b'\n{"broken\n\n{"source": "mcp"}\n'
    async with open_observerd() as client:
        answer = await client.post("/import", content=body)
        assert answer.json() == {"imported": RING_SIZE + 5, "skipped": 2}
        stats = (await client.get("/stats")).json()
        assert stats["total"] == RING_SIZE
        assert [one["endpoint"] for one in stats["recent_scenario_ops"]] == [f"/{RING_SIZE + n}" for n in range(-5, 5)]
