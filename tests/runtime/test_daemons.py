"""`lakehouse run`: data services as daemons, several in one process on one folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from lakehouse.config import Config, ConfigError
from lakehouse.runtime.daemons import run_daemons
from lakehouse.server.server import Service
from lakehouse.services.lake.directory import open_lake_directory
from lakehouse.services.lake.errors import LakeError
from lakehouse.services.lake.folder_lock import find_holder
from lakehouse.telemetry.log import Log
from tools.kit.in_process_service import client_of, make_config, open_service


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def config_of(folder: Path, **tables: dict[str, object]) -> Config:
    storaged = {"bind": "127.0.0.1:0"} | tables.pop("storaged", {})
    return make_config(lake={"path": str(folder)}, storaged=storaged, **tables)


@asynccontextmanager
async def open_storaged(config: Config, env: dict[str, str] | None = None) -> AsyncIterator[Service]:
    async with trio.open_nursery() as nursery:
        run = partial(run_daemons, config, ["storaged"], env=env or {}, log=Log("off"))
        service = await nursery.start(run)
        yield service
        service.stop()


async def test_a_daemon_has_its_paths_with_and_without_the_version(lake: Path) -> None:
    async with open_storaged(config_of(lake)) as service, client_of(service) as client:
        assert (await client.get("/health")).json() == {"status": "ok", "service": "storaged"}
        assert (await client.put("/storage/put/a", content=b"1")).status_code == 201
        assert (await client.get("/v1/storage/get/a")).content == b"1"
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        assert (await client.get("/sql")).status_code == 404
        metrics = (await client.get("/metrics")).text
        assert 'lakehouse_requests_total{outcome="answered",route="/storage",status="2xx"} 2.0' in metrics
        assert (await client.get("/v1/requests")).json()["workers"] == 1


async def test_a_gateway_in_front_of_a_daemon_gives_the_same_bytes(lake: Path) -> None:
    async with open_storaged(config_of(lake)) as daemon, client_of(daemon) as direct:
        config = make_config(gateway={"storaged_url": daemon.urls[0]})
        async with open_service(config) as gateway, client_of(gateway) as client:
            headers = {"x-request-id": "same"}
            for path, status in (("/storage/list", 200), ("/storage/get/none", 404)):
                through, straight = (
                    await client.get(f"/v1{path}", headers=headers),
                    await direct.get(path, headers=headers),
                )
                assert (through.status_code, through.content) == (straight.status_code, straight.content)
                assert through.status_code == status


NAMES = ("storaged", "catalogd", "ingestd", "queryd")


@pytest.mark.extended
async def test_four_daemons_behind_a_gateway_are_one_lake_with_the_same_bytes(lake: Path) -> None:
    tables = {name: {"bind": "127.0.0.1:0"} for name in NAMES}
    config = make_config(lake={"path": str(lake)}, **tables)
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            daemons = await nursery.start(partial(run_daemons, config, NAMES, env={}, log=Log("off")))
            urls = dict(zip(NAMES, daemons.urls, strict=False))
            gateway_config = make_config(gateway={f"{name}_url": url for name, url in urls.items()})
            async with open_service(gateway_config) as gateway, client_of(gateway) as client:
                upload = await client.post(
                    "/v1/ingest?name=a", content=b"n\n1\n2\n", headers={"content-type": "text/csv"}
                )
                assert upload.status_code == 201
                answer = await client.post("/v1/sql", json={"sql": "SELECT sum(n) FROM a"})
                assert answer.json()["rows"] == [[3]]
                for name, method, path, body, status in (
                    ("storaged", "GET", "/storage/list", b"", 200),
                    ("catalogd", "GET", "/catalog/list", b"", 200),
                    ("catalogd", "POST", "/catalog/register", b"{", 400),
                    ("ingestd", "POST", "/ingest", b"x", 400),
                    ("queryd", "POST", "/sql", b'{"sql": ""}', 400),
                    ("queryd", "POST", "/sql", b'{"q": "SELECT 1"}', 400),
                ):
                    headers = {"x-request-id": "same", "content-type": "application/json"}
                    through = await client.request(method, f"/v1{path}", content=body, headers=headers)
                    async with httpx.AsyncClient(base_url=urls[name]) as direct:
                        straight = await direct.request(method, path, content=body, headers=headers)
                        health = (await direct.get("/health")).json()
                    assert (through.status_code, through.content) == (straight.status_code, straight.content)
                    assert (through.status_code, health) == (status, {"status": "ok", "service": name})
            daemons.stop()


async def test_commands_find_it_by_the_lock_of_the_folder(lake: Path) -> None:
    async with open_storaged(config_of(lake)):
        found = find_holder(lake)
        assert found is not None
        assert found.pid == os.getpid()
        transport = httpx.AsyncHTTPTransport(uds=found.socket)
        async with httpx.AsyncClient(transport=transport, base_url="http://lake") as client:
            assert (await client.get("/storage/list")).status_code == 200
    assert find_holder(lake) is None


async def test_a_token_guards_everything_but_the_health(lake: Path) -> None:
    config = config_of(lake, storaged={"bind": ":0"})
    with pytest.raises(ConfigError, match=r"storaged\.bind 0\.0\.0\.0:0 can be reached from other machines"):
        await run_daemons(config, ["storaged"], env={}, log=Log("off"))
    async with open_storaged(config, {"LAKEHOUSE_TOKEN": "secret"}) as service:
        url = service.urls[0].replace("0.0.0.0", "127.0.0.1")
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/health")).status_code == 200
            assert (await client.get("/storage/list")).status_code == 401
            answer = await client.get("/storage/list", headers={"authorization": "Bearer secret"})
            assert answer.status_code == 200


async def test_a_folder_in_use_is_refused(lake: Path) -> None:
    with open_lake_directory(lake), pytest.raises(LakeError, match=rf"in use by process {os.getpid()}"):
        await run_daemons(config_of(lake), ["storaged"], env={}, log=Log("off"))


def command(lake: Path, *names: str) -> list[str]:
    file = lake.parent / "lakehouse.toml"
    file.write_text(f'[lake]\npath = "{lake}"\n[storaged]\nbind = "127.0.0.1:0"\n[observe]\nlog = "off"\n')
    return [sys.executable, "-m", "lakehouse", "run", *names, "-c", str(file)]


def test_the_command_announces_its_listeners_and_drains_at_a_signal(lake: Path) -> None:
    with subprocess.Popen(command(lake, "storaged", "storaged"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"storaged listening on (http://127\.0\.0\.1:\d+)\n", line)
        assert match is not None
        assert httpx.get(f"{match[1]}/health", trust_env=False).json()["service"] == "storaged"
        second = subprocess.run(command(lake, "storaged"), check=False, capture_output=True, text=True)
        assert second.returncode == 1
        assert f"cannot start: the lake {lake} is in use by process {process.pid}" in second.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_name_that_is_no_service_is_a_mistake(lake: Path) -> None:
    ran = subprocess.run(command(lake, "storage"), check=False, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.startswith("storage: the services are storaged, catalogd, ingestd, ")
