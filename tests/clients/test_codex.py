"""Codex CLI against the whole service: a round with a tool, and how often it asks again after each of our endings.

Needs the program: `nox -s clients` installs it. Codex repeats a request up to thirty times after an ending that it takes
for a passing one, so each row says how many requests reach the provider.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from lakehouse.testing.upstreams import ReceivedRequest, UpstreamScript, respond
from tools.kit.client_programs import PROGRAMS, run_program
from tools.kit.doc_pages.client_page import find_blocks
from tools.kit.service_with_providers import ServiceWithProviders, open_service_with_providers

CODEX = shutil.which("codex")
pytestmark = pytest.mark.skipif(CODEX is None, reason="Codex is not installed: nox -s clients installs it")

TIMEOUT = 60.0
"""Seconds for one run; it takes three."""
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
SHELL = "echo forty-two > made.txt && cat made.txt"


def chunk(delta: Mapping[str, object], finish: str | None = None, **fields: object) -> bytes:
    """One event of a provider that speaks chat completions."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    document = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "v/m",
        "choices": [choice],
        **fields,
    }
    return b"data: " + json.dumps(document).encode() + b"\n\n"


END = b"data: [DONE]\n\n"
USAGE = {"usage": {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26}}


async def use_a_tool(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    """Call the tool for commands; when its result has come, say what it was."""
    messages: Any = asked.json["messages"]
    if messages[-1]["role"] == "tool":
        said = chunk({"role": "assistant", "content": "The file says forty-two."}) + chunk({}, "stop", **USAGE)
    else:
        function = {"name": "exec_command", "arguments": json.dumps({"cmd": SHELL})}
        call = {"index": 0, "id": "call_1", "type": "function", "function": function}
        said = chunk({"role": "assistant", "tool_calls": [call]}) + chunk({}, "tool_calls", **USAGE)
    await stream.send_all(STREAM + said + END)
    await stream.aclose()


async def list_and_use_a_tool(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    """`use_a_tool` of a provider that lists its model."""
    if asked.method == "GET":
        await stream.send_all(respond({"data": [{"id": "v/m"}]}))
    else:
        await use_a_tool(asked, stream)


def stream_of(*events: bytes) -> UpstreamScript:
    """A provider that sends these events and closes the connection."""

    async def script(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.send_all(STREAM + b"".join(events))
        await stream.aclose()

    return script


def refuse(status: int, message: str, **fields: object) -> UpstreamScript:
    """A provider that answers each request with an error."""

    async def script(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.send_all(respond({"error": {"message": message, **fields}}, status))

    return script


@dataclass(frozen=True)
class Run:
    """What a run of Codex printed: its exit status, and its events."""

    status: int
    events: list[dict[str, Any]]

    def texts(self, kind: str) -> list[str]:
        """The texts of the completed items of a type."""
        items = [event["item"] for event in self.events if event["type"] == "item.completed"]
        return [item.get("text") or item.get("aggregated_output") for item in items if item["type"] == kind]

    @property
    def error(self) -> str:
        """The message of the turn that failed."""
        message: str = next(event["error"]["message"] for event in self.events if event["type"] == "turn.failed")
        return message


async def run_codex(there: ServiceWithProviders, folder: Path) -> Run:
    """`codex exec` in a folder and with a configuration of its own."""
    assert CODEX is not None
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    provider = (
        f'{{name="Lakehouse",base_url="{there.service.urls[0]}/v1",wire_api="responses",env_key="LAKEHOUSE_KEY"}}'
    )
    settings = ['model_provider="lakehouse"', f"model_providers.lakehouse={provider}", 'model="openrouter/v/m"']
    options = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--json"]
    with trio.fail_after(TIMEOUT):
        finished = await trio.run_process(
            [CODEX, "exec", *options, *(word for setting in settings for word in ("-c", setting)), "Make a file."],
            cwd=work,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "CODEX_HOME": str(home), "LAKEHOUSE_KEY": "none"},
            stdin=subprocess.DEVNULL,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    return Run(finished.returncode, [json.loads(line) for line in finished.stdout.splitlines()])


async def test_a_round_with_a_tool_after_launch(tmp_path: Path) -> None:
    """`lakehouse launch codex` sets it up, whatever the user's own configuration says, which stays as it was."""
    async with open_service_with_providers(scripts={"openrouter": list_and_use_a_tool}) as there:
        url = there.service.urls[0]
        with trio.fail_after(TIMEOUT):
            ran = await run_program("codex", "Make a file.", url=url, model="openrouter/v/m", folder=tmp_path)
    assert (ran.status, ran.out) == (0, "The file says forty-two.\n")
    assert (tmp_path / "work/made.txt").read_text() == "forty-two\n"
    file, content = PROGRAMS["codex"].own_settings
    assert (tmp_path / "home" / file).read_text() == content


async def test_the_settings_of_the_page(tmp_path: Path) -> None:
    assert CODEX is not None
    (settings,) = find_blocks("Codex", "toml")
    async with open_service_with_providers() as there:
        pasted = settings.replace("http://HOST:PORT", there.service.urls[0])
        (tmp_path / "config.toml").write_text(pasted)
        with trio.fail_after(TIMEOUT):
            run = await trio.run_process(
                [CODEX, "exec", "--skip-git-repo-check", "Hello?"],
                cwd=tmp_path,
                env={"PATH": os.environ["PATH"], "CODEX_HOME": str(tmp_path), "LAKEHOUSE_TOKEN": "none"},
                stdin=subprocess.DEVNULL,
                capture_stdout=True,
                capture_stderr=True,
            )
        assert there.only_request("ollama").json["model"] == "qwen3:32b"
    assert run.stdout == b"Hello.\n"


async def test_a_round_with_a_tool(tmp_path: Path) -> None:
    async with open_service_with_providers(scripts={"openrouter": use_a_tool}) as there:
        run = await run_codex(there, tmp_path)
        asked = there.providers["openrouter"].requests
    assert (run.status, run.texts("agent_message")) == (0, ["The file says forty-two."])
    assert run.texts("command_execution") == ["forty-two\n"]
    assert (tmp_path / "work/made.txt").read_text() == "forty-two\n"
    assert len(asked) == 2
    (usage,) = (event["usage"] for event in run.events if event["type"] == "turn.completed")
    assert (usage["input_tokens"], usage["output_tokens"]) == (40, 12)


HELLO = chunk({"role": "assistant", "content": "Hel"})
FAILURES: dict[str, tuple[UpstreamScript, str]] = {
    "an error of the provider": (refuse(500, "the machine is on fire"), "the machine is on fire"),
    "an overloaded provider": (refuse(529, "try later"), "try later"),
    "our key is refused": (refuse(401, "no such key"), "key"),
    "a limit of requests": (refuse(429, "slow down"), "429 Too Many Requests"),  # its own words
    "an unknown model": (refuse(404, "no such model"), "no such model"),
    "a stream that is cut": (stream_of(HELLO), "cut"),
    "an error within the stream": (
        stream_of(HELLO, b'data: {"error":{"message":"out of memory","code":500}}\n\n'),
        "out of memory",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_is_shown_after_one_request(name: str, tmp_path: Path) -> None:
    script, words = FAILURES[name]
    async with open_service_with_providers(scripts={"openrouter": script}) as there:
        run = await run_codex(there, tmp_path)
        asked = there.providers["openrouter"].requests
    assert (run.status, len(asked)) == (1, 1), run.events
    assert words in run.error


async def test_an_answer_that_is_too_long_or_filtered_is_shown_after_one_request(tmp_path: Path) -> None:
    for reason in ("length", "content_filter"):
        script = stream_of(HELLO, chunk({}, reason, **USAGE), END)
        async with open_service_with_providers(scripts={"openrouter": script}) as there:
            (tmp_path / reason).mkdir()
            run = await run_codex(there, tmp_path / reason)
            assert len(there.providers["openrouter"].requests) == 1, (reason, run.events)
