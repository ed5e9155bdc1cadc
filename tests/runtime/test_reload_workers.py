"""A reload over several workers: both phases with scripted workers, and two real ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from lakehouse.config import Config, ConfigError
from lakehouse.core.errors import ErrUnavailable
from lakehouse.process.spec import ChildSpec
from lakehouse.runtime.reload.workers import WorkerGroup
from lakehouse.telemetry.log import Log
from lakehouse.telemetry.worker_ipc import serve_queries, worker_socket
from lakehouse.testing.upstreams import ScriptedUpstream, open_upstream
from tools.kit.in_process_service import make_config
from tools.kit.reload_load import open_connection
from tools.kit.service_with_providers import answer_hello

ROOT = Path(__file__).parents[2]
NEW = make_config(models={"judge": "ollama/m"})


@dataclass
class ScriptedWorker:
    """A worker that replies as it is told, and its place under the supervisor."""

    prepared: bytes | None = b"{}"
    committed: bytes | None = b"true"
    orders: list[str] = field(default_factory=list)
    terminated: bool = False
    spec: object = None

    @property
    def child(self) -> ScriptedWorker:
        return self

    def terminate(self) -> None:
        self.terminated = True

    def prepare(self, argument: bytes) -> bytes:
        self.orders.append("prepare")
        assert b"judge" in argument
        if self.prepared is None:
            raise RuntimeError("it ends")
        return self.prepared

    async def commit(self, _: bytes) -> bytes:
        self.orders.append("commit")
        if self.committed is None:
            await trio.sleep_forever()
        return self.committed or b""

    def abort(self, _: bytes) -> bytes:
        self.orders.append("abort")
        return b"true"


@asynccontextmanager
async def open_group(*workers: ScriptedWorker) -> AsyncIterator[WorkerGroup]:
    with tempfile.TemporaryDirectory(prefix="ipc-") as folder:
        async with trio.open_nursery() as nursery:
            for index, worker in enumerate(workers):
                handlers = {
                    "prepare_reload": worker.prepare,
                    "commit_reload": worker.commit,
                    "abort_reload": worker.abort,
                }
                await nursery.start(serve_queries, worker_socket(Path(folder), index), handlers)
            slots = cast("Sequence[Any]", workers)
            yield WorkerGroup(slots, Path(folder), _make_spec, Log("off"))
            nursery.cancel_scope.cancel()


def _make_spec(index: int, config: Config) -> ChildSpec:
    return ChildSpec(name=f"worker {index} of {','.join(config.models)}", target="module:function")


async def test_all_workers_prepare_before_any_commits_and_the_next_ones_start_with_it() -> None:
    workers = ScriptedWorker(prepared=b'{"changed":["auth.token_file"]}'), ScriptedWorker()
    async with open_group(*workers) as group:
        assert await group.apply(NEW) == ["auth.token_file"]
    assert [worker.orders for worker in workers] == [["prepare", "commit"]] * 2
    specs = [cast("ChildSpec", worker.spec).name for worker in workers]
    assert (specs, any(worker.terminated for worker in workers)) == (["worker 0 of judge", "worker 1 of judge"], False)


async def test_a_worker_that_fails_makes_the_whole_reload_fail() -> None:
    workers = ScriptedWorker(), ScriptedWorker(prepared=b'{"problems":["chatd.x is wrong"]}')
    async with open_group(*workers) as group:
        with pytest.raises(ConfigError, match=r"chatd\.x is wrong"):
            await group.apply(NEW)
    assert [worker.orders for worker in workers] == [["prepare", "abort"]] * 2
    assert [worker.spec for worker in workers] == [None, None]


async def test_a_worker_that_does_not_reply_does_so_too() -> None:
    workers = ScriptedWorker(), ScriptedWorker(prepared=None)
    async with open_group(*workers) as group:
        with pytest.raises(ErrUnavailable, match="nothing has changed: no reply from worker 1"):
            await group.apply(NEW)
    assert [worker.orders for worker in workers] == [["prepare", "abort"]] * 2


async def test_a_worker_that_cannot_commit_any_more_drains_and_is_replaced() -> None:
    workers = ScriptedWorker(), ScriptedWorker(committed=b"false")
    async with open_group(*workers) as group:
        await group.apply(NEW)
    assert [worker.terminated for worker in workers] == [False, True]


async def test_a_worker_that_is_stuck_at_the_commit_drains_and_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakehouse.runtime.reload.workers.COMMIT_TIMEOUT", 0.2)
    workers = ScriptedWorker(prepared=b'{"changed":["auth.token_file"]}'), ScriptedWorker(committed=None)
    async with open_group(*workers) as group:
        assert await group.apply(NEW) == ["auth.token_file"]
    assert [worker.terminated for worker in workers] == [False, True]


@dataclass
class TwoWorkers:
    """`lakehouse serve --workers 2`, its file, and the two upstreams that the file may name."""

    process: subprocess.Popen[str]
    url: str
    file: Path

    def write(self, there: ScriptedUpstream, **chatd: object) -> None:
        lines = [f"{key} = {json.dumps(value)}" for key, value in {"ollama_url": there.url, **chatd}.items()]
        self.file.write_text("[chatd]\n" + "\n".join(lines) + "\n")

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lakehouse", "reload", "-c", str(self.file), self.url, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    async def count_answers(self, *there: ScriptedUpstream) -> list[int]:
        """Which upstream answers twelve chats, each over a connection of its own: with two workers, of both."""
        before = [_count_chats(one) for one in there]
        for _ in range(12):
            async with open_connection(self.port) as connection:
                await connection.chat(model="ollama/m")
        return [_count_chats(one) - count for one, count in zip(there, before, strict=True)]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def workers(self) -> list[int]:
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]


def _count_chats(there: ScriptedUpstream) -> int:
    return sum(request.method == "POST" for request in there.requests)


@contextmanager
def open_two_workers(folder: Path, there: ScriptedUpstream) -> Iterator[TwoWorkers]:
    file = folder / "lakehouse.toml"
    TwoWorkers(cast("Any", None), "", file).write(there)
    command = [sys.executable, "-m", "lakehouse", "serve", "-c", str(file), "--bind", "127.0.0.1:0", "--workers", "2"]
    environment = {**os.environ, "XDG_DATA_HOME": str(folder)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            yield TwoWorkers(process, process.stdout.readline().split()[-1], file)
        finally:
            process.terminate()


async def test_two_workers_a_command_a_signal_and_a_successor(tmp_path: Path) -> None:
    async with open_upstream(answer_hello) as first, open_upstream(answer_hello) as second:
        with open_two_workers(tmp_path, first) as service:
            assert await service.count_answers(first, second) == [12, 0]
            service.write(second)
            done = await trio.to_thread.run_sync(service.run_command)
            assert (done.returncode, done.stdout.splitlines()) == (
                0,
                ["changed        chatd.ollama_url", "needs restart  embedd.provider_url"],
            )
            assert await service.count_answers(first, second) == [0, 12]
            killed = service.workers()[0]
            os.kill(killed, signal.SIGKILL)
            with trio.fail_after(30):
                while killed in service.workers() or len(service.workers()) < 2:
                    await trio.sleep(0.02)
            assert await service.count_answers(first, second) == [0, 12]
            service.write(first, timeout="soon")
            refused = await trio.to_thread.run_sync(service.run_command)
            assert (refused.returncode, refused.stderr.partition(" ")[0]) == (2, "chatd.timeout")
            async with open_connection(service.port) as connection:
                status, body = await connection.post("/v1/reload")
            assert (status, b"nothing has changed: chatd.timeout must be" in body) == (422, True)
            assert await service.count_answers(first, second) == [0, 12]
            service.write(first)
            os.kill(service.process.pid, signal.SIGHUP)
            with trio.fail_after(30):
                while await service.count_answers(first, second) != [12, 0]:
                    await trio.sleep(0.02)
        assert service.process.returncode == 0
