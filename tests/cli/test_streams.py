"""The `lakehouse` program where its standard streams are full, closed or left, and where it is interrupted early."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from lakehouse.core.groups import unwrap_single
from tools.kit.matrices import pair, spread

ROOT = Path(__file__).parents[2]


async def check(cwd: Path, stdout: int) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "lakehouse", "check"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return await trio.run_process(command, check=False, cwd=cwd, env=env, stdout=stdout, capture_stderr=True)


async def test_a_full_disk_is_reported_in_one_line(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    ran = await check(tmp_path, full)
    os.close(full)
    assert ran.returncode == 1
    assert ran.stderr == b"lakehouse: standard output cannot be written: No space left on device\n"


# A command, and its exit status, which a standard error that cannot be written does not change.
STATUSES = {
    "check -c wrong.toml": 2,
    "check -c missing.toml": 2,
    "serve -c wrong.toml": 2,
    "providers -c wrong.toml": 2,
    "chat -c wrong.toml hello": 2,
    "serve --bind 999": 2,
    "chat -": 2,
    "bogus": 2,
    "top --once http://127.0.0.1:9": 1,
    "chat -m ollama/m hello": 1,
    "check -c warned.toml": 0,
}


@pytest.mark.parametrize(("command", "redirection"), pair(list(STATUSES), ["2>/dev/full", "2>&-"]))
async def test_a_full_standard_error_changes_no_exit_status(tmp_path: Path, command: str, redirection: str) -> None:
    (tmp_path / "wrong.toml").write_text("[gateway]\nbind = 3\nbound = 4\n")
    (tmp_path / "warned.toml").write_text("[elsewhere]\na = 1\n")
    script = f"exec {sys.executable} -m lakehouse {command} </dev/null {redirection}"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = await trio.run_process(["bash", "-c", script], check=False, cwd=tmp_path, env=env, capture_stdout=True)
    assert ran.returncode == STATUSES[command]


async def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ran = await check(tmp_path, writer)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (1, b"")


@asynccontextmanager
async def serving(tmp_path: Path, redirections: str) -> AsyncIterator[trio.Process]:
    """`lakehouse serve` on a free port."""
    (tmp_path / "lakehouse.toml").write_text('[chatd]\nollama_url = ""\n')
    # By a shell, which knows how to close what Python would rather not.
    script = f"exec {sys.executable} -m lakehouse serve --bind 127.0.0.1:0 {redirections}"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = await trio.lowlevel.open_process(["bash", "-c", script], cwd=tmp_path, env=env)
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            await process.wait()


@pytest.mark.parametrize("streams", spread([">/dev/full 2>/dev/full", ">&- 2>&- <&-"], 2))
async def test_the_service_runs_without_standard_output(tmp_path: Path, streams: str) -> None:
    async with serving(tmp_path, streams) as process:
        with trio.fail_after(30):
            while (port := _listens(process.pid)) is None:
                assert process.poll() is None, "it ended"
                await trio.sleep(0.05)
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
            process.terminate()
            assert await process.wait() == 0


def _listens(pid: int) -> int | None:
    """The port on which a process listens; no socket has the number of a standard stream."""
    try:
        links = {int(link.name): str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:  # between one program and the next
        return None
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_, inode = line.split()[:10]
        if state == "0A" and (number := _number(links, f"socket:[{inode}]")) is not None:
            assert number > 2
            return int(local.partition(":")[2], 16)
    return None


def _number(links: dict[int, str], target: str) -> int | None:
    return next((number for number, link in links.items() if link == target), None)


async def test_a_log_for_machines_is_json_to_the_last_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with serving(tmp_path, f">/dev/null 2>{log}"):
        with trio.fail_after(30):
            while not log.exists() or b"try: " not in log.read_bytes():
                await trio.sleep(0.05)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all([*line][:3] == ["time", "level", "event"] for line in lines)
    assert "ollama not registered" in " ".join(line["event"] for line in lines)


async def test_ctrl_c_while_a_model_loads_is_no_traceback(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="the extra `local` is not installed")
    command = [sys.executable, "-m", "lakehouse", "serve", "--demo", "--bind", "127.0.0.1:0"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(trio.run_process, command, check=False, env=env, cwd=tmp_path, stdout=-1, stderr=-1)
        )
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        with trio.fail_after(30):
            while not children.read_text():  # the model's process
                await trio.sleep(0.005)
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 128 + signal.SIGINT
        assert await process.stderr.receive_some() == b""
        assert await process.stdout.receive_some() == b""


def test_a_single_error_is_found_in_nested_groups() -> None:
    one, same, other = OSError(2, "gone"), OSError(2, "gone"), ValueError("gone")
    assert unwrap_single(one) is one
    assert unwrap_single(ExceptionGroup("", [ExceptionGroup("", [one]), same])) is one
    both = ExceptionGroup("", [one, other])
    assert unwrap_single(both) is both
