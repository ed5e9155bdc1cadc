"""The whole lake behind `lakehouse serve`: when a request ends, its engine is idle; when the service ends, all is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
import trio

from lakehouse.services.lake.directory import open_lake_directory
from lakehouse.services.lake.folder_lock import find_holder
from tools.kit.child_processes import wait_dead
from tools.kit.in_process_service import client_of, make_config, open_service
from tools.kit.matrices import spread

ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
CSV = b"id,shop,revenue\n1,north,1.5\n2,south,2.5\n"


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@asynccontextmanager
async def open_lake_service(lake: Path) -> AsyncIterator[httpx.AsyncClient]:
    with trio.fail_after(60):
        async with open_service(make_config(lake={"path": str(lake)})) as service, client_of(service) as client:
            yield client


async def sql(client: httpx.AsyncClient, statement: str, **headers: str) -> httpx.Response:
    return await client.post("/v1/sql", json={"sql": statement}, headers=headers)


async def ask_in_vain(client: httpx.AsyncClient) -> None:
    """Send a query whose service is killed: no response, or that of a worker whose supervisor was killed."""
    with suppress(httpx.TransportError):
        assert (await sql(client, ENDLESS)).status_code == 502


def holder_of(lake: Path) -> int:
    found = find_holder(lake)
    assert found is not None
    return found.pid


def descendants(pid: int) -> Iterator[int]:
    """The processes below a process."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            yield int(child)
            yield from descendants(int(child))


def ticks(*pids: int) -> int:
    """Processor time of these processes, in ticks of 10 ms; none for one that has ended."""
    used = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        used += int(fields[11]) + int(fields[12])
    return used


async def wait_busy(lake: Path) -> list[int]:
    """The processes of the lake, once one of them computes."""
    while True:
        pids = list(descendants(holder_of(lake)))
        before = ticks(*pids)
        while list(descendants(holder_of(lake))) == pids:
            await trio.sleep(0.1)
            if ticks(*pids) - before >= 5:  # however long that takes on a busy machine
                return pids


async def test_an_uploaded_file_is_queried_and_is_there_after_a_restart_and_a_move(lake: Path, tmp_path: Path) -> None:
    async with open_lake_service(lake) as client:
        made = await client.post("/v1/ingest?name=sales", content=CSV, headers={"content-type": "text/csv"})
        assert (made.status_code, made.json()["row_count"]) == (201, 2)
        assert (await sql(client, "SELECT sum(revenue) FROM sales")).json()["rows"] == [[4.0]]
        listed = (await client.get("/v1/storage/list?prefix=datasets/")).json()["objects"]
        assert [entry["key"] for entry in listed] == [made.json()["key"]]
        document = await client.post("/v1/ingest?name=docs&format=text&source=a.txt", content=b"one passage")
        assert (document.status_code, document.json()["passages"]) == (201, 1)
        metrics = (await client.get("/metrics")).text
        for sample in (
            'lakehouse_queryd_engines{state="idle"} 1.0',
            'lakehouse_ingestd_engines{state="idle"} 1.0',
            "lakehouse_ingestd_rows 2.0",
            "lakehouse_ingestd_documents 1.0",
            "lakehouse_ingestd_passages 1.0",
            'lakehouse_documents_readers{state="idle"} 1.0',
            f"lakehouse_ingestd_bytes {len(CSV)}.0",
            "lakehouse_queryd_scanned_rows 2.0",
        ):
            assert sample in metrics
    lake.rename(tmp_path / "moved")
    async with open_lake_service(tmp_path / "moved") as client:
        assert (await sql(client, "SELECT count(*) FROM sales")).json()["rows"] == [[2]]
        manifest = (await client.get("/v1/catalog/manifest/sales")).json()
        assert manifest["snapshot_id"] == made.json()["snapshot_id"]


