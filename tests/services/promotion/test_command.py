"""`lakehouse promote` as a process on real servers, and `lakehouse serve` with the configuration that it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.services.promotion.history import CopyLake, History, read_all
from tests.services.promotion.stalling_proxy import open_stalling_proxy
from tests.services.promotion.traces import read_traces, tell_traces
from tests.services.warehouse.two_services import ServedLake, open_service
from tools.kit.child_processes import is_alive, wait_dead
from tools.kit.command import ROOT, Ran, lakehouse
from tools.kit.scaleout import configure_warehouse
from tools.kit.scaleout.object_storage import ObjectStorage
from tools.kit.scaleout.postgres import USER, Postgres
from tools.kit.serve_process import run_configured

TIMEOUT = 120.0


@dataclass(frozen=True, kw_only=True)
class Command:
    """The command for the lake of a folder, and the options that name its target."""

    folder: Path
    to: str
    catalog: str
    endpoint: str
    records: str

    @property
    def configuration(self) -> Path:
        """The file that `--switch` changes."""
        return self.folder / "lakehouse.toml"

    def list_arguments(self, *more: str, endpoint: str = "") -> list[str]:
        """The arguments of the program."""
        target = ["--to", self.to, "--catalog", self.catalog, "--endpoint", endpoint or self.endpoint]
        return ["promote", "-c", "lakehouse.toml", *target, "--key-file", "keys.env", *more]

    async def run(self, *more: str) -> Ran:
        """Run it to its end."""
        with trio.fail_after(TIMEOUT):
            return await lakehouse(*self.list_arguments(*more), cwd=self.folder)

    async def run_for_report(self, *more: str) -> dict[str, Any]:
        """Run it to its end, which is a success. Returns its report."""
        ran = await self.run("--json", *more)
        assert ran.status == 0, ran.err
        report: dict[str, Any] = json.loads(ran.out)
        return report

    async def run_until(self, writes: int, number: signal.Signals) -> tuple[int, str]:
        """Run it on a bucket that stops answering within so many writes, and end it by a signal then.

        SIGINT goes to all of its processes, as it does from a terminal. Returns the exit status, and what it said.
        """
        async with open_stalling_proxy(self.endpoint, writes) as proxy:
            command = [sys.executable, "-m", "lakehouse", *self.list_arguments("--switch", endpoint=proxy.endpoint)]
            with (self.folder / "errors").open("wb") as errors:
                process = await trio.lowlevel.open_process(
                    command,
                    cwd=self.folder,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    start_new_session=True,
                )
            try:
                with trio.fail_after(TIMEOUT):
                    await proxy.stalled.wait()
                    children = list_children(process.pid)
                    assert children, "the process that reads the tables"
                    (os.killpg if number is signal.SIGINT else os.kill)(process.pid, number)
                    status = await process.wait()
                    await wait_dead(*children)
            finally:
                process.kill()
        return status, (self.folder / "errors").read_text()


def list_children(pid: int) -> list[int]:
    """The children of a process that run."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    found = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    return [child for child in found if is_alive(child)]


@asynccontextmanager
async def serve(configuration: Path) -> AsyncIterator[ServedLake]:
    """A service with a configuration file, in a process of its own."""
    with run_configured(configuration) as process:
        async with httpx.AsyncClient(base_url=f"http://{process.host}:{process.port}", timeout=TIMEOUT) as client:
            yield ServedLake(client)


@pytest.fixture
def command(tmp_path: Path, copy_lake: CopyLake, object_storage: ObjectStorage, postgres: Postgres) -> Command:
    """The command for the lake with a history. The database's password is in the key file alone."""
    folder = copy_lake()
    (tmp_path / "lakehouse.toml").write_text(f'[chatd]\nollama_url = ""  # none\n\n[lake]\npath = "{folder}"\n')
    lake = configure_warehouse(tmp_path, object_storage, postgres)
    object_storage.write_key_file(tmp_path / "keys.env", PGPASSWORD=postgres.password)

    def hide_password(url: object) -> str:
        return str(url).replace(f"{USER}:{postgres.password}@", f"{USER}@")

    return Command(
        folder=tmp_path,
        to=str(lake["warehouse"]),
        catalog=hide_password(lake["catalog"]),
        endpoint=str(lake["endpoint"]),
        records=hide_password(postgres.create_database()),
    )


async def test_a_service_with_the_switched_configuration_answers_as_before(command: Command, history: History) -> None:
    async with open_service(command.folder / "lake", {}) as service:
        revision = await tell_traces(service)
        traces, expected = await read_traces(service, revision), await read_all(service)
    before = command.configuration.read_text()
    ran = await command.run("--dry-run", "--switch", "--records", command.records)
    assert (ran.status, ran.err) == (0, "")
    assert f"would be promoted to {command.to}: " in ran.out
    assert command.configuration.read_text() == before

    ran = await command.run("--switch", "--records", command.records)
    assert ran.status == 0, ran.err
    copy = command.configuration.with_name("lakehouse.toml.before-promotion")
    assert ran.err == f"lakehouse.toml was changed; {copy.name} has its former text\n"
    assert "4 traces and 3 operations are in PostgreSQL" in ran.out
    after = command.configuration.read_text()
    assert tomllib.loads(after)["lake"] == {
        "path": str(command.folder / "lake"),
        "warehouse": command.to,
        "catalog": command.catalog,
        "endpoint": command.endpoint,
        "key_file": str(command.folder / "keys.env"),
    }
    async with serve(command.configuration) as lake:
        assert await read_all(lake) == expected
        assert await read_traces(lake, revision) == traces
        ran = await command.run("--switch", "--records", command.records)
        assert (ran.status, "is in use by process" in ran.err) == (1, True), ran.err

    report = await command.run_for_report("--switch", "--records", command.records)
    assert (report["state"], report["copied"], len(report["tables"])) == (
        "promoted before",
        0,
        len(history[1]["tables"]) + 2,
    )
    assert (command.configuration.read_text(), copy.read_text()) == (after, before)


async def test_a_run_that_was_killed_or_interrupted_is_continued(command: Command, history: History) -> None:
    before = command.configuration.read_text()
    status, said = await command.run_until(6, signal.SIGKILL)
    assert (status, said) == (-signal.SIGKILL, "")
    status, said = await command.run_until(6, signal.SIGINT)
    assert status == 128 + signal.SIGINT
    assert said == "lakehouse: interrupted; the same command continues where it was\n"
    assert command.configuration.read_text() == before
    report = await command.run_for_report("--switch")
    assert report["state"] == "promoted"
    assert 0 < report["copied"] < report["files"]
    async with serve(command.configuration) as lake:
        assert await read_all(lake) == history[1]
