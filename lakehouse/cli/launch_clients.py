"""The clients that `lakehouse launch` starts: what each is told, by its environment and its arguments alone.

Nothing of the user's is changed: the environment is that of the one process, and there is no file. A token is never
among the arguments, which every user of a machine can list.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

KEY = "LAKEHOUSE_CLIENT_TOKEN"
"""The variable that holds the token for clients whose configuration names a variable."""

GOOSE_HEADERS = "OPENAI_CUSTOM_HEADERS"
"""The variable with headers that Goose sends."""

COPILOT_HEADERS = "COPILOT_PROVIDER_HEADERS"
"""The variable with headers that Copilot CLI sends."""

_OTHER_COPILOT_SETTINGS = tuple(
    f"COPILOT_PROVIDER_{name}"
    for name in ("TYPE", "BEARER_TOKEN", "API_KEY_COMMAND", "WIRE_API", "TRANSPORT", "MODEL_ID", "WIRE_MODEL")
)

MAX_MODELS = 500
"""Models that a client's configuration names: the value of a variable has at most 128 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTarget:
    """The service that a client is to use: its URL without a path, a token or any text, and models.

    `run` names the run for the service, where a client has no name of its own that is unique.
    """

    url: str
    token: str
    run: str
    model: str
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSettings:
    """What a client is started with: arguments before the user's own, and variables, None for one that is removed."""

    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchableClient:
    """A client. `install` is a command that installs it. `configure` is also given the present environment."""

    program: str
    install: str
    configure: Callable[[LaunchTarget, Mapping[str, str]], LaunchSettings]


def _configure_claude(target: LaunchTarget, _: Mapping[str, str]) -> LaunchSettings:
    """Claude Code. It prefers a key, and other clouds, to the token; its own names of models stand for this model.

    Variables in the user's settings go before those of the environment, and `--settings` before both. A token is no
    argument, so that one in the user's settings is emptied, and a command prints the right one.
    """
    models = ("", "_SMALL_FAST", "_DEFAULT_HAIKU", "_DEFAULT_OPUS", "_DEFAULT_SONNET")
    named = {"ANTHROPIC_BASE_URL": target.url, **{f"ANTHROPIC{kind}_MODEL": target.model for kind in models}}
    others = ("ANTHROPIC_API_KEY", *(f"CLAUDE_CODE_USE_{cloud}" for cloud in ("BEDROCK", "FOUNDRY", "VERTEX")))
    emptied = dict.fromkeys((*others, "ANTHROPIC_AUTH_TOKEN"), "")
    settings = json.dumps({"env": {**named, **emptied}, "apiKeyHelper": f"printenv {KEY}"})
    tokens = {"ANTHROPIC_AUTH_TOKEN": target.token, KEY: target.token}
    return LaunchSettings(arguments=("--settings", settings), environment={**dict.fromkeys(others), **named, **tokens})


def _configure_codex(target: LaunchTarget, _: Mapping[str, str]) -> LaunchSettings:
    """Codex. Values on its command line are TOML, whose strings can be written as JSON's."""
    provider = {"name": "Lakehouse", "base_url": f"{target.url}/v1", "wire_api": "responses", "env_key": KEY}
    table = ",".join(f"{name}={json.dumps(value)}" for name, value in provider.items())
    values = (
        'model_provider="lakehouse"',
        f"model_providers.lakehouse={{{table}}}",
        f"model={json.dumps(target.model)}",
    )
    options = tuple(part for value in values for part in ("-c", value))
    return LaunchSettings(arguments=options, environment={KEY: target.token})


def _configure_opencode(target: LaunchTarget, env: Mapping[str, str]) -> LaunchSettings:
    """OpenCode, by a configuration in a variable, which it merges with its files. What is there already is kept."""
    models = dict.fromkeys((target.model, *target.models[:MAX_MODELS]))
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Lakehouse",
        "options": {"baseURL": f"{target.url}/v1", "apiKey": f"{{env:{KEY}}}"},
        "models": {model: {"name": model} for model in models},
    }
    given = _read_object(env.get("OPENCODE_CONFIG_CONTENT", ""))
    others = given.get("provider")
    providers = {**(others if isinstance(others, dict) else {}), "lakehouse": provider}
    content = {**given, "provider": providers, "model": f"lakehouse/{target.model}"}
    return LaunchSettings(environment={KEY: target.token, "OPENCODE_CONFIG_CONTENT": json.dumps(content)})


