"""The embedded data services behind the gateway, in real processes: start, crash, drain, workers, and what is missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trio

import lakehouse
from lakehouse.config import Config
from lakehouse.runtime import data_services
from lakehouse.services.host import names
from lakehouse.services.lake.directory import open_lake_directory
from lakehouse.services.lake.folder_lock import find_holder
from tools.kit.child_processes import is_alive, wait_dead
from tools.kit.in_process_service import client_of, make_config, open_service


def config_of(folder: Path, **tables: dict[str, object]) -> Config:
    lake = {"path": str(folder)} | tables.pop("lake", {})
    return make_config(lake=lake, **tables)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def holder_of(lake: Path) -> int:
    found = find_holder(lake)
    assert found is not None
    return found.pid


async def test_a_service_that_nobody_uses_starts_nothing(lake: Path) -> None:
    async with open_service(config_of(lake)) as service, client_of(service) as client:
        assert (await client.get("/health")).json() == {"status": "ok", "service": "gateway"}
        assert b"lakehouse_workers" in (await client.get("/metrics")).content
        assert (await client.get("/v1/requests")).status_code == 200
    assert not lake.exists()


async def test_the_first_request_starts_the_process_and_the_drain_ends_it(lake: Path) -> None:
    async with open_service(config_of(lake)) as service, client_of(service) as client:
        put = await client.put("/v1/storage/put/a/b", content=b"bytes", headers={"x-request-id": "mine"})
        assert (put.status_code, put.headers["x-request-id"]) == (201, "mine")
        assert (await client.get("/v1/storage/get/a/b")).content == b"bytes"
        assert (await client.get("/v1/storage/health")).json() == {"status": "ok", "service": "storaged"}
        pid = holder_of(lake)
        assert pid != os.getpid()
        metrics = (await client.get("/metrics")).text
        assert 'lakehouse_worker_resident_bytes{worker="services"}' in metrics
        assert 'lakehouse_requests_total{outcome="answered",route="/v1/storage",status="2xx"}' in metrics
    assert not is_alive(pid)
    with open_lake_directory(lake):
        pass


async def test_gateway_and_services_process_give_the_same_bytes(lake: Path) -> None:
    config = config_of(lake)
    async with open_service(config) as service, client_of(service) as client:
        await client.put("/v1/storage/put/k", content=b"x")
        found = find_holder(lake)
        assert found is not None
        transport = httpx.AsyncHTTPTransport(uds=found.socket)
        async with httpx.AsyncClient(transport=transport, base_url="http://services") as direct:
            for path, status in (("/storage/list", 200), ("/storage/get/none", 404), ("/storage/get/a%00b", 400)):
                headers = {"x-request-id": "same"}
                through = await client.get(f"/v1{path}", headers=headers)
                straight = await direct.get(path, headers=headers)
                assert (through.status_code, through.content) == (straight.status_code, straight.content)
                assert through.status_code == status


async def test_without_the_extra_every_prefix_is_501_with_the_command(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (data_services, names):
        monkeypatch.setattr(module, "missing_modules", lambda *_: ["duckdb"])
    async with open_service(config_of(lake, lake={"start": "eager"})) as service, client_of(service) as client:
        for path in (
            "/v1/storage/list",
            "/v1/sql",
            "/v1/ingest",
            "/v1/catalog/list",
            "/v1/vectors/index",
            "/v1/matrix/corpora",
            "/v1/pathway/stats",
            "/v1/observer/stats",
            "/v1/observer/workflow/run",
        ):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (501, "ErrNotInstalled")
            assert "pip install '.[lake]'" in answer.json()["error"]["message"]


async def test_a_request_in_a_process_that_is_killed_is_502_and_the_next_one_is_served(lake: Path) -> None:
    with trio.fail_after(30):
        async with open_service(config_of(lake)) as service, client_of(service) as client:
            await client.put("/v1/storage/put/kept", content=b"kept")
            pid = holder_of(lake)
            answers: list[httpx.Response] = []

            async def body() -> AsyncIterator[bytes]:
                yield b"begun"
                os.kill(pid, signal.SIGKILL)
                await wait_dead(pid)
                yield b"more"
                await trio.sleep(0.2)
                yield b"most"

            answers.append(await client.put("/v1/storage/put/lost", content=body()))
            assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (502, "ErrUpstream")
            assert (await client.get("/v1/storage/get/kept")).content == b"kept"
            assert (await client.get("/v1/storage/get/lost")).status_code == 404
            assert holder_of(lake) != pid


async def test_an_eager_start_on_a_folder_in_use_fails_and_names_the_holder(lake: Path) -> None:
    with open_lake_directory(lake):
        with pytest.RaisesGroup(
            pytest.RaisesExc(lakehouse.LakeError, match=rf"in use by process {os.getpid()}"), flatten_subgroups=True
        ):
            async with open_service(config_of(lake, lake={"start": "eager"})):
                raise AssertionError("it started")


async def test_a_lazy_start_on_a_folder_in_use_is_503_and_names_the_holder(lake: Path) -> None:
    with open_lake_directory(lake):
        async with open_service(config_of(lake)) as service, client_of(service) as client:
            answer = await client.get("/v1/storage/list")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ErrUnavailable")
            assert f"in use by process {os.getpid()}" in answer.json()["error"]["message"]
            assert "retry-after" in answer.headers


@pytest.mark.extended
async def test_a_quart_application_has_them_too(lake: Path) -> None:
    from tools.kit.hypercorn_server import open_hypercorn

    app = lakehouse.create_app(config_of(lake))
    async with open_hypercorn(app) as address, httpx.AsyncClient(base_url=address) as client:
        assert (await client.put("/v1/storage/put/a", content=b"1")).status_code == 201
        pid = holder_of(lake)
    assert not is_alive(pid)


@contextmanager
def serving(lake: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`lakehouse serve` in a process of its own; its URL."""
    file = lake.parent / "lakehouse.toml"
    file.write_text(f'[lake]\npath = "{lake}"\n[observe]\nlog = "off"\n[chatd]\nollama_url = ""\n')
    command = [sys.executable, "-m", "lakehouse", "serve", "-c", str(file), "--bind", "127.0.0.1:0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().split()[-1]
        process.kill()


@pytest.mark.extended
async def test_four_workers_have_one_writer_which_drains_with_them(lake: Path) -> None:
    with trio.fail_after(60), serving(lake, "--workers", "4") as (process, url):
        pids: set[int] = set()
        for number in range(12):  # a connection for each: the kernel spreads them over the workers
            async with httpx.AsyncClient(base_url=url, timeout=20) as client:
                assert (await client.put(f"/v1/storage/put/{number}", content=b"1")).status_code == 201
                pids.add(holder_of(lake))
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            assert len((await client.get("/v1/storage/list")).json()["objects"]) == 12
            assert 'resident_bytes{worker="services"}' in (await client.get("/metrics")).text
        [pid] = pids
        process.terminate()
        assert await trio.to_thread.run_sync(process.wait, 20) == 0
        assert not is_alive(pid)


@pytest.mark.extended
async def test_serve_with_an_eager_start_says_who_holds_the_folder_and_exits_1(lake: Path) -> None:
    file = lake.parent / "lakehouse.toml"
    file.write_text(f'[lake]\npath = "{lake}"\nstart = "eager"\n[observe]\nlog = "off"\n')
    with open_lake_directory(lake):
        for workers in ("1", "2"):
            command = [sys.executable, "-m", "lakehouse", "serve", "-c", str(file), "--bind", "127.0.0.1:0"]
            ran = await trio.run_process(
                [*command, "--workers", workers], check=False, capture_stdout=True, capture_stderr=True
            )
            assert ran.returncode == 1
            assert f"cannot start: the lake {lake} is in use by process {os.getpid()}" in ran.stderr.decode()
            assert ran.stdout == b""


async def test_phases_of_the_services_process_are_in_the_list_of_requests(lake: Path) -> None:
    """`max_puts` uploads are written at a time: one more waits in the services process, not in the gateway."""
    with trio.fail_after(30):
        config = config_of(lake, storaged={"max_puts": 1})
        async with open_service(config) as service, client_of(service) as client, trio.open_nursery() as nursery:
            await client.get("/v1/storage/list")
            gate = trio.Event()

            async def body() -> AsyncIterator[bytes]:
                yield b"begun"
                await gate.wait()

            async def put(name: str) -> None:
                response = await client.put(f"/v1/storage/put/{name}", content=body())
                assert response.status_code == 201

            nursery.start_soon(put, "one")
            nursery.start_soon(put, "two")
            while True:
                rows = json.loads((await client.get("/v1/requests")).content)["requests"]
                if any(row["phase"] == "queued" for row in rows if row["upstream"] == "storaged"):
                    break
                await trio.sleep(0.01)
            gate.set()
