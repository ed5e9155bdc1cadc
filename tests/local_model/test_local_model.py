"""The embedded model: it answers, it comes back when killed, it never outlives its parent, and it says what is wrong."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio

from lakehouse.core import extras
from lakehouse.local_model import Engine, EngineConfig, LocalModelError, open_engine
from lakehouse.local_model.child import Settings
from lakehouse.local_model.engine import CHILD_TARGET, MAX_FAILED_STARTS, reserved_port
from lakehouse.process import launch
from lakehouse.process.protocol import StartMessage, decode_ready, encode_line
from tools.kit.matrices import spread

needs_llama = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("xllamacpp", "gguf", "numpy")),
    reason="the extra `local` is not installed: pip install '.[local]'",
)
HELLO = {"messages": [{"role": "user", "content": "hello"}]}
ENDLESS = HELLO | {"stream": True, "ignore_eos": True, "max_tokens": 30_000}  # half a minute of tokens
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "kind": {"enum": ["lake", "house"]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "age", "kind", "tags"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with open_engine(EngineConfig(demo=True)) as running:
        yield running


def client(engine: Engine) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {engine.api_key}"}
    return httpx.AsyncClient(base_url=engine.base_url, headers=headers, timeout=30, trust_env=False)


async def chat(engine: Engine, **fields: Any) -> dict[str, Any]:
    async with client(engine) as http:
        response = await http.post("/chat/completions", json=HELLO | fields)
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def port_of(engine: Engine) -> int:
    port = httpx.URL(engine.base_url).port
    assert port is not None
    return port


def raw_request(engine: Engine, document: object) -> bytes:
    body = json.dumps(document).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {engine.api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def until_available(engine: Engine) -> None:
    with trio.fail_after(20):
        while not engine.available:
            await trio.sleep(0.02)


async def kill(engine: Engine) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    with trio.fail_after(10):
        while engine.available:
            await trio.sleep(0.005)


def lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"  # a zombie waits for init, it does not run


async def until_gone(pid: int) -> None:
    with trio.fail_after(10):
        while lives(pid):
            await trio.sleep(0.02)


@needs_llama
class TestAnswers:
    async def test_whole_with_its_tokens_counted(self, engine: Engine) -> None:
        answer = await chat(engine, messages=[{"role": "user", "content": "lake"}])

        assert answer["model"] == "demo"
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["choices"][0]["message"]["content"]
        assert answer["usage"]["prompt_tokens"] == 7  # <|user|> l a k e <|end|> <|assistant|>
        assert answer["usage"]["completion_tokens"] >= 2

    async def test_a_limit_on_tokens_is_kept(self, engine: Engine) -> None:
        answer = await chat(engine, max_tokens=5, ignore_eos=True)

        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"]["completion_tokens"] == 5

    async def test_streamed_with_its_tokens_counted(self, engine: Engine) -> None:
        request = HELLO | {
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 8,
            "ignore_eos": True,
        }
        async with client(engine) as http, http.stream("POST", "/chat/completions", json=request) as response:
            lines = [line.removeprefix("data: ") async for line in response.aiter_lines() if line]

        assert lines.pop() == "[DONE]"
        events = [json.loads(line) for line in lines]
        pieces = [event["choices"][0]["delta"].get("content") for event in events if event["choices"]]
        assert len([piece for piece in pieces if piece]) > 1
        assert events[-1]["usage"]["completion_tokens"] == 8

    @pytest.mark.parametrize("temperature", spread([0, 0.8, 1.5], 3))
    async def test_json_that_fits_its_schema(self, engine: Engine, temperature: float) -> None:
        form = {"type": "json_schema", "json_schema": {"name": "thing", "schema": SCHEMA}}
        for seed in range(5):
            answer = await chat(engine, response_format=form, temperature=temperature, seed=seed, max_tokens=1000)

            assert answer["choices"][0]["finish_reason"] == "stop"
            thing = json.loads(answer["choices"][0]["message"]["content"])
            assert set(thing) == set(SCHEMA["required"])
            assert isinstance(thing["name"], str)
            assert isinstance(thing["age"], int)
            assert thing["kind"] in {"lake", "house"}
            assert all(isinstance(tag, str) for tag in thing["tags"])

    async def test_a_tool_that_is_offered_is_called_and_its_result_taken(self, engine: Engine) -> None:
        asked = await chat(engine, tools=[WEATHER], seed=1, max_tokens=1000)

        assert asked["choices"][0]["finish_reason"] == "tool_calls"
        message = asked["choices"][0]["message"]
        call = message["tool_calls"][0]
        assert call["function"]["name"] == "weather"
        assert isinstance(json.loads(call["function"]["arguments"])["city"], str)

        result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
        told = await chat(engine, tools=[WEATHER], messages=[*HELLO["messages"], message, result])
        assert told["choices"][0]["message"]["content"]

    async def test_the_server_requires_the_key(self, engine: Engine) -> None:
        async with httpx.AsyncClient(trust_env=False) as stranger:
            response = await stranger.post(f"{engine.base_url}/chat/completions", json=HELLO)

        assert response.status_code == 401

    async def test_a_stream_that_its_client_leaves_frees_the_model(self) -> None:
        config = EngineConfig(demo=True, parallel=1, context=32_768)
        async with open_engine(config) as engine:
            async with await trio.open_tcp_stream("127.0.0.1", port_of(engine)) as stream:
                await stream.send_all(raw_request(engine, ENDLESS))
                received = b""
                while received.count(b'"content":"') < 3:
                    received += await stream.receive_some()

            with trio.fail_after(10):
                await chat(engine)


@needs_llama
class TestLife:
    async def test_it_comes_back_on_the_same_port_when_killed(self, engine: Engine) -> None:
        url, first = engine.base_url, engine.pid
        await kill(engine)
        with pytest.raises(httpx.ConnectError):
            await chat(engine)
        await until_available(engine)

        assert engine.base_url == url
        assert engine.pid != first
        assert (await chat(engine))["usage"]["completion_tokens"] > 0

    async def test_a_file_is_served_and_tried_again_until_it_is_there(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # However slow the machine is, the process has not served long enough for an immediate restart.
        monkeypatch.setattr("lakehouse.local_model.engine.STABLE_AFTER", 60.0)
        path, away = tmp_path / "tiny.gguf", tmp_path / "away"
        build_demo(path)
        async with open_engine(EngineConfig(model_path=path, context=512)) as engine:
            assert (await chat(engine))["model"] == "tiny"

            path.rename(away)
            with caplog.at_level(logging.WARNING, "lakehouse.local_model"):
                await kill(engine)
                with trio.fail_after(20):
                    while len(caplog.records) < 2:
                        await trio.sleep(0.02)
            away.rename(path)
            await until_available(engine)

            assert (await chat(engine))["model"] == "tiny"
        killed, failed = caplog.messages[:2]
        assert "was killed by signal 9; starting it again in 0.25 s" in killed
        assert "No such file or directory" in failed
        assert failed.endswith("starting it again in 0.25 s")

    async def test_it_ends_with_its_block(self) -> None:
        async with open_engine(EngineConfig(demo=True)) as engine:
            pid = engine.pid

        assert pid is not None
        assert not lives(pid)
        assert not engine.available

    async def test_a_cancelled_start_leaves_nothing(self) -> None:
        before = children()
        with trio.move_on_after(0.1) as scope:
            async with open_engine(EngineConfig(demo=True)):
                pytest.fail("an interpreter cannot start that fast")

        assert scope.cancelled_caught
        assert children() == before

    async def test_signals_for_the_service_do_not_end_it_first(self, engine: Engine) -> None:
        pid = engine.pid
        assert pid is not None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)

        assert (await chat(engine))["usage"]["completion_tokens"] > 0
        assert engine.pid == pid
        assert os.getpgid(pid) != os.getpgrp()  # so that Ctrl-C in a terminal does not even reach it

    async def test_it_listens_on_loopback_and_connects_nowhere(self, engine: Engine) -> None:
        await chat(engine)

        assert engine.pid is not None
        assert {local for local, _ in connections(engine.pid)} == {f"0100007F:{port_of(engine):04X}"}


PARENT = """
import os, sys, trio
from lakehouse.local_model.engine import EngineConfig, open_engine

