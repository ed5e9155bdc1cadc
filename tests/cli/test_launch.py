"""`lakehouse launch`: an installed client, set up for a running service by its environment and its arguments alone."""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from pathlib import Path

import pytest
import trio

from lakehouse.cli.launch import run
from lakehouse.cli.launch_clients import CLIENTS, COPILOT_HEADERS, GOOSE_HEADERS, KEY, MAX_MODELS, LaunchTarget
from lakehouse.testing.upstreams import ReceivedRequest, open_upstream, respond
from tools.kit.command import Ran, lakehouse

TARGET = LaunchTarget(url="http://here:3110", token="secret", run="run-1", model='a/"b"', models=("fast", "a/c"))
CLIENT = """#!/bin/sh
{ printf '%s\\n' "$0" "$@"; } > "$SEEN/arguments"
env > "$SEEN/environment"
kill -PIPE $$
exit 3
"""
"""Notes what it was started with, and ends by the signal that Python ignores."""


def test_what_each_client_is_told() -> None:
    told = {name: client.configure(TARGET, {}) for name, client in CLIENTS.items()}
    assert all("secret" not in " ".join(settings.arguments) for settings in told.values())
    claude = told["claude"].environment
    assert (claude["ANTHROPIC_BASE_URL"], claude["ANTHROPIC_AUTH_TOKEN"]) == (TARGET.url, "secret")
    assert (claude["ANTHROPIC_MODEL"], claude["ANTHROPIC_DEFAULT_HAIKU_MODEL"]) == (TARGET.model, TARGET.model)
    assert (claude["ANTHROPIC_API_KEY"], claude["CLAUDE_CODE_USE_BEDROCK"]) == (None, None)
    option, given = told["claude"].arguments
    settings = json.loads(given)
    assert (option, settings["apiKeyHelper"], claude[KEY]) == ("--settings", f"printenv {KEY}", "secret")
    same = {name: value or None for name, value in settings["env"].items()}
    assert {**same, "ANTHROPIC_AUTH_TOKEN": "secret", KEY: "secret"} == claude, "what the user's settings would change"
    options = told["codex"].arguments
    assert set(options[::2]) == {"-c"}
    read = tomllib.loads("\n".join(options[1::2]))
    assert read == {
        "model_provider": "lakehouse",
        "model": TARGET.model,
        "model_providers": {
            "lakehouse": {
                "name": "Lakehouse",
                "base_url": "http://here:3110/v1",
                "wire_api": "responses",
                "env_key": KEY,
            }
        },
    }
    assert told["codex"].environment == {KEY: "secret"}
    goose = told["goose"].environment
    assert (goose["GOOSE_PROVIDER"], goose["GOOSE_MODEL"]) == ("openai", TARGET.model)
    assert (goose["OPENAI_HOST"], goose["OPENAI_API_KEY"]) == (TARGET.url, "secret")
    assert (goose["GOOSE_SUBAGENT_PROVIDER"], goose["GOOSE_SUBAGENT_MODEL"]) == ("openai", TARGET.model)
    copilot = told["copilot"].environment
    assert (copilot["COPILOT_PROVIDER_BASE_URL"], copilot["COPILOT_MODEL"]) == ("http://here:3110/v1", TARGET.model)
    assert (copilot["COPILOT_PROVIDER_API_KEY"], copilot["COPILOT_PROVIDER_BEARER_TOKEN"]) == ("secret", None)
    qwen = told["qwen"].environment
    assert (qwen["OPENAI_BASE_URL"], qwen["OPENAI_API_KEY"]) == ("http://here:3110/v1", "secret")
    assert f"--model={TARGET.model}" in told["qwen"].arguments


def test_aider_uses_no_other_service_and_no_other_model() -> None:
    """Whatever its own files, a project's `.env` and the names of models that it knows say."""
    told = CLIENTS["aider"].configure(TARGET, {})
    options = dict(argument.split("=", 1) for argument in told.arguments if "=" in argument)
    used = f"openai/{TARGET.model}"
    assert options == {
        "--model": used,
        "--weak-model": used,
        "--editor-model": used,
        "--openai-api-base": "http://here:3110/v1",
    }
    assert {name: told.environment[name] for name in ("OPENAI_API_KEY", "AIDER_OPENAI_API_KEY")} == {
        "OPENAI_API_KEY": "secret",
        "AIDER_OPENAI_API_KEY": "secret",
    }


@pytest.mark.parametrize(
    ("client", "variable", "made", "given"),
    [
        ("goose", GOOSE_HEADERS, "X-Session-Id=run-1", "X-Team=a,x-session-id=mine"),
        ("copilot", COPILOT_HEADERS, "X-Session-Id: run-1", "X-Team: a\nx-session-id: mine"),
    ],
)
def test_a_run_has_a_name_that_it_can_be_stopped_by(client: str, variable: str, made: str, given: str) -> None:
    """The one that the user gives, or one that is made, in place of headers for another service."""
    configure = CLIENTS[client].configure
    assert configure(TARGET, {}).environment[variable] == made
    assert configure(TARGET, {variable: "Authorization=theirs"}).environment[variable] == made
    assert configure(TARGET, {variable: given}).environment[variable] == given


