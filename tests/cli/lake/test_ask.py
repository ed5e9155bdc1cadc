"""`lakehouse ask` as a person or a script has it: the lake of a running service, and a model on a socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from lakehouse.testing.upstreams import ReceivedRequest, ScriptedUpstream, UpstreamScript, open_upstream
from tools.kit.command import ROOT, lakehouse, lakehouse_on_a_terminal
from tools.kit.matrices import spread
from tools.kit.scripted_lake import ScriptedLake, scripted_lake
from tools.kit.service_with_providers import answer_in_turn, line, lines, ollama, streamed_response

STREAM = streamed_response(
    lines(line("It stands still [1"), line("]. It waits [8]."), line(done=True)), "application/x-ndjson"
)


@asynccontextmanager
async def open_both(folder: Path, script: UpstreamScript) -> AsyncIterator[tuple[ScriptedLake, ScriptedUpstream]]:
    async with scripted_lake(folder / "lake") as lake, open_upstream(script) as model:
        settings = f'[lake]\npath = "lake"\n[chatd]\nollama_url = "{model.url}"\n[models]\nfast = "qwen3:8b"\n'
        (folder / "lakehouse.toml").write_text(settings)
        yield lake, model


async def test_ask_streams_the_answer_and_prints_its_sources(tmp_path: Path) -> None:
    async with open_both(tmp_path, answer_in_turn(STREAM)) as (lake, model):
        ran = await lakehouse("ask", "--corpora", "birds,fish", "-k", "3", "-m", "m", "Who", "stands?", cwd=tmp_path)
        assert ran.status == 0
        assert ran.out.splitlines() == [
            "It stands still [1]. It waits.",
            "",
            "Sources",
            "[1] birds: heron.md#1, page 3  A heron stands <still> in shallow water.",
        ]
        assert ran.err.splitlines()[0] == "sentences that cite no passage: 1 of 2"
        assert ran.err.splitlines()[1].startswith("ollama m: 2 passages, ")
        assert json.loads(lake.received[0]) == {
            "query_text": "Who stands?",
            "corpora": ["birds", "fish"],
            "k": 3,
            "max_tokens": 2100,
            "partial": False,
        }
        assert model.requests[0].json["model"] == "m"


@pytest.mark.extended
async def test_ask_prints_json_and_takes_the_first_tier_and_all_corpora(tmp_path: Path) -> None:
    async with open_both(tmp_path, answer_in_turn(ollama("It runs [2]."))) as (lake, model):
        ran = await lakehouse("ask", "--json", "-", cwd=tmp_path, stdin="Who runs?\n")
        answer = json.loads(ran.out)
        assert (ran.status, answer["answer"], ran.err) == (0, "It runs [2].", "")
        assert [passage["id"] for passage in answer["citations"]] == ["plover.md#4"]
        assert json.loads(lake.received[0])["corpora"] == ["birds"]
        assert model.requests[0].json["model"] == "qwen3:8b"


async def test_a_terminal_shows_no_control_characters_of_a_passage_or_a_model(tmp_path: Path) -> None:
    stream = streamed_response(lines(line("\x1b[2J [1]"), line(done=True)), "application/x-ndjson")
    async with open_both(tmp_path, answer_in_turn(stream)) as (lake, _):
        lake.passages = [{"n": 1, "corpus": "birds", "id": "a\x1b]0;x\x07", "text": "b\x1b[31mc"}]
        ran = await lakehouse_on_a_terminal("ask", "Who?", cwd=tmp_path)
        assert ran.status == 0
        assert "\x1b[2J" not in ran.out
        assert "\x1b]0" not in ran.out
        assert "\x1b[31m" not in ran.out


async def test_without_a_passage_no_model_is_asked_and_the_status_is_1(tmp_path: Path) -> None:
    async with open_both(tmp_path, answer_in_turn(ollama())) as (lake, model):
        lake.passages = []
        ran = await lakehouse("ask", "Who?", cwd=tmp_path)
        assert (ran.status, ran.out) == (1, "")
        assert ran.err == "lakehouse: no passage was found: nothing was asked of a model\n"
        assert model.requests == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    spread(
        [
            (["-k", "0", "Who?"], "`k` must be at least 1"),
            (["--corpora", "", "Who?"], "`corpora` must not be empty without `tables`"),
            ([" "], "there is no question"),
        ],
        3,
    ),
)
async def test_wrong_arguments_are_status_2(tmp_path: Path, arguments: list[str], told: str) -> None:
    ran = await lakehouse("ask", *arguments, cwd=tmp_path)
    assert (ran.status, ran.out) == (2, "")
    assert told in ran.err


async def test_an_unknown_table_is_an_error(tmp_path: Path) -> None:
    async with open_both(tmp_path, answer_in_turn(ollama())) as _:
        ran = await lakehouse("ask", "--tables", "ghosts", "Who stands?", cwd=tmp_path)
        assert (ran.status, ran.out) == (1, "")
        assert ran.err == "lakehouse: ErrNotFound: `tables[0]`: there is no such table\n"


@pytest.mark.parametrize("waits", ["the search", "the model"])
async def test_an_interrupt_ends_the_search_and_the_answer(tmp_path: Path, waits: str) -> None:
    asked, left = trio.Event(), trio.Event()

    async def hang(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        asked.set()
        try:
            await stream.receive_some()
        finally:
            left.set()

    async with open_both(tmp_path, hang) as (lake, _):
        if waits == "the search":
            lake.go = trio.Event()
            asked, left = lake.waiting, lake.cancelled
        command = [sys.executable, "-m", "lakehouse", "ask", "Who?"]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, cwd=tmp_path, env=env)
        with trio.fail_after(20):
            await asked.wait()
            process.send_signal(signal.SIGINT)
            await left.wait()
            assert await process.wait() == 130