@pytest.mark.alone  # measures the processor time of engines a tenth of a second later
async def test_when_the_client_leaves_nothing_computes_any_more(lake: Path) -> None:
    async with open_lake_service(lake) as client:
        await sql(client, "SELECT 1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sql, client, ENDLESS)
            pids = await wait_busy(lake)
            rows = (await client.get("/v1/requests")).json()["requests"]
            assert [row["phase"] for row in rows if row["route"] == "/v1/sql"] == ["scanning"]
            nursery.cancel_scope.cancel()
        await trio.sleep(0.1)  # the promise
        before = ticks(*pids)
        await trio.sleep(0.5)
        assert ticks(*pids) - before <= 5
        assert (await sql(client, "SELECT 1")).status_code == 200


@pytest.mark.alone  # measures the processor time of engines a tenth of a second later
async def test_a_deadline_of_the_client_ends_its_query(lake: Path) -> None:
    async with open_lake_service(lake) as client:
        await sql(client, "SELECT 1")
        answer = await sql(client, ENDLESS, **{"x-request-timeout-ms": "300"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "ErrTimeout")
        pids = list(descendants(holder_of(lake)))
        await trio.sleep(0.1)
        before = ticks(*pids)
        await trio.sleep(0.3)
        assert ticks(*pids) - before <= 5


@pytest.mark.extended
async def test_a_services_process_that_is_killed_in_a_query_leaves_no_engine_and_no_table_is_lost(lake: Path) -> None:
    async with open_lake_service(lake) as client:
        await client.post("/v1/ingest?name=sales", content=CSV, headers={"content-type": "text/csv"})
        answers: list[httpx.Response] = []

        async def ask() -> None:
            answers.append(await sql(client, ENDLESS))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            pids = await wait_busy(lake)
            os.kill(holder_of(lake), signal.SIGKILL)
        assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (502, "ErrUpstream")
        await wait_dead(*pids)
        assert (await sql(client, "SELECT count(*) FROM sales")).json()["rows"] == [[2]]


@pytest.mark.parametrize("workers", spread(["1", "2"], 2))
async def test_a_service_that_is_killed_in_a_query_leaves_no_process(lake: Path, workers: str) -> None:
    file = lake.parent / "lakehouse.toml"
    file.write_text(f'[lake]\npath = "{lake}"\n[observe]\nlog = "off"\n[chatd]\nollama_url = ""\n')
    command = [
        sys.executable,
        "-m",
        "lakehouse",
        "serve",
        "-c",
        str(file),
        "--bind",
        "127.0.0.1:0",
        "--workers",
        workers,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:  # noqa: ASYNC220
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        with trio.fail_after(60):
            async with httpx.AsyncClient(base_url=url, timeout=30) as client, trio.open_nursery() as nursery:
                await client.post("/v1/ingest?name=sales", content=CSV, headers={"content-type": "text/csv"})
                nursery.start_soon(ask_in_vain, client)
                pids = await wait_busy(lake)
                assert len(pids) >= 3  # a query engine, a write engine, the tables' process
                holder = holder_of(lake)
                process.kill()
                await wait_dead(holder, *pids)
    with open_lake_directory(lake):
        pass


async def test_a_drain_lets_a_query_end_and_leaves_no_process(lake: Path) -> None:
    with trio.fail_after(60):
        answers: list[httpx.Response] = []
        config = make_config(lake={"path": str(lake)})
        async with trio.open_nursery() as nursery:
            async with open_service(config) as service, client_of(service) as client:
                await sql(client, "SELECT 1")
                holder = holder_of(lake)
                pids = list(descendants(holder))

                async def ask() -> None:
                    answers.append(await sql(client, "SELECT count(*) FROM range(400000000) WHERE range % 7 = 3"))

                nursery.start_soon(ask)
                await wait_busy(lake)
                service.stop()
                while not answers:
                    await trio.sleep(0.01)
        assert [answer.status_code for answer in answers] == [200]
        await wait_dead(holder, *pids)
