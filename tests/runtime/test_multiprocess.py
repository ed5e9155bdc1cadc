"""`lakehouse serve` as an operator has it: a process with signals, and several with workers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from lakehouse.testing.upstreams import ReceivedRequest, ScriptedUpstream, open_upstream, respond
from tools.kit.http_stream import HttpStream
from tools.kit.lifetime.evidence import waited_for_cpu
from tools.kit.matrices import spread

ROOT = Path(__file__).parents[2]


class Process:
    """A running `lakehouse serve`."""

    def __init__(self, process: trio.Process, url: str) -> None:
        self.process = process
        self.url = url

    def workers(self) -> list[int]:
        """The pids of its children."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()  # a child belongs to the thread that forked
        return [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]


@asynccontextmanager
async def serving(
    tmp_path: Path, *arguments: str, gateway: str = "", env: dict[str, str] | None = None
) -> AsyncIterator[Process]:
    """Start it on a free port and wait for its line."""
    config = tmp_path / "lakehouse.toml"
    config.write_text(f'[gateway]\n{gateway}\n[chatd]\nollama_url = ""\n[server]\ndrain_timeout = "10s"\n')
    command = [sys.executable, "-m", "lakehouse", "serve", "-c", str(config), "--bind", "127.0.0.1:0", *arguments]
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, env={**os.environ, **(env or {})}
    )
    assert process.stdout is not None
    try:
        line = b""
        with trio.fail_after(30):
            while not line.endswith(b"\n"):
                data = await process.stdout.receive_some()
                assert data, "it ended before it listened"
                line += data
        match = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)\n", line.decode())
        assert match
        yield Process(process, match[1])
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            await process.wait()
            await process.stdout.aclose()


async def slow(_: ReceivedRequest, stream: trio.SocketStream) -> None:
    """An answer that takes half a second."""
    await trio.sleep(0.5)
    await stream.send_all(respond(b"done", content_type="text/plain"))


async def requests_in(there: ScriptedUpstream, count: int) -> None:
    with trio.fail_after(10):
        while len(there.requests) < count:
            await trio.sleep(0.01)


@pytest.mark.parametrize("workers", spread([1, 2], 2))
async def test_sigterm_under_load_loses_no_request(tmp_path: Path, workers: int) -> None:
    async with (
        open_upstream(slow) as there,
        serving(tmp_path, "--workers", str(workers), gateway=f'storaged_url = "{there.url}"') as service,
        httpx.AsyncClient(timeout=20, trust_env=False) as client,
    ):
        answers: list[httpx.Response] = []

        async def ask() -> None:
            answers.append(await client.get(f"{service.url}/v1/storage/x"))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
            await requests_in(there, 20)
            service.process.terminate()
        assert [answer.text for answer in answers] == ["done"] * 20
        with trio.fail_after(10):
            assert await service.process.wait() == 0