@pytest.mark.parametrize(
    "given", ["", "no JSON", "[]", '{"provider": 3}', '{"theme": "dark", "provider": {"mine": {"npm": "x"}}}']
)
def test_opencode_keeps_its_other_settings(given: str) -> None:
    env = {"OPENCODE_CONFIG_CONTENT": given} if given else {}
    settings = CLIENTS["opencode"].configure(TARGET, env).environment
    content = json.loads(settings["OPENCODE_CONFIG_CONTENT"] or "")
    provider = content["provider"].pop("lakehouse")
    assert (settings[KEY], content["model"]) == ("secret", f"lakehouse/{TARGET.model}")
    assert provider["options"] == {"baseURL": "http://here:3110/v1", "apiKey": f"{{env:{KEY}}}"}
    assert list(provider["models"]) == [TARGET.model, "fast", "a/c"]
    theirs = given.startswith('{"theme"')
    assert content["provider"] == ({"mine": {"npm": "x"}} if theirs else {})
    assert ("theme" in content) == theirs


def test_the_longest_list_of_models_fits_into_a_variable() -> None:
    many = tuple(f"openrouter/{number:0>50}" for number in range(10 * MAX_MODELS))
    target = LaunchTarget(url="http://here", token="t", run="r", model="m", models=many)
    content = CLIENTS["opencode"].configure(target, {}).environment["OPENCODE_CONFIG_CONTENT"] or ""
    assert len(content) < 128 * 1024 - len("OPENCODE_CONFIG_CONTENT=")


def install(directory: Path, name: str) -> dict[str, str]:
    """A client on the path that notes what it was started with, and an environment in which it is found."""
    directory.mkdir()
    program = directory / name
    program.write_text(CLIENT)
    program.chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}", "SEEN": str(directory)}


async def launch(cwd: Path, url: str, client: str, *arguments: str, env: dict[str, str]) -> Ran:
    return await lakehouse("launch", client, "--url", url, *arguments, cwd=cwd, env=env)


async def list_models(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    """A service that lists two models, to those that have its token."""
    allowed = asked.headers.get("authorization") == "Bearer secret"
    listed: dict[str, object] = {"data": [{"id": "fast"}, {"id": "ollama/m"}]}
    await stream.send_all(respond(listed) if allowed else respond({"error": {"message": "no token"}}, 401))


async def test_the_client_takes_the_place_of_the_command(tmp_path: Path) -> None:
    env = {**install(tmp_path / "bin", "claude"), "LAKEHOUSE_TOKEN": "secret", "ANTHROPIC_API_KEY": "another"}
    async with open_upstream(list_models) as service:
        ran = await launch(tmp_path, service.url, "claude", "--", "-p", "hello there", "--model=x", env=env)
        assert ran.err == f"lakehouse launch: claude with fast at {service.url}\n"
        assert ran.status == -13  # SIGPIPE ended it: the signal was not left ignored
        program, option, _, *seen = (tmp_path / "bin" / "arguments").read_text().splitlines()
        assert (program, option) == (str(tmp_path / "bin" / "claude"), "--settings")
        assert seen == ["-p", "hello there", "--model=x"]
        told = dict(line.split("=", 1) for line in (tmp_path / "bin" / "environment").read_text().splitlines() if "=" in line)  # fmt: skip
        assert (told["ANTHROPIC_BASE_URL"], told["ANTHROPIC_AUTH_TOKEN"]) == (service.url, "secret")
        assert told["ANTHROPIC_MODEL"] == "fast"
        assert "ANTHROPIC_API_KEY" not in told
        assert {path.name for path in tmp_path.iterdir()} == {"bin"}  # no file is left, and none was needed


def test_a_client_that_is_not_installed_is_said_and_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, client in CLIENTS.items():
        assert run(argparse.Namespace(client=name)) == 1
        missing = f"`{client.program}` is not installed, or in no directory of $PATH: {client.install}"
        assert capfd.readouterr().err == f"lakehouse launch: {missing}\n"


@pytest.mark.extended
async def test_what_is_missing_is_said(tmp_path: Path) -> None:
    async def list_none(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.send_all(respond({"data": []}))

    env = {**install(tmp_path / "bin", "codex"), "HOME": str(tmp_path)}
    async with open_upstream(list_models) as service, open_upstream(list_none) as empty:
        for name, client in CLIENTS.items():
            if client.program != "codex":
                absent = await launch(tmp_path, service.url, name, env={**env, "PATH": str(tmp_path / "bin")})
                missing = f"`{client.program}` is not installed, or in no directory of $PATH: {client.install}"
                assert (absent.status, absent.err) == (1, f"lakehouse launch: {missing}\n")
        locked = await launch(tmp_path, service.url, "codex", env=env)
        assert (locked.status, "it asks for a token" in locked.err) == (1, True)
        nothing = await launch(tmp_path, empty.url, "codex", env=env)
        assert (nothing.status, "lists no model: name one with --model" in nothing.err) == (1, True)
    gone = await launch(tmp_path, empty.url, "codex", env=env)
    assert (gone.status, "lakehouse launch: " in gone.err) == (1, True)
    assert [path.name for path in tmp_path.rglob("*")] == ["bin", "codex"], "nothing was started, and no file was made"
