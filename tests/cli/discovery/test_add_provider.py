"""`lakehouse providers add`: the lines are on standard output, and they are all that a configuration needs."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import trio

from lakehouse.cli import add_provider, build_parser
from lakehouse.cli.registry import find_commands
from lakehouse.config import ConfigError, parse_config
from lakehouse.testing.upstreams import ReceivedRequest, open_upstream, respond
from tools.kit.command import lakehouse
from tools.kit.in_process_service import client_of, open_service
from tools.kit.service_with_providers import HELLO, answer_hello


async def answer_lab(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    """A server of chat completions that complains about empty documents."""
    if asked.headers.get("authorization") != "Bearer lab-key":
        await stream.send_all(respond({"error": "no key"}, 401))
    elif asked.target == "/v1/models":
        await stream.send_all(respond({"data": [{"id": "m", "max_model_len": 4096}]}))
    elif asked.target != "/v1/chat/completions":
        await stream.send_all(respond({"error": "no path"}, 404))
    elif asked.body == b"{}":
        await stream.send_all(respond({"error": "no model"}, 400))
    else:
        await answer_hello(asked, stream)


async def test_the_printed_lines_make_a_provider_that_answers(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_upstream(answer_lab) as upstream:
            env = {"LAB_KEY": "lab-key"}
            ran = await lakehouse(
                "providers", "add", upstream.url, "--key-env", "LAB_KEY", "--name", "lab", cwd=tmp_path, env=env
            )
            assert ran.status == 0, ran.err
            assert ran.out == (
                f'[providers.lab]\nwire = "chat_completions"\nbase_url = "{upstream.url}/v1"\nkey_env = "LAB_KEY"\n'
                "[providers.lab.models.m]\ncontext = 4096\n"
            )
            assert "lab-key" not in ran.out + ran.err
            assert "POST /v1/responses: 404" in ran.err
            document = {**tomllib.loads(ran.out), "gateway": {"bind": "127.0.0.1:0"}, "observe": {"log": "off"}}
            async with open_service(parse_config(document).config, env=env) as service, client_of(service) as client:
                answer = await client.post("/v1/chat", json={"model": "lab/m", "messages": HELLO})
                assert (answer.json()["content"], answer.json()["provider"]) == ("Hello.", "lab")
            refused = await lakehouse("providers", "add", upstream.url, cwd=tmp_path)
            assert (refused.status, refused.out) == (1, "")
            assert "--key-env NAME" in refused.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nowhere"], "URL must include scheme and host"),
        (["http://u:p@h"], "URL must be given without a user"),
        (["http://h", "--key-env", "sk-123"], "--key-env must be the name of an environment variable"),
        (["http://h", "--key-env", "UNSET_KEY"], "--key-env UNSET_KEY is not set"),
        (["http://h", "--name", "local"], "--name local is the name of a provider already"),
        (["http://h", "--name", "My Lab"], "--name must be of lower-case letters"),
    ],
)
def test_bad_arguments_are_named(
    arguments: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parsed = build_parser(find_commands().values()).parse_args(["providers", "add", *arguments])
    with pytest.raises(ConfigError) as raised:
        add_provider.run(parsed)
    [found] = raised.value.problems
    assert found.startswith(problem)
    assert "sk-123" not in found
