"""The services process: started by the first connection, restarted by the next one, and gone with its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from lakehouse.config import Config, parse_config
from lakehouse.services.host import activation
from lakehouse.services.host.activation import ServicesProcess, open_services_process
from lakehouse.services.lake.directory import open_lake_directory
from lakehouse.services.lake.errors import LakeError
from lakehouse.services.lake.folder_lock import find_holder
from lakehouse.telemetry.process_reports import Reports
from tools.kit.child_processes import is_alive, wait_dead

SCRIPTED = "tests.services.host.targets:scripted"
DIES = "tests.services.host.targets:dies_at_the_start"


def config_of(path: Path, **lake: object) -> Config:
    return parse_config({"lake": {"path": str(path), **lake}, "observe": {"log": "off"}}).config


@asynccontextmanager
async def client_of(process: ServicesProcess) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.AsyncHTTPTransport(uds=process.socket_path)
    async with httpx.AsyncClient(transport=transport, base_url="http://lake", timeout=20) as client:
        yield client


async def wait_for(path: Path) -> None:
    """Another process makes the file."""
    while not path.exists():
        await trio.sleep(0.01)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


async def test_nothing_runs_before_the_first_connection_which_waits_for_the_start(lake: Path) -> None:
    with trio.fail_after(20):
        async with open_services_process(config_of(lake), target=SCRIPTED) as process, client_of(process) as client:
            assert process.pid is None
            assert not lake.exists()
            answer = (await client.get("/storage/who")).json()
            assert answer["pid"] == process.pid != os.getpid()
            assert answer["parent"] == os.getpid()
            again = (await client.get("/storage/who")).json()
            assert again["pid"] == answer["pid"]
        assert not is_alive(answer["pid"])
        assert (lake / "closed").read_text() == "in good order"


async def test_its_environment_has_no_keys(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "secret")
    monkeypatch.setenv("LAKEHOUSE_TOKEN", "secret")
    with trio.fail_after(20):
        async with open_services_process(config_of(lake), target=SCRIPTED) as process, client_of(process) as client:
            found = set((await client.get("/storage/who")).json()["environment"])
    assert found <= {*activation.ENVIRONMENT, "PYTHONPATH", "LC_CTYPE"}


@pytest.mark.extended
async def test_paths_with_and_without_the_version_reach_the_same_service(lake: Path) -> None:
    with trio.fail_after(20):
        async with open_services_process(config_of(lake), target=SCRIPTED) as process, client_of(process) as client:
            bare, versioned = (await client.get("/sql")).json(), (await client.get("/v1/sql")).json()
            assert (bare["path"], bare["root_path"]) == ("/sql", "")
            assert (versioned["path"], versioned["root_path"]) == ("/v1/sql", "/v1")
            for path, name in (("/health", "services"), ("/sql/health", "queryd"), ("/v1/storage/health", "storaged")):
                assert (await client.get(path)).json() == {"status": "ok", "service": name}
            assert (await client.post("/health")).status_code == 405
            assert (await client.get("/catalog/list")).status_code == 404


@pytest.mark.extended
async def test_a_failure_is_the_json_document_with_the_id_of_the_request(lake: Path) -> None:
    with trio.fail_after(20):
        async with open_services_process(config_of(lake), target=SCRIPTED) as process, client_of(process) as client:
            answer = await client.get("/storage/conflict", headers={"x-request-id": "mine"})
    assert answer.status_code == 409
    assert answer.headers["x-request-id"] == "mine"
    error = answer.json()["error"]
    assert (error["code"], error["request_id"], error["details"]) == ("ErrConflict", "mine", {"name": "a"})


async def test_a_client_that_leaves_cancels_its_request(lake: Path) -> None:
    with trio.fail_after(20):
        async with open_services_process(config_of(lake), target=SCRIPTED) as process, client_of(process) as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.get, "/storage/hang")
                await wait_for(lake / "hanging")
                nursery.cancel_scope.cancel()
            await wait_for(lake / "cancelled")
            assert (await client.get("/health")).status_code == 200


async def test_the_deadline_of_the_caller_holds(lake: Path) -> None:
    with trio.fail_after(20):
        async with open_services_process(config_of(lake), target=SCRIPTED) as process, client_of(process) as client:
            await client.get("/health")
            answer = await client.get("/storage/hang", headers={"x-request-timeout-ms": "50"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (504, "ErrTimeout")
            await wait_for(lake / "cancelled")


@pytest.mark.extended
async def test_killed_while_idle_it_is_started_by_the_next_request(lake: Path) -> None:
    with trio.fail_after(20):
        async with open_services_process(config_of(lake), target=SCRIPTED) as process:
            async with client_of(process) as client:
                first = (await client.get("/storage/who")).json()["pid"]
            os.kill(first, signal.SIGKILL)
            await wait_dead(first)
            async with client_of(process) as client:
                second = (await client.get("/storage/who")).json()["pid"]
            assert second != first


async def test_killed_in_a_request_it_breaks_that_request_and_serves_those_that_wait(lake: Path) -> None:
    with trio.fail_after(20):
        async with open_services_process(config_of(lake), target=SCRIPTED) as process, client_of(process) as client:
            first = (await client.get("/storage/who")).json()["pid"]
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get("/storage/die")
            waiting = (await client.get("/storage/who")).json()["pid"]
            assert waiting != first
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get("/storage/begin")


async def test_a_drain_lets_the_request_in_flight_end(lake: Path) -> None:
    with trio.fail_after(20):
        async with open_services_process(config_of(lake), target=SCRIPTED) as process, client_of(process) as client:
            answers: list[httpx.Response] = []

            async def ask() -> None:
                answers.append(await client.get("/storage/slow"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await wait_for(lake / "slow")
                nursery.start_soon(process.drain)
                await trio.sleep(0.1)  # the drain has begun; it cannot end yet
                assert find_holder(lake) is not None
                (lake / "go").touch()
            assert [answer.json() for answer in answers] == [{"slow": True}]
        assert (lake / "closed").exists()


async def test_a_cancelled_block_kills_it(lake: Path) -> None:
    with trio.fail_after(20):
        with trio.CancelScope() as scope:
            async with open_services_process(config_of(lake), target=SCRIPTED) as process, client_of(process) as client:
                pid = (await client.get("/storage/who")).json()["pid"]
                scope.cancel()
                await trio.sleep_forever()
        assert not is_alive(pid)
        assert not (lake / "closed").exists()


async def test_a_folder_in_use_is_503_that_names_the_holder_until_it_is_free(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trio.fail_after(30):
        async with open_services_process(config_of(lake), target=SCRIPTED) as process, client_of(process) as client:
            with open_lake_directory(lake):
                answer = await client.post("/storage/who", headers={"x-request-id": "mine"})
                assert answer.status_code == 503
                error = answer.json()["error"]
                assert (error["code"], error["request_id"]) == ("ErrUnavailable", "mine")
                assert f"is in use by process {os.getpid()}" in error["message"]
                assert int(answer.headers["retry-after"]) >= 1
            while (answer := await client.get("/storage/who")).status_code == 503:
                await trio.sleep(0.05)
            assert answer.json()["pid"] == process.pid


async def test_a_process_that_dies_at_its_start_is_503(lake: Path) -> None:
    with trio.fail_after(20):
        async with open_services_process(config_of(lake), target=DIES) as process, client_of(process) as client:
            answer = await client.get("/storage/who")
    assert answer.status_code == 503
    assert "its process exited with status 3" in answer.json()["error"]["message"]


async def test_an_eager_process_is_there_before_any_request_and_is_replaced_without_one(lake: Path) -> None:
    with trio.fail_after(20):
        async with open_services_process(config_of(lake, start="eager"), target=SCRIPTED) as process:
            first = process.pid
            assert first is not None
            holder = find_holder(lake)
            assert holder is not None
            assert (holder.pid, holder.socket) == (first, process.socket_path)
            os.kill(first, signal.SIGKILL)
            while process.pid in (None, first):
                await trio.sleep(0.01)
    assert find_holder(lake) is None


@pytest.mark.extended
async def test_an_eager_start_on_a_folder_in_use_fails(lake: Path) -> None:
    with open_lake_directory(lake), trio.fail_after(20):
        with pytest.raises(LakeError, match=rf"is in use by process {os.getpid()}"):
            async with open_services_process(config_of(lake, start="eager"), target=SCRIPTED):
                raise AssertionError("it started")


PARENT = """
import sys, trio, httpx
from pathlib import Path
from lakehouse.config import parse_config
from lakehouse.services.host.activation import open_services_process

