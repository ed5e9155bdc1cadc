"""`lakehouse sessions`, and the sessions of `lakehouse top`: what is printed, and what the keys do."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from lakehouse.cli import main
from lakehouse.cli.service_client import open_client
from lakehouse.cli.session_documents import format_cost, format_tokens
from lakehouse.config.urls import separate_credentials
from lakehouse.core.session_identity import make_identity
from tools.kit.page_service import PageService, page_service

pytest.importorskip("rich", reason="the extra `top` is not installed")

from rich.console import Console

from lakehouse.cli.request_table import decode_listing, render_screen
from lakehouse.cli.session_documents import Sessions
from lakehouse.cli.top import _fetch
from lakehouse.cli.top_keys import HELP, Selection, split_keys

ROOT = Path(__file__).parents[2]


def busy(service: PageService) -> None:
    """Two sessions, one of them with agents in three levels, and a request without a session."""
    for agent, parent, ago in (("", "", 40.0), ("plan", "", 20.0), ("dig", "plan", 10.0), ("dig", "plan", 9.0)):
        session = make_identity("run-7", agent, parent)
        service.takes_off("/v1/chat", ago=ago, model="qwen3:8b", session=session)
    service.takes_off("/v1/sql", ago=3.0, session=make_identity("other"))
    service.takes_off("/v1/embed", ago=1.0)


Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in a thread of its own: its exit status, output and diagnostics."""

    async def run(*arguments: str, token: str = "sesame") -> tuple[int, str, str]:
        monkeypatch.setenv("LAKEHOUSE_TOKEN", token)
        with trio.fail_after(20):
            status = await trio.to_thread.run_sync(main, ["sessions", *arguments])
        return status, *capsys.readouterr()

    return run


async def test_the_command_lists_shows_and_stops(sessions: Run) -> None:
    async with page_service("sesame") as service:
        url = ("--url", service.url)
        assert (await sessions(*url))[1].startswith("no session is known")
        status, _, said = await sessions(*url, token="")
        assert (status, "put one into $LAKEHOUSE_TOKEN" in said) == (1, True)
        busy(service)
        status, listed, _ = await sessions(*url)
        assert re.search(r"^run-7 +running +3 +4 +4 +0 +0 ", listed, re.MULTILINE), listed
        status, shown, _ = await sessions("show", "run-7", *url)
        assert [line.partition(",")[0] for line in shown.splitlines()] == [
            "run-7: running",
            "    POST /v1/chat qwen3:8b: waiting",
            "    plan: 1 calls",
            "      POST /v1/chat qwen3:8b: waiting",
            "      dig: 2 calls",
            "        POST /v1/chat qwen3:8b: waiting",
            "        POST /v1/chat qwen3:8b: waiting",
        ]
        stopped = await sessions("stop", "run-7", "--agent", "plan", *url)
        assert stopped == (0, "stopped plan of run-7: 3 calls ended, further ones are refused\n", "")
        _, receipt, _ = await sessions("stop", "run-7", "--json", *url)
        assert json.loads(receipt)["calls"] == 1
        status, receipt, _ = await sessions("stop", "typo", *url)
        assert (status, "no call of it was seen here before" in receipt) == (1, True)
        status, _, said = await sessions("show", "nothing", *url)
        assert (status, "no session nothing is known" in said) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stop"], "stop needs the ID of a session"),
        (["show"], "show needs the ID of a session"),
        (["list", "x"], "a list takes no ID"),
        (["show", "x", "--agent", "a"], "--agent is for stop"),
    ],
)
def test_arguments_that_do_not_fit_together(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sessions", *arguments]) == 2
    assert capsys.readouterr().err == f"lakehouse sessions: {said}\n"


async def screen(service: PageService, **options: Any) -> list[str]:
    """The lines of `lakehouse top` below its head."""

    async with open_client(separate_credentials(service.url), []) as client:
        requests, listed = await _fetch(client)
    shown = msgspec.json.decode(listed, type=Sessions).sessions
    console = Console(file=io.StringIO(), width=140, color_system=None)
    console.print(render_screen(decode_listing(requests), url="http://here", width=140, sessions=shown, **options))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()][3:]