@pytest.mark.parametrize("workers", spread([1, 2], 2))
async def test_a_second_signal_stops_at_once(tmp_path: Path, workers: int) -> None:
    async def never(_: ReceivedRequest, __: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with (
        open_upstream(never) as there,
        serving(tmp_path, "--workers", str(workers), gateway=f'storaged_url = "{there.url}"') as service,
    ):
        stream = await trio.open_tcp_stream("127.0.0.1", int(service.url.rpartition(":")[2]))
        async with stream:
            await stream.send_all(b"GET /v1/storage/x HTTP/1.1\r\nhost: x\r\n\r\n")
            await requests_in(there, 1)
            service.process.send_signal(signal.SIGINT)
            await trio.sleep(0.2)
            assert service.process.poll() is None, "the first signal drains"
            service.process.send_signal(signal.SIGINT)
            with trio.fail_after(20):
                assert await service.process.wait() == 128 + signal.SIGINT


async def test_a_killed_worker_is_replaced_and_nobody_else_notices(tmp_path: Path) -> None:
    async with (
        open_upstream(slow) as there,
        serving(tmp_path, "--workers", "2", gateway=f'storaged_url = "{there.url}"') as service,
        httpx.AsyncClient(timeout=20, trust_env=False) as client,
    ):
        first, second = service.workers()
        os.kill(first, signal.SIGKILL)
        for _ in range(10):
            response = await client.get(f"{service.url}/readyz", headers={"connection": "close"})
            assert response.status_code == 200
        with trio.fail_after(20):
            while len(service.workers()) < 2 or first in service.workers():
                await trio.sleep(0.02)
        assert second in service.workers()
        service.process.terminate()
        with trio.fail_after(10):
            assert await service.process.wait() == 0


async def test_workers_end_when_their_parent_is_killed_and_leave_nothing(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as short:  # a Unix socket's name is
        async with serving(tmp_path, "--workers", "2", env={"TMPDIR": short}) as service:
            workers = service.workers()
            assert list(Path(short).glob("lakehouse-*/*.sock"))
            service.process.kill()
            with trio.fail_after(20):
                while any(Path(f"/proc/{pid}/exe").exists() for pid in workers):
                    await trio.sleep(0.02)
        assert list(Path(short).iterdir()) == []


async def test_metrics_and_requests_speak_for_all_workers(tmp_path: Path) -> None:
    async with (
        open_upstream(slow) as there,
        serving(tmp_path, "--workers", "2", gateway=f'storaged_url = "{there.url}"') as service,
        httpx.AsyncClient(timeout=20, trust_env=False) as client,
    ):
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(client.get, f"{service.url}/v1/storage/x")
            await requests_in(there, 8)
            for _ in range(4):  # whichever worker answers
                response = await client.get(f"{service.url}/v1/requests", headers={"connection": "close"})
                listed = json.loads(response.content)
                assert sum(entry["route"] == "/v1/storage" for entry in listed["requests"]) == 8
        for _ in range(4):
            text = (await client.get(f"{service.url}/metrics", headers={"connection": "close"})).text
            counted = [
                line
                for line in text.splitlines()
                if line.startswith("lakehouse_requests_total") and "/v1/storage" in line
            ]
            assert sum(float(line.split()[-1]) for line in counted) == 8


async def test_one_delete_ends_a_run_on_all_workers_and_new_ones_refuse_it(tmp_path: Path) -> None:
    """Whichever worker is asked, within 20 ms; and after a worker has been killed."""
    left: list[float] = []

    async def never(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        try:
            await stream.receive_some()
        finally:
            left.append(trio.current_time())

    async def call(client: HttpStream, line: str, run: str = "") -> None:
        named = f"x-session-id: {run}\r\n" if run else ""
        await client.send(f"{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{named}\r\n".encode())

    async def answer(client: HttpStream) -> tuple[bytes, Any]:
        start, headers = await client.head()
        return start.split()[1], json.loads(await client.body(headers))

    async with (
        open_upstream(never) as there,
        serving(tmp_path, "--workers", "2", gateway=f'storaged_url = "{there.url}"') as service,
        AsyncExitStack() as stack,
    ):

        async def connect() -> HttpStream:
            port = int(service.url.rpartition(":")[2])
            return HttpStream(await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port)))

        async def get(line: str, run: str = "") -> tuple[bytes, Any]:
            client = await connect()
            await call(client, line, run)
            return await answer(client)

        took: list[float] = []
        seen: set[int] = set()
        for number in range(10):  # a machine that is busy makes single measurements late all the same
            run, asking = f"run-{number}", await connect()
            clients = [await connect() for _ in range(40)]
            for client in clients:
                await call(client, "GET /v1/storage/x", run)
            await requests_in(there, 40 * (number + 1))
            _, listed = await get(f"GET /v1/sessions/{run}")
            assert (listed["in_flight"], listed["workers"], listed["silent"]) == (40, 2, 0)
            left.clear()
            queued, sent = waited_for_cpu(*service.workers()), trio.current_time()
            await call(asking, f"DELETE /v1/sessions/{run}")
            while len(left) < 40:
                await trio.sleep(0.0005)
            took.append(max(left) - sent - (waited_for_cpu(*service.workers()) - queued))
            _, receipt = await answer(asking)
            assert receipt["calls"] == 40
            for client in clients:
                status, error = await answer(client)
                assert (status, error["error"]["code"]) == (b"400", "ErrSessionStopped")
            seen |= {ended["worker"] for ended in receipt["ended"]}
            if min(took) < 0.02 and seen == {0, 1}:
                break
        assert seen == {0, 1}
        assert min(took) < 0.02, took

        async def is_refused() -> None:
            for _ in range(6):  # whichever worker answers
                status, _ = await get("GET /v1/models", run)
                assert status == b"400"

        await is_refused()
        pid = service.workers()[0]
        os.kill(pid, signal.SIGKILL)
        with trio.fail_after(20):
            while len(service.workers()) < 2 or pid in service.workers():
                await trio.sleep(0.02)
        await is_refused()
