"""The `lakehouse` program as a person or a script has it: what it prints, where, and with which status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from lakehouse.testing.upstreams import (
    ReceivedRequest,
    ScriptedUpstream,
    answer_with,
    never_answer,
    open_upstream,
    respond,
)
from tools.kit.command import ROOT, lakehouse
from tools.kit.matrices import spread

SECRET = "sk-or-v1-0123456789abcdef"


def configure(directory: Path, text: str) -> None:
    (directory / "lakehouse.toml").write_text(text)


async def ollama(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    """Lists one model, and answers in three pieces with some thought before."""
    if asked.target == "/api/tags":
        await stream.send_all(respond({"models": [{"name": "qwen3:8b", "model": "qwen3:8b"}]}))
        return
    if asked.target == "/api/version":
        await stream.send_all(respond({"version": "0.31.2"}))
        return
    said = [{"thinking": "Hm. ", "content": ""}, {"content": "Hello"}, {"content": ", world"}]
    lines = [{"model": "qwen3:8b", "message": {"role": "assistant", **piece}, "done": False} for piece in said]
    end = {"model": "qwen3:8b", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
    counts = {"prompt_eval_count": 11, "eval_count": 4}
    body = "".join(json.dumps(line) + "\n" for line in [*lines, end | counts])
    if not asked.json["stream"]:
        body = json.dumps(end | counts | {"message": {"role": "assistant", "content": "Hello, world"}})
    await stream.send_all(respond(body.encode(), content_type="application/x-ndjson"))


async def test_check_shows_what_would_run_and_never_a_key(tmp_path: Path) -> None:
    configure(
        tmp_path,
        '[models]\nfast = "qwen3:8b"\njudge = ["kimi-k2.6:cloud", "openrouter/z-ai/glm-5.2"]\n[validatord]\nx = 1\n'
        '[lake]\npath = "data"\n[gateway]\nvectord_url = "http://127.0.0.1:3215"\n'
        '[embedd]\ndefault_model = "nomic-embed-text"\nmodel = "/none/my.gguf"',
    )
    ran = await lakehouse("check", cwd=tmp_path, env={"OPENROUTER_API_KEY": SECRET})
    assert ran.status == 0
    assert ran.err == "warning: tables that are not ours are ignored: validatord\n"
    assert SECRET not in ran.out
    for line in (
        r"configuration +lakehouse\.toml",
        r"listens on +http://127\.0\.0\.1:3110 .*no token",
        r"/v1/vectors +vectord +http://127\.0\.0\.1:3215",
        r"/v1/pathway +pathwayd +embedded",
        r"embeddings +nomic-embed-text \(default\)\n +wordllama-256",
        r" my \(there is no file /none/my\.gguf \(the key `model` in \[embedd\]\)\)|xllamacpp cannot be found",
        r"\+ openrouter +https://openrouter\.ai/api/v1, key from \$OPENROUTER_API_KEY\n",
        r"- kimi .*no key was found in \$KIMI_API_KEY",
        r"\+ fast +qwen3:8b -> ollama as qwen3:8b",
        r"- judge +kimi-k2\.6:cloud -> ollama_cloud as kimi-k2\.6 .*not registered",
        r"\+ judge +openrouter/z-ai/glm-5\.2 -> openrouter as z-ai/glm-5\.2",
    ):
        assert re.search(line, ran.out), line


async def test_check_for_a_script(tmp_path: Path) -> None:
    configure(tmp_path, '[models]\nfast = "local/m"')
    ran = await lakehouse("check", "--json", cwd=tmp_path)
    document = json.loads(ran.out)
    assert ran.status == 0
    assert document["tiers"] == [
        {"name": "fast", "model": "local/m", "provider": "local", "asked_as": "m", "registered": False}
    ]
    assert {route["prefix"] for route in document["routes"]} >= {"/v1/storage", "/v1/embed"}


async def test_check_reports_all_problems_a_line_each_with_status_2(tmp_path: Path) -> None:
    configure(tmp_path, '[gateway]\nstoraged_url = "127.0.0.1:3211"\nbind = 3\n[auth]\nalow = []')
    ran = await lakehouse("check", cwd=tmp_path)
    assert ran.status == 2
    assert ran.out == ""
    assert ran.err.splitlines() == [
        'gateway.storaged_url must include scheme and host (got "127.0.0.1:3211")',
        'gateway.bind must be a string "HOST:PORT" (got 3)',
        "auth.alow is not a known key (did you mean allow?)",
    ]


async def test_check_sees_problems_of_both_kinds_at_once(tmp_path: Path) -> None:
    text = '[gateway]\nbind = "0.0.0.0:0"\nsql_url = ""\n[models]\nfast = ["m", "kimi/"]\n[chatd]\ndefault = "local"'
    configure(tmp_path, text)
    ran = await lakehouse("check", cwd=tmp_path)
    assert (ran.status, ran.out) == (2, "")
    assert [problem.partition(" ")[0] for problem in ran.err.splitlines()] == [
        "gateway.sql_url",
        "gateway.bind",
        "chatd.default",
        "models.fast",
    ]


@pytest.mark.extended
async def test_check_with_two_names_for_one_model_and_a_key_file_that_is_a_directory(tmp_path: Path) -> None:
    configure(tmp_path, f'[models]\nfast = ["m", "ollama/m"]\n[chatd.kimi]\nkey_file = "{tmp_path}"')
    ran = await lakehouse("check", cwd=tmp_path)
    assert (ran.status, ran.err) == (0, f"warning: the key file {tmp_path} cannot be read: Is a directory\n")
    assert re.findall(r"\+ fast +(\S+) -> ollama as m", ran.out) == ["m", "ollama/m"]


async def test_check_sees_what_would_stop_the_start(tmp_path: Path) -> None:
    configure(tmp_path, '[gateway]\nbind = "0.0.0.0:3110"\n[chatd.local]\nmodel = "missing.gguf"')
    ran = await lakehouse("check", cwd=tmp_path)
    assert ran.status == 2
    assert len(ran.err.splitlines()) == 2
    assert "gateway.bind 0.0.0.0:3110 can be reached from other machines and no token is set" in ran.err
    assert "missing.gguf" in ran.err


async def test_check_sees_that_an_extra_is_missing(tmp_path: Path) -> None:
    configure(tmp_path, '[chatd.local]\ndemo = true\n[observe]\ntraces_url = "http://127.0.0.1:4318/v1/traces"')
    hide = "import sys; sys.modules.update(xllamacpp=None, opentelemetry=None); import lakehouse.cli as c; sys.exit(c.main())"
    done = await trio.run_process(
        [sys.executable, "-c", hide, "check"],
        check=False,
        capture_stdout=True,
        capture_stderr=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout) == (2, b"")
    traces, local = done.stderr.decode().splitlines()
    assert traces.startswith("observe.traces_url needs the extra `otel`, of which opentelemetry.sdk and ")
    assert traces.endswith("pip install '.[otel]' in Lakehouse's checkout")
    assert local.startswith("chatd.local.demo: the embedded model needs the extra `local`, of which xllamacpp")


@pytest.mark.parametrize("command", spread(["check", "serve", "chat", "providers"], 4))
async def test_a_configuration_that_is_not_there(tmp_path: Path, command: str) -> None:
    ran = await lakehouse(command, "-c", "no.toml", cwd=tmp_path, stdin="hello")
    assert (ran.status, ran.out, ran.err) == (2, "", "-c: there is no file no.toml\n")


async def test_serve_says_why_it_cannot_start(tmp_path: Path) -> None:
    ran = await lakehouse("serve", "--bind", "127.0.0.1:x", cwd=tmp_path)
    assert (ran.status, ran.err) == (2, '--bind must be "HOST:PORT" with a port from 0 to 65535 (got "127.0.0.1:x")\n')
    ran = await lakehouse("serve", "--bind", "127.0.0.1:0", "--model", "missing.gguf", cwd=tmp_path)
    assert ran.status == 1
    assert ran.err.startswith("lakehouse: cannot start: ")
    assert "missing.gguf" in ran.err
    async with open_upstream(ollama) as taken:
        address = taken.url.removeprefix("http://")
        ran = await lakehouse("serve", "--bind", address, "--model", "missing.gguf", cwd=tmp_path)
    assert ran.status == 1
    # The address is looked at before the model: nobody waits for a large one to be told this.
    assert ran.err == (
        f"lakehouse: cannot start: cannot listen on {address}: Address already in use: stop what listens there, "
        "or take another port with --bind HOST:PORT (port 0: a free one)\n"
    )


async def test_chat_streams_to_standard_output(tmp_path: Path) -> None:
    async with open_upstream(ollama) as there:
        configure(tmp_path, f'[chatd]\nollama_url = "{there.url}"')
        ran = await lakehouse("chat", "-m", "qwen3:8b", "--system", "Be brief.", "say", "hello", cwd=tmp_path)
    assert (ran.status, ran.out) == (0, "Hello, world\n")
    assert re.fullmatch(r"ollama qwen3:8b: 11 tokens in, 4 out, \d+\.\d s\n", ran.err)
    assert there.requests[-1].json["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "say hello"},
    ]


@pytest.mark.parametrize("arguments", [(), ("-",)])
async def test_chat_reads_standard_input_and_finds_a_model(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    async with open_upstream(ollama) as there:
        configure(tmp_path, f'[chatd]\nollama_url = "{there.url}"')
        ran = await lakehouse("chat", *arguments, cwd=tmp_path, stdin="from a pipe")
    assert (ran.status, ran.out) == (0, "Hello, world\n")
    assert there.requests[-1].json["model"] == "qwen3:8b"
    assert there.requests[-1].json["messages"] == [{"role": "user", "content": "from a pipe"}]


async def test_chat_as_json(tmp_path: Path) -> None:
    async with open_upstream(ollama) as there:
        configure(tmp_path, f'[chatd]\nollama_url = "{there.url}"')
        ran = await lakehouse("chat", "--json", "-m", "ollama/qwen3:8b", "hello", cwd=tmp_path)
    answer = json.loads(ran.out)
    assert (answer["content"], answer["provider"], answer["output_tokens"]) == ("Hello, world", "ollama", 4)


async def test_chat_says_what_went_wrong(tmp_path: Path) -> None:
    ran = await lakehouse("chat", "-m", "kimi/k3", "hello", cwd=tmp_path)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("lakehouse: ErrProviderNotFound: the provider kimi is not registered")
    ran = await lakehouse("chat", cwd=tmp_path, stdin="  \n")
    assert (ran.status, ran.err) == (
        2,
        "lakehouse chat: there is no prompt: put it behind the command, or into standard input\n",
    )
    configure(tmp_path, '[chatd]\nollama_url = ""')
    ran = await lakehouse("chat", "hello", cwd=tmp_path)
    assert ran.status == 1
    assert "name one with -m" in ran.err


async def test_ctrl_c_ends_the_chat_and_what_it_has_upstream(tmp_path: Path) -> None:
    async with open_upstream(never_answer) as there, trio.open_nursery() as nursery:
        configure(tmp_path, f'[chatd]\nollama_url = "{there.url}"')
        command = [sys.executable, "-m", "lakehouse", "chat", "-m", "m", "hello"]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = await nursery.start(
            partial(trio.run_process, command, check=False, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL)
        )
        await asked(there)
        process.send_signal(signal.SIGINT)
        with trio.fail_after(20):
            assert await process.wait() == 130
            while there.closed < there.opened:
                await trio.sleep(0.005)


async def asked(there: ScriptedUpstream) -> None:
    with trio.fail_after(20):
        while not there.requests:
            await trio.sleep(0.01)


async def test_providers_and_whether_they_answer(tmp_path: Path) -> None:
    async with open_upstream(ollama) as there:
        configure(tmp_path, f'[chatd]\nollama_url = "{there.url}"')
        ran = await lakehouse("providers", cwd=tmp_path)
        assert ran.status == 0
        assert re.search(r"^\+ ollama ", ran.out, re.MULTILINE)
        ran = await lakehouse("providers", "--json", cwd=tmp_path)
    rows = {row["name"]: row for row in json.loads(ran.out)}
    assert rows["ollama"]["answers"] is True
    assert rows["kimi"] | {"where": ""} == {
        "name": "kimi", "registered": False, "where": "", "answers": None, "detail": None, "ms": None,
    }  # fmt: skip
    ran = await lakehouse("providers", cwd=tmp_path)  # nobody is there any more
    assert ran.status == 1
    assert re.search(r"^- ollama .*refused", ran.out, re.MULTILINE)


async def test_the_first_run_says_what_it_found_and_what_to_try(tmp_path: Path) -> None:
    async with open_upstream(ollama) as there, trio.open_nursery() as nursery:
        configure(tmp_path, f'[chatd]\nollama_url = "{there.url}"\n[gateway]\nvectord_url = "http://127.0.0.1:1"')
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "lakehouse", "serve", "--bind", "127.0.0.1:0"]
        process = await nursery.start(
            partial(
                trio.run_process,
                command,
                check=False,
                cwd=tmp_path,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        said = ""
        with trio.fail_after(20):
            while "try:" not in said:
                said += (await process.stderr.receive_some()).decode()
        process.terminate()
        assert re.search(r"ollama +answers", said)
        assert re.search(r"openrouter +not registered: no key was found in \$OPENROUTER_API_KEY", said)
        assert re.search(r"upstreams +vectord do not answer", said)
        assert re.search(r"try: +curl http://127\.0\.0\.1:\d+/v1/chat .*ollama/qwen3:8b", said)


async def test_chat_starts_the_embedded_model_when_it_is_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="the extra `local` is not installed")
    ran = await lakehouse("chat", "--demo", "--json", "hello", cwd=tmp_path)
    assert ran.status == 0, ran.err
    assert json.loads(ran.out)["provider"] == "local"


@pytest.mark.extended
async def test_each_host_and_key_of_a_provider_is_probed(tmp_path: Path) -> None:
    async with open_upstream(answer_with(respond({"data": [{"id": "m"}]}))) as there:
        config = tmp_path / "lakehouse.toml"
        config.write_text(
            '[chatd]\nollama_url = ""\n[providers.lab]\nwire = "chat_completions"\nkey_env = ["KEY_ONE", "KEY_TWO"]\n'
            f'base_url = ["{there.url}/v1", "http://127.0.0.1:1/v1"]\n'
        )
        keys = {"KEY_ONE": "first-key", "KEY_TWO": "second-key"}
        ran = await lakehouse("providers", "-c", str(config), "--json", cwd=tmp_path, env=keys)
        checked = await lakehouse("check", "-c", str(config), "--json", cwd=tmp_path, env=keys)
    host = there.url.removeprefix("http://")
    shown = [(row["name"], row["replica"], row["answers"]) for row in json.loads(ran.out) if row["registered"]]
    assert shown == [("lab", f"{place}, ${key}", place == host) for place in (host, "127.0.0.1:1") for key in keys]
    assert [row["replica"] for row in json.loads(checked.out)["providers"] if row["registered"]] == [
        row[1] for row in shown
    ]
    assert ran.status == 1
    assert "first-key" not in ran.out + ran.err + checked.out