def _configure_goose(target: LaunchTarget, env: Mapping[str, str]) -> LaunchSettings:
    """Goose, as a client of OpenAI's. Its variables go before its files, those for its subagents among them.

    Its own names of sessions are a date and a number, the same ones on each machine: a header has another.
    """
    headers = env.get(GOOSE_HEADERS, "")
    return LaunchSettings(
        environment={
            "GOOSE_PROVIDER": "openai",
            "GOOSE_MODEL": target.model,
            "GOOSE_SUBAGENT_PROVIDER": "openai",
            "GOOSE_SUBAGENT_MODEL": target.model,
            "OPENAI_HOST": target.url,
            "OPENAI_BASE_PATH": "v1/chat/completions",
            "OPENAI_API_KEY": target.token,
            GOOSE_HEADERS: headers if "x-session-id=" in headers.lower() else f"X-Session-Id={target.run}",
        }
    )


def _configure_copilot(target: LaunchTarget, env: Mapping[str, str]) -> LaunchSettings:
    """GitHub's Copilot CLI, with a provider of the user's own; a bearer token and a command would go before the key."""
    headers = env.get(COPILOT_HEADERS, "")
    return LaunchSettings(
        environment={
            "COPILOT_PROVIDER_BASE_URL": f"{target.url}/v1",
            "COPILOT_PROVIDER_API_KEY": target.token,
            "COPILOT_MODEL": target.model,
            COPILOT_HEADERS: headers if "x-session-id:" in headers.lower() else f"X-Session-Id: {target.run}",
            **dict.fromkeys(_OTHER_COPILOT_SETTINGS),
        }
    )


def _configure_qwen(target: LaunchTarget, _: Mapping[str, str]) -> LaunchSettings:
    """Qwen Code, as a client of OpenAI's. Its arguments go before its files, and the files before its environment."""
    address = f"{target.url}/v1"
    return LaunchSettings(
        arguments=("--auth-type=openai", f"--model={target.model}", f"--openai-base-url={address}"),
        environment={"OPENAI_BASE_URL": address, "OPENAI_MODEL": target.model, "OPENAI_API_KEY": target.token},
    )


def _configure_aider(target: LaunchTarget, _: Mapping[str, str]) -> LaunchSettings:
    """aider, as a client of OpenAI's.

    It reads `.env` files over its environment, and its own files go before variables without `AIDER_`. Its models for
    small requests and for edits would be others, and it would ask a question about each name that it does not know.
    """
    models = [f"--{kind}model=openai/{target.model}" for kind in ("", "weak-", "editor-")]
    address = f"{target.url}/v1"
    keys = dict.fromkeys(("OPENAI_API_KEY", "AIDER_OPENAI_API_KEY"), target.token)
    return LaunchSettings(
        arguments=(*models, f"--openai-api-base={address}", "--no-show-model-warnings"),
        environment={"OPENAI_API_BASE": address, **keys, "GITHUB_COPILOT_TOKEN": None},
    )


def _read_object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


CLIENTS: Mapping[str, LaunchableClient] = {
    "aider": LaunchableClient(
        program="aider", install="python -m pip install aider-install && aider-install", configure=_configure_aider
    ),
    "claude": LaunchableClient(
        program="claude", install="npm install -g @anthropic-ai/claude-code", configure=_configure_claude
    ),
    "codex": LaunchableClient(program="codex", install="npm install -g @openai/codex", configure=_configure_codex),
    "copilot": LaunchableClient(
        program="copilot", install="npm install -g @github/copilot", configure=_configure_copilot
    ),
    "goose": LaunchableClient(program="goose", install="brew install block-goose-cli", configure=_configure_goose),
    "opencode": LaunchableClient(
        program="opencode", install="npm install -g opencode-ai", configure=_configure_opencode
    ),
    "qwen": LaunchableClient(program="qwen", install="npm install -g @qwen-code/qwen-code", configure=_configure_qwen),
}
