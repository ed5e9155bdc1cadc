"""`lakehouse top`: what is on the screen, and what is said when the service cannot be asked."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import trio

from lakehouse.config import Address, Config, GatewayTable, ServerTable
from lakehouse.runtime.service_address import service_address
from tools.kit.page_service import PageService, page_service

pytest.importorskip("rich", reason="the extra `top` is not installed")

from rich.console import Console

from lakehouse.cli.request_table import decode_listing, render_screen
from lakehouse.cli.times import format_seconds


def shown(body: bytes, *, rows: int | None = None, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(render_screen(decode_listing(body), url="http://here", width=width, rows=rows))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def busy(service: PageService) -> None:
    now = trio.current_time()
    chat = service.takes_off("/v1/chat", ago=41.0, phase="streaming", upstream="ollama", model="qwen3:8b", left=18.0)
    first = chat.record_attempt("kimi", "k2", now=now - 40)
    first.ended, first.error, first.status = now - 38, "overloaded", 529
    chat.record_attempt("ollama", "qwen3:8b", now=now - 30, why="fallback")
    service.takes_off("/v1/sql", ago=0.5, phase="queued", left=float("inf"))


async def asked(service: PageService) -> bytes:
    return msgspec.json.encode(await service.observer.list_requests())


async def test_every_request_is_a_line_with_its_attempts_below() -> None:
    async with page_service() as service:
        busy(service)
        text = shown(await asked(service))
    head, *lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    assert head == "Lakehouse at http://here  2 in flight  1 worker"
    chat, first, second, sql = lines[2:6]
    assert re.search(r"41\.\d s +1[78]\.\d s +streaming +POST /v1/chat  qwen3:8b +ollama  attempt 2 +0 ", chat)
    assert re.search(r"2\.0 s +├ first: overloaded \(529\) +kimi  k2", first)
    assert re.search(r"└ fallback: running +ollama  qwen3:8b", second)
    assert re.search(r"\d+ ms +queued +POST /v1/sql +queryd +0 ", sql)


async def test_a_small_screen_says_what_it_leaves_out_and_a_narrow_one_holds() -> None:
    async with page_service() as service:
        busy(service)
        body = await asked(service)
    assert "3 more lines" in shown(body, rows=1)
    narrow = shown(body, width=60)
    assert all(len(line) <= 60 for line in narrow.splitlines())
    assert "POST /v1/sql" in narrow  # what is asked goes before who of us has it
    assert ("WORKER" in narrow, "WORKER" in shown(body, width=140)) == (False, True)


async def test_a_hostile_model_name_is_escaped() -> None:
    async with page_service() as service:
        service.takes_off("/v1/chat", ago=1, model="\x1b[2Jbad [red]name[/red]")
        text = shown(await asked(service), width=200)
    assert "\x1b" not in text
    assert "[red]name[/red]" in text


def test_durations_are_short() -> None:
    assert [format_seconds(value) for value in (0.0004, 0.25, 1.0, 99.0, 754.0)] == [
        "0 ms",
        "250 ms",
        "1.0 s",
        "99.0 s",
        "12 m 34 s",
    ]


@pytest.mark.parametrize(
    ("config", "url"),
    [
        (Config(), "http://127.0.0.1:3110"),
        (Config(gateway=GatewayTable(bind=Address("0.0.0.0", 80))), "http://127.0.0.1:80"),
        (Config(gateway=GatewayTable(bind=Address("::", 80))), "http://[::1]:80"),
        (Config(server=ServerTable(certfile="c", keyfile="k")), "https://127.0.0.1:3110"),
    ],
)
def test_the_default_url_is_that_of_the_configuration(config: Config, url: str) -> None:
    assert service_address(config) == url


async def top(url: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lakehouse", "top", url]
    with trio.fail_after(30):
        done = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False, env=env, cwd=Path(__file__).parents[2]
        )
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


async def test_the_command_asks_a_running_service() -> None:
    async with page_service("sesame") as service:
        busy(service)
        done = await top(service.url, LAKEHOUSE_TOKEN="sesame", COLUMNS="160")
        assert done.returncode == 0, done.stderr
        assert "3 in flight" in done.stdout  # the question itself is one
        refused = await top(service.url)
        assert refused.returncode == 1
        assert "put one into $LAKEHOUSE_TOKEN" in refused.stderr


async def test_an_unreachable_service_is_reported_in_one_line() -> None:
    async with page_service() as service:
        url = service.url
    done = await top(url)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert url in done.stderr


async def test_on_a_terminal_the_table_is_updated_until_interrupted() -> None:
    async with page_service() as service:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "lakehouse", "top", service.url, "--interval", "0.05"]
        env = {"TERM": "xterm", "COLUMNS": "120", "LINES": "30", "PATH": os.environ["PATH"]}
        process = await trio.lowlevel.open_process(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=Path(__file__).parents[2]
        )
        os.close(theirs)
        try:
            async with trio.lowlevel.FdStream(ours) as terminal:
                await until(terminal, b"1 in flight")  # the question itself
                service.takes_off("/v1/sql", ago=1.0)
                await until(terminal, b"/v1/sql")
                process.send_signal(signal.SIGINT)
                with trio.fail_after(10):
                    assert await process.wait() == 130
        finally:
            process.kill()
            await process.wait()


async def until(terminal: trio.lowlevel.FdStream, said: bytes) -> None:
    received = b""
    with trio.fail_after(20):
        while said not in re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", received):
            received += await terminal.receive_some()