async def test_top_shows_sessions_as_trees() -> None:
    async with page_service() as service:
        busy(service)
        other, sql, run, chat, plan, planned, dig, first, second, *rest = await screen(service, selected="run-7")
        assert re.search(r"running +other  1 of 1 calls in flight", other)
        assert re.search(r"waiting +POST /v1/sql", sql)
        assert re.search(r"running +▶ run-7  3 agents, 4 of 4 calls in flight", run)
        assert re.search(r" 40\.\d s +30\.0 s|POST /v1/chat  qwen3:8b", chat)
        indents = [re.search(r" (plan|dig) |POST", line) for line in (chat, plan, planned, dig, first, second)]
        columns = [found.start() for found in indents if found]
        assert columns[0] + 2 == columns[2]
        assert columns[2] + 2 == columns[4] == columns[5]
        assert "plan  1 of 1 calls" in plan
        assert "dig  2 of 2 calls" in dig
        assert [bool(re.search("POST /v1/embed|GET /v1/", line)) for line in rest] == [True] * len(rest)


def test_a_key_selects_a_session_and_another_stops_it_once_that_is_confirmed() -> None:
    keys = Selection()
    shown = ["a", "b", "c"]
    assert [keys.press(key, shown) for key in ("s", "down", "down", "up", "up", "up")] == [None] * 6
    assert (keys.session, keys.message) == ("a", HELP)
    assert keys.press("s", shown) is None
    assert keys.message == "stop a and all of its calls? y or n"
    assert keys.press("n", shown) is None
    assert keys.message == HELP
    assert [keys.press(key, shown) for key in ("y", "s", "y")] == [None, None, "a"]
    assert [keys.press(key, shown) for key in ("down", "down", "down", "s")] == [None] * 4
    assert keys.session == "c"
    assert keys.press("y", ["a"]) is None  # it has gone from the screen meanwhile
    selected = [keys.session]
    keys.press("up", ["a", "b"])
    selected.append(keys.session)
    assert selected == [None, "b"]
    assert (keys.press("q", []), keys.quit) == (None, True)


def test_keys_as_terminals_send_them() -> None:
    assert list(split_keys(b"\x1b[A\x1bOBjKs\x1b[5~\x1b\xff1Y")) == [
        "up",
        "down",
        "down",
        "k",
        "s",
        "y",
    ]


def test_tokens_and_dollars_are_short() -> None:
    assert [format_tokens(count) for count in (0, 9_999, 10_000, 1_250_000)] == ["0", "9999", "10k", "1.2M"]
    assert [format_cost(dollars) for dollars in (0, 0.0004, 0.5, 12)] == ["", "$0.0004", "$0.50", "$12.00"]


async def test_on_a_terminal_a_key_stops_a_session() -> None:
    async with page_service() as service:
        busy(service)
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "lakehouse", "top", service.url, "--interval", "0.05"]
        env = {"TERM": "xterm", "COLUMNS": "140", "LINES": "30", "PATH": os.environ["PATH"]}
        process = await trio.lowlevel.open_process(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=ROOT
        )
        os.close(theirs)
        try:
            async with trio.lowlevel.FdStream(ours) as terminal:
                await until(terminal, b"select a session")
                await terminal.send_all(b"\x1b[B\x1b[B")
                await until(terminal, "▶ run-7".encode())
                await terminal.send_all(b"s")
                await until(terminal, b"stop run-7 and all of its calls? y or n")
                assert len(service.active_requests) >= 6
                await terminal.send_all(b"y")
                await until(terminal, b"stopped run-7: 4 calls ended")
                await terminal.send_all(b"q")
                with trio.fail_after(10):
                    assert await process.wait() == 0
        finally:
            process.kill()
            await process.wait()


async def until(terminal: trio.lowlevel.FdStream, said: bytes) -> None:
    received = b""
    with trio.fail_after(20):
        while said not in re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", received):
            received += await terminal.receive_some()
