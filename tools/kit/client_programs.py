"""Coding agents as programs: installed elsewhere, started by `lakehouse launch` in a home and a folder of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.kit.command import Ran, lakehouse
from tools.kit.not_installed import NotInstalled


@dataclass(frozen=True, kw_only=True)
class ClientProgram:
    """A program that answers one prompt and ends. `arguments` stand before the prompt; `form` is what it speaks.

    `own_settings` are a file in the home of a user who has it set up for a provider elsewhere, and its content. One that
    `edits` has no tools: it writes files as the text of an answer says.
    """

    title: str
    form: str
    arguments: tuple[str, ...]
    own_settings: tuple[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)
    edits: bool = False


_ELSEWHERE = "http://127.0.0.1:9/v1"
_CODEX_SETTINGS = f"""
model = "mine"
model_provider = "elsewhere"
[model_providers.elsewhere]
name = "Elsewhere"
base_url = "{_ELSEWHERE}"
wire_api = "responses"
"""
_CLAUDE_VARIABLES = {
    "ANTHROPIC_BASE_URL": _ELSEWHERE,
    "ANTHROPIC_AUTH_TOKEN": "mine",
    "ANTHROPIC_API_KEY": "mine",
    "ANTHROPIC_MODEL": "mine",
}
_OPENCODE_PROVIDER = {
    "npm": "@ai-sdk/openai-compatible",
    "options": {"baseURL": _ELSEWHERE},
    "models": {"mine": {"name": "mine"}},
}
_GOOSE_SETTINGS = {
    "GOOSE_PROVIDER": "anthropic",
    "GOOSE_MODEL": "mine",
    "ANTHROPIC_HOST": _ELSEWHERE,
    "OPENAI_HOST": _ELSEWHERE,
    "OPENAI_BASE_URL": _ELSEWHERE,
    "OPENAI_BASE_PATH": "elsewhere",
    "OPENAI_CUSTOM_HEADERS": "X-Session-Id=mine",
}
_QWEN_SETTINGS = {
    "security": {"auth": {"selectedType": "openai", "apiKey": "mine", "baseUrl": _ELSEWHERE}},
    "model": {"name": "mine"},
}
_AIDER_SETTINGS = {
    "model": "openai/mine",
    "weak-model": "openai/weak",
    "openai-api-base": _ELSEWHERE,
    "openai-api-key": "mine",
}

PROGRAMS: dict[str, ClientProgram] = {
    "codex": ClientProgram(
        title="Codex CLI",
        form="responses",
        arguments=("exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"),
        own_settings=("config.toml", _CODEX_SETTINGS),
    ),
    "claude": ClientProgram(
        title="Claude Code",
        form="messages",
        arguments=("-p", "--allowedTools", "Bash(echo:*)", "--"),
        own_settings=(".claude/settings.json", json.dumps({"env": _CLAUDE_VARIABLES})),
        environment={"DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"},
    ),
    "opencode": ClientProgram(
        title="OpenCode",
        form="chat completions",
        arguments=("run",),
        own_settings=(
            ".config/opencode/opencode.json",
            json.dumps({"model": "elsewhere/mine", "provider": {"elsewhere": _OPENCODE_PROVIDER}}),
        ),
    ),
    "goose": ClientProgram(
        title="Goose",
        form="chat completions",
        arguments=("run", "--no-session", "--quiet", "--text"),
        own_settings=(".config/goose/config.yaml", json.dumps(_GOOSE_SETTINGS)),
        environment={"GOOSE_DISABLE_KEYRING": "1", "GOOSE_TELEMETRY_ENABLED": "false"},
    ),
    "copilot": ClientProgram(
        title="Copilot CLI",
        form="chat completions",
        arguments=("--allow-all-tools", "--no-color", "--prompt"),
        own_settings=(".copilot/config.json", json.dumps({"model": "mine"})),
        environment={"COPILOT_OFFLINE": "true", "COPILOT_AUTO_UPDATE": "false"},
    ),
    "qwen": ClientProgram(
        title="Qwen Code",
        form="chat completions",
        arguments=("--yolo", "--prompt"),
        own_settings=(".qwen/settings.json", json.dumps(_QWEN_SETTINGS)),
        environment={"QWEN_TELEMETRY_ENABLED": "false", "QWEN_CODE_DISABLE_UPDATE_CHECK": "1"},
    ),
    "aider": ClientProgram(
        title="aider",
        form="chat completions",
        arguments=("--yes-always", "--message"),
        own_settings=(".aider.conf.yml", json.dumps(_AIDER_SETTINGS)),
        environment={"AIDER_ANALYTICS": "false", "AIDER_CHECK_UPDATE": "false", "LITELLM_LOCAL_MODEL_COST_MAP": "true"},
        edits=True,
    ),
}
"""By the name that `lakehouse launch` has for them."""


def find_version(name: str) -> str:
    """The version of a program. Raises `NotInstalled`."""
    if shutil.which(name) is None:
        raise NotInstalled(f"{name} is not installed")
    printed = subprocess.run([name, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    return next(word for word in printed.split() if word[0].isdigit()).rstrip(".")


async def run_program(name: str, prompt: str, *, url: str, model: str, folder: Path) -> Ran:
    """Start a program with a prompt and wait for its end. `folder` gets its home, and the directory where it works.

    The user has it set up for another provider, which launching must not use.
    """
    program = PROGRAMS[name]
    home, work = folder / "home", folder / "work"
    file, content = program.own_settings
    for path in (work, (home / file).parent):
        path.mkdir(parents=True)
    (home / file).write_text(content)
    # OpenCode works where `PWD` says, as a shell sets it.
    places = {"HOME": str(home), "CODEX_HOME": str(home), "PWD": str(work), "PATH": os.environ["PATH"]}
    arguments = ("launch", name, "--url", url, "--model", model, "--", *program.arguments, prompt)
    return await lakehouse(*arguments, cwd=work, env={**places, **program.environment})
