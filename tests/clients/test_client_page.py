"""What `docs/clients.md` has to paste: programs run, and settings are those that `lakehouse launch` makes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import pytest
import trio

from lakehouse.cli.launch_clients import CLIENTS, KEY, LaunchTarget
from tests.clients.markers import in_clients_session
from tools.kit.client_grid.javascript_clients import SOURCE
from tools.kit.doc_pages.client_page import find_blocks
from tools.kit.node_packages import install_program
from tools.kit.not_installed import NotInstalled
from tools.kit.service_with_providers import open_service_with_providers

MODEL = "ollama/qwen3:32b"
TARGET = LaunchTarget(url="http://HOST:PORT", token="TOKEN", run="RUN", model=MODEL, models=(MODEL,))


@pytest.mark.parametrize("heading", ["OpenAI's Python SDK", "OpenAI's SDKs and the Agents SDK"])
async def test_a_python_program_runs(heading: str) -> None:
    (program,) = find_blocks(heading, "python")
    names: dict[str, Any] = {}
    async with open_service_with_providers() as there:
        pasted = program.replace("http://HOST:PORT", there.service.urls[0])
        await trio.to_thread.run_sync(exec, pasted, names)
        names["client"].close()
        assert there.only_request("ollama").json["model"] == "qwen3:8b"
    answer = names.get("response") or names["completion"]
    assert "Hello." in str(answer)


@in_clients_session
async def test_the_javascript_programs_run(request: pytest.FixtureRequest) -> None:
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("client-grid")
    try:
        await trio.to_thread.run_sync(install_program, SOURCE, folder)
    except NotInstalled as missing:
        pytest.skip(str(missing))
    programs = find_blocks("JavaScript: OpenAI's SDK and Vercel's `ai`", "js")
    assert len(programs) == 2
    async with open_service_with_providers() as there:
        for program in programs:
            path = folder / "pasted.mjs"
            path.write_text(program.replace("http://HOST:PORT", there.service.urls[0]))
            with trio.fail_after(60):
                run = await trio.run_process(["node", str(path)], capture_stdout=True, capture_stderr=True)
            assert run.stdout == b"Hello.\n", run.stderr


def read_variables(block: str) -> dict[str, str]:
    """The variables that lines of a shell export."""
    words = shlex.split(block, comments=True)
    return dict(word.split("=", 1) for word in words if "=" in word)


def set_by_launch(client: str) -> Mapping[str, str | None]:
    return CLIENTS[client].configure(TARGET, {}).environment


def test_the_variables_of_claude_code_are_those_that_launch_sets() -> None:
    (block,) = find_blocks("Claude Code", "sh")
    pasted, launched = read_variables(block), set_by_launch("claude")
    assert set(pasted) < set(launched)
    assert [pasted[name] for name in ("ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN")] == [TARGET.url, TARGET.token]
    assert launched["ANTHROPIC_API_KEY"] is None, "which the page says must not be set"


HEADINGS = {"goose": "Goose", "copilot": "GitHub's Copilot CLI", "qwen": "Qwen Code", "aider": "aider"}


@pytest.mark.parametrize("client", HEADINGS)
def test_the_variables_and_arguments_of_a_client_are_those_that_launch_sets(client: str) -> None:
    (block,) = find_blocks(HEADINGS[client], "sh")
    pasted, launched = block.splitlines(), CLIENTS[client].configure(TARGET, {})
    named = read_variables("\n".join(line for line in pasted if line.startswith("export ")))
    assert named.items() <= launched.environment.items()
    program, *arguments = shlex.split(pasted[-1])
    assert (program, set(arguments) <= set(launched.arguments)) == (client, True)


def test_launch_sets_no_variable_for_goose_that_the_page_lacks() -> None:
    (block,) = find_blocks("Goose", "sh")
    assert read_variables(block) == set_by_launch("goose")


def test_the_configuration_of_opencode_is_the_one_that_launch_makes() -> None:
    (block,) = find_blocks("OpenCode", "json")
    launched = set_by_launch("opencode")["OPENCODE_CONFIG_CONTENT"]
    assert launched is not None
    pasted = json.loads(block.replace("LAKEHOUSE_TOKEN", KEY))
    assert pasted.pop("$schema") == "https://opencode.ai/config.json"
    assert pasted == json.loads(launched)