async def main():
    config = parse_config({"lake": {"path": sys.argv[1]}, "observe": {"log": "off"}}).config
    async with open_services_process(config, target="tests.services.host.targets:scripted") as process:
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=process.socket_path)) as client:
            print((await client.get("http://lake/storage/who")).text, flush=True)
            await trio.sleep_forever()

trio.run(main)
"""


async def test_it_dies_with_a_parent_that_is_killed(lake: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(lake)], stdout=subprocess.PIPE) as parent:  # noqa: ASYNC220
        assert parent.stdout is not None
        pid = json.loads(parent.stdout.readline())["pid"]
        parent.kill()
        parent.wait(10)
    with trio.fail_after(10):
        await wait_dead(pid)
    with open_lake_directory(lake):
        pass


async def test_it_reports_gauges_and_phases_while_it_runs(lake: Path) -> None:
    with trio.fail_after(20):
        async with open_services_process(config_of(lake), target=SCRIPTED) as process, client_of(process) as client:
            reports = Reports(Path(process.reports_path))
            assert (await reports.read_gauges()).families == ()
            assert process.pid is None  # asking does not start it
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: client.get("/storage/hang", headers={"x-request-id": "r1"}))
                await wait_for(lake / "hanging")
                rows: list[dict[str, object]] = [{"id": "r1", "phase": "waiting"}, {"id": "r2", "phase": "waiting"}]
                await reports.add_phases(rows)
                nursery.cancel_scope.cancel()
            assert [row["phase"] for row in rows] == ["scanning", "waiting"]
            report = await reports.read_gauges()
            assert [row.cell for row in report.snapshot["storaged_test_rows"]] == [[7.0]]
            assert [row.labels for row in report.snapshot["worker_resident_bytes"]] == [("services",)]
