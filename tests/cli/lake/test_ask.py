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

from lakehouse.testing.upstreams import ReceivedRequest, ScriptedUpstream, UpstreamScript, open_upstream, respond
from tools.kit.command import ROOT, lakehouse, lakehouse_on_a_terminal
from tools.kit.matrices import spread
from tools.kit.scripted_lake import HERON, PLOVER, ScriptedLake, scripted_lake
from tools.kit.service_with_providers import answer_in_turn, line, lines, ollama, streamed_response

DONE: dict[str, object] = {
    "type": "done", "model": "fast", "provider": "lab", "latency_ms": 1500.0, "finish_reason": "stop",
    "citations": [HERON], "passages": [HERON, PLOVER], "claims": [{"text": "It stands still [1].", "citations": [1]}],
    "attempts": [{"provider": "lab", "model": "fast", "status": 200, "error": None, "ms": 2.0}],
}  # fmt: skip

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


def answer_asks(answer: bytes, asks: list[ReceivedRequest]) -> UpstreamScript:
    """A running service, as far as the command sees of it; `asks` gets the requests that are answered with `answer`."""

    async def script(request: ReceivedRequest, stream: trio.SocketStream) -> None:
        if request.target == "/health":
            await stream.send_all(respond({"status": "ok", "service": "gateway"}))
            return
        asks.append(request)
        await stream.send_all(answer)
        await stream.aclose()

    return script


def events(*documents: dict[str, object]) -> bytes:
    return streamed_response(b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in documents))


FAILED: dict[str, object] = {"code": "ErrUpstream", "message": "no route answered", "status": 502}


@pytest.mark.parametrize(
    ("answer", "status", "out", "err"),
    [
        (
            events({"type": "content", "text": "It stands "}, {"type": "content", "text": "still [1]."}, DONE),
            0,
            "It stands still [1].\n\nSources\n[1] birds: heron.md#1, page 3  A heron stands <still> in shallow water.\n",
            "lab fast: 2 passages, 1.5 s\n",
        ),
        (
            events({"type": "done", "answer": None, "latency_ms": 3.0}),
            1,
            "",
            "lakehouse: no passage was found: nothing was asked of a model\n",
        ),
        (respond({"error": FAILED}, 502), 1, "", "lakehouse: ErrUpstream: no route answered\n"),
        (
            respond({"error": FAILED}, 401),
            1,
            "",
            "lakehouse: ErrUnauthorized: the running service asks for a token: put one into $LAKEHOUSE_TOKEN\n",
        ),
        (
            events({"type": "content", "text": "It"}, {"type": "error", "error": FAILED}),
            1,
            "It",
            "lakehouse: ErrUpstream: no route answered\n",
        ),
        (
            events({"type": "content", "text": "It"}),
            1,
            "It",
            "lakehouse: ErrUpstream: the stream ended without its end\n",
        ),
    ],
    ids=["answered", "no passage", "failed", "no token", "failed later", "cut"],
)
async def test_the_service_that_has_the_lake_answers(
    tmp_path: Path, answer: bytes, status: int, out: str, err: str
) -> None:
    asks: list[ReceivedRequest] = []
    async with (
        open_upstream(answer_asks(answer, asks)) as service,
        scripted_lake(tmp_path / "lake", service=service.url) as lake,
    ):
        arguments = ("--lake", "lake", "--corpora", "birds", "-m", "fast", "Who", "stands?")
        ran = await lakehouse("ask", *arguments, cwd=tmp_path, env={"LAKEHOUSE_TOKEN": "door"})
        assert (ran.status, ran.out, ran.err) == (status, out, err)
        assert lake.received == []
    (ask,) = asks
    assert ask.target == "/v1/ask"
    assert ask.headers["authorization"] == "Bearer door"
    assert ask.json["question"] == "Who stands?"
    assert (ask.json["corpora"], ask.json["model"], ask.json["stream"]) == (["birds"], "fast", True)


async def test_the_whole_answer_of_the_service_is_printed_as_json(tmp_path: Path) -> None:
    asks: list[ReceivedRequest] = []
    answer = {**DONE, "answer": "It stands still [1].", "reasoning": ""}
    async with (
        open_upstream(answer_asks(respond(answer), asks)) as service,
        scripted_lake(tmp_path / "lake", service=service.url),
    ):
        ran = await lakehouse("ask", "--lake", "lake", "--json", "Who?", cwd=tmp_path)
    assert (ran.status, json.loads(ran.out)["answer"], ran.err) == (0, "It stands still [1].", "")
    assert asks[0].json["stream"] is False


async def test_the_command_asks_itself_where_the_address_of_the_service_does_not_answer(tmp_path: Path) -> None:
    async with open_upstream(answer_in_turn(STREAM)) as model:
        settings = f'[lake]\npath = "lake"\n[chatd]\nollama_url = "{model.url}"\n'
        (tmp_path / "lakehouse.toml").write_text(settings)
        async with scripted_lake(tmp_path / "lake", service="http://127.0.0.1:9"):
            ran = await lakehouse("ask", "--corpora", "birds", "-m", "m", "Who?", cwd=tmp_path)
        assert ran.out.startswith("It stands still [1]. It waits.\n")


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
