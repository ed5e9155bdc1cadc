"""Every configuration in docs/providers.md runs: its providers answer over their wires, against a scripted upstream."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from lakehouse.config import list_entries, parse_config
from lakehouse.config.provider_entries import BUILT_IN
from lakehouse.config.provider_values import QuirkName
from lakehouse.config.ready_providers import load_ready_providers
from lakehouse.testing.upstreams import ScriptedUpstream, open_upstream
from tools.kit.in_process_service import client_of, make_config, open_service
from tools.kit.service_with_providers import HELLO, answer_hello, format_of

PAGE = (Path(__file__).parents[3] / "docs/providers.md").read_text()
BLOCKS = [tomllib.loads(block) for block in re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]

PATHS = {
    "chat_completions": "/chat/completions",
    "responses": "/responses",
    "messages": "/messages",
    "ollama": "/api/chat",
}


KEY_FIELDS = ("x-api-key", "api-key", "authorization")


def join(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """The tables of all blocks as one document; a later block adds to the tables of an earlier one."""
    joined: dict[str, Any] = {}
    for block in blocks:
        for key, value in block.items():
            both = isinstance(value, dict) and isinstance(joined.get(key), dict)
            joined[key] = join([joined[key], value]) if both else value
    return joined


def redirect(document: dict[str, Any], upstream: ScriptedUpstream, tmp_path: Path) -> dict[str, str]:
    """Point all providers to the upstream, under a path of their name, and write their key files; returns the keys."""
    env: dict[str, str] = {}
    for name, table in document["providers"].items():
        hosts = table.get("base_url", "")
        several = [f"{upstream.url}/{name}/host-{number}" for number in range(len(hosts))]
        table["base_url"] = several if isinstance(hosts, list) else f"{upstream.url}/{name}"
        if "key_file" in table:
            table["key_file"] = str(tmp_path / f"{name}.env")
            (tmp_path / f"{name}.env").write_text(f"{name.upper()}_API_KEY=key-of-{name}\n")
        elif "key_env" in table:
            variables = table["key_env"]
            env |= dict.fromkeys(variables if isinstance(variables, list) else [variables], f"key-of-{name}")
    return env


def test_the_first_example_is_five_lines_and_an_alias() -> None:
    first = re.search(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert first is not None
    assert len(first[1].splitlines()) == 6


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_each_block_is_valid_by_itself_or_with_the_first(number: int) -> None:
    parse_config(join([BLOCKS[0], BLOCKS[number]]))


async def test_the_providers_of_the_page_answer_over_their_wires(tmp_path: Path) -> None:
    document = join(BLOCKS)
    async with open_upstream(answer_hello) as upstream:
        env = redirect(document, upstream, tmp_path)
        entries = list_entries(parse_config(document).config)
        service = open_service(make_config(**document), env=env)
        async with service as running, client_of(running) as client:
            for name in document["providers"]:
                for pattern, wires in entries[name].wire.items():
                    model = f"{name}/{pattern.replace('*', 'some').replace('[5-9]', '5')}"
                    answer = await client.post("/v1/chat", json={"model": model, "messages": HELLO})
                    assert answer.json()["content"] == "Hello.", answer.text
                    asked = upstream.requests[-1]
                    path = asked.target.replace("/host-0", "").replace("/host-1", "")
                    assert (path, format_of(asked)) == (f"/{name}{PATHS[wires[0]]}", PATHS[wires[0]])
                    key = next((asked.headers[field] for field in KEY_FIELDS if field in asked.headers), "")
                    has_key = "key_env" in document["providers"][name] or "key_file" in document["providers"][name]
                    assert key.removeprefix("Bearer ") == (f"key-of-{name}" if has_key else "")
            alias = await client.post("/v1/chat", json={"model": "fast", "messages": HELLO})
            assert (alias.json()["provider"], alias.json()["model"]) == ("lab", "qwen3-32b")


def test_the_page_lists_every_ready_entry_with_its_variable_and_its_wires() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (?:`(\w+)`)? ?\| (.*) \|$", PAGE.partition("## Ready entries")[2], re.MULTILINE)
    listed = {name: (variable, set(re.findall(r"`(\w+)`", wires)) & PATHS.keys()) for name, variable, wires in rows}
    assert listed == {
        name: ((entry.key_env or ("",))[0], {wire for wires in entry.wire.values() for wire in wires})
        for name, entry in load_ready_providers().items()
        if name not in BUILT_IN
    }


def test_the_page_lists_every_quirk_and_every_provider_with_code_of_its_own() -> None:
    table = PAGE.partition("| quirk |")[2]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == sorted(get_args(QuirkName))
    assert all(f"`{name}`" in PAGE for name in BUILT_IN)