async def main():
    async with open_engine(EngineConfig(demo=True)) as engine:
        fork = os.fork() if "fork" in sys.argv else None
        if fork != 0:
            print(engine.pid, fork or "", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@needs_llama
class TestOrphans:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    async def test_there_is_no_orphan_after_a_signal_to_the_parent(self, number: signal.Signals) -> None:
        with parent() as (running, pids):
            running.send_signal(number)
            await until_gone(pids[0])

    async def test_there_is_no_orphan_when_another_process_holds_the_pipes(self) -> None:
        """A fork of the parent keeps its end of the pipes open: the kernel has to end the child."""
        with parent("fork") as (running, (pid, fork)):
            try:
                running.kill()
                await until_gone(pid)
                assert lives(fork)
            finally:
                os.kill(fork, signal.SIGKILL)

    def test_the_child_ends_at_the_end_of_input(self) -> None:
        command = [sys.executable, "-m", "lakehouse.process.bootstrap"]
        with (
            reserved_port() as port,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running,
        ):
            try:
                assert running.stdin is not None
                assert running.stdout is not None
                order = StartMessage(parent=os.getpid(), target=CHILD_TARGET, settings=msgspec.Raw(settings(port)))
                running.stdin.write(encode_line(order))
                running.stdin.flush()
                assert decode_ready(running.stdout.readline()).ready
                running.stdin.close()

                assert running.wait(10) == 0
            finally:
                running.kill()


class TestWhatIsWrong:
    async def failure(self, path: Path | None) -> str:
        with pytest.raises(LocalModelError) as caught:
            async with open_engine(EngineConfig(model_path=path, demo=path is None)):
                pytest.fail("it started")
        return str(caught.value)

    @pytest.mark.parametrize("path", [Path("model.gguf"), None])
    async def test_the_extra_is_not_installed(self, path: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(extras, "_is_installed", lambda _: False)

        sentence = await self.failure(path)

        assert sentence.startswith("the embedded model needs the extra `local`")
        assert "pip install '.[local]'" in sentence
        assert ("numpy" in sentence) == (path is None)

    @needs_llama
    async def test_the_file_is_missing(self, tmp_path: Path) -> None:
        sentence = await self.failure(tmp_path / "none.gguf")

        assert sentence == (
            f"there is no file {tmp_path}/none.gguf: --model, or `model` in [chatd.local], takes the path of a GGUF file"
        )

    @needs_llama
    async def test_the_file_is_a_directory(self, tmp_path: Path) -> None:
        assert await self.failure(tmp_path) == f"{tmp_path} is a directory: name the GGUF file in it"

    @needs_llama
    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and more"])
    async def test_the_file_is_no_gguf(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "model.safetensors"
        path.write_bytes(content)

        sentence = await self.failure(path)

        assert sentence.startswith(f"{path} is no GGUF file (it begins with {content[:4]!r}, not b'GGUF')")
        assert "download the model in GGUF format" in sentence

    @needs_llama
    async def test_the_file_is_cut_short(self, tmp_path: Path) -> None:
        path = tmp_path / "cut.gguf"
        build_demo(path)
        os.truncate(path, 200_000)

        sentence = await self.failure(path)

        assert sentence.startswith(f"the model {path} cannot be served: its process exited with status 1 (")
        assert "corrupted or incomplete" in sentence

    @needs_llama
    async def test_a_child_that_reports_ready_has_to_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(launch, "PROGRAM", ("-c", "print('{\"ready\": true}', flush=True); input(); input()"))

        assert "cannot be served: its port" in await self.failure(None)

    @needs_llama
    async def test_loading_has_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(launch, "PROGRAM", ("-c", "input(); input()"))

        with pytest.raises(LocalModelError, match=r"it was not ready within 0\.2 s"):
            async with open_engine(EngineConfig(demo=True, start_timeout=0.2)):
                pytest.fail("it started")

    def test_a_configuration_names_one_model(self) -> None:
        with pytest.raises(ValueError, match="either a `model_path` or the `demo` model"):
            EngineConfig(demo=True, model_path=Path("model.gguf"))
        with pytest.raises(ValueError, match="either a `model_path` or the `demo` model"):
            EngineConfig()


def test_failed_starts_back_off_to_twice_a_minute_and_a_process_that_served_is_replaced_at_once() -> None:
    engine = Engine(EngineConfig(demo=True), 4711)
    restarts = engine._slot._backoff
    assert [restarts.delay_after(None) for _ in range(9)] == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert restarts.failures > MAX_FAILED_STARTS
    assert [restarts.delay_after(0.5) for _ in range(3)] == [0.25] * 3
    assert restarts.failures == 0
    assert restarts.delay_after(5) == 0


def settings(port: int) -> bytes:
    return msgspec.json.encode(Settings(port=port, api_key="key", name="demo", model=None, context=512, parallel=1))


def build_demo(path: Path) -> None:
    from lakehouse.local_model import demo  # needs the extra

    demo.build(path)


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def connections(pid: int) -> Iterator[tuple[str, str]]:
    """The local and remote address of every TCP socket of a process, as the kernel writes them."""
    links = (str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir())
    inodes = {link[8:-1] for link in links if link.startswith("socket:")}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                yield fields[1], fields[2]


@contextmanager
def parent(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process that runs an engine, and what it printed: the numbers of its child and of its fork."""
    command = [sys.executable, "-c", PARENT, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        try:
            assert running.stdout is not None
            yield running, [int(pid) for pid in running.stdout.readline().split()]
        finally:
            running.kill()
