"""Where Ollama's form is served: on a loopback address without a token, or on a listener of its own."""

from __future__ import annotations

import httpx
import pytest
import trio

from lakehouse.chat.api.ollama.paths import PATHS
from lakehouse.config import ConfigError
from lakehouse.runtime.preflight import preflight
from lakehouse.testing.upstreams import ReceivedRequest, respond
from tools.kit.in_process_service import make_config
from tools.kit.service_with_providers import HELLO, answer_hello, open_service_with_providers
from tools.kit.telemetry_fixtures import CapturedLog

TOKEN = {"LAKEHOUSE_TOKEN": "secret", "KIMI_API_KEY": "k"}
CHAT = {"model": "ollama/m", "messages": HELLO, "stream": False}


async def test_the_main_listener_has_the_form_while_it_needs_no_token() -> None:
    async with open_service_with_providers() as there:
        assert (await there.client.post("/api/chat", json=CHAT)).json()["message"]["content"] == "Hello."
        page = await there.client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        wrong = await there.client.get("/api/chat")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "OPTIONS, POST")
        assert wrong.json() == {"error": "this path does not take this method: it takes OPTIONS, POST"}
        hidden = await there.client.post("/api/chat", json=CHAT, headers={"origin": "https://page.example"})
        assert (hidden.status_code, list(hidden.json())) == (403, ["error"])


async def test_with_a_token_the_form_has_a_listener_of_its_own() -> None:
    log = CapturedLog()
    async with open_service_with_providers(env=TOKEN, log=log.log, ollama={"bind": "127.0.0.1:0"}) as there:
        bearer = {"authorization": "Bearer secret"}
        for path in PATHS:
            missing = await there.client.post(path, json={}, headers=bearer)
            assert missing.status_code == 404, path
        main, own = there.service.urls
        async with httpx.AsyncClient(base_url=own, timeout=20, trust_env=False) as client:
            running = await client.get("/")
            assert (running.status_code, running.text) == (200, "Ollama is running")
            probe = await client.head("/")
            assert (probe.status_code, probe.content) == (200, b"")
            assert (await client.post("/api/chat", json=CHAT)).json()["message"]["content"] == "Hello."
            assert (await client.get("/healthz")).status_code == 200
            for path in ("/metrics", "/v1/requests", "/v1/storage/x", "/v1/sql"):
                assert (await client.get(path)).status_code == 404, path
            same = await client.post("/v1/chat/completions", json=CHAT)  # as on an Ollama: VS Code chats here
            assert same.json()["choices"][0]["message"]["content"] == "Hello."
            assert (await client.get("/v1/models")).json()["data"]
        assert (await there.client.get("/v1/models")).status_code == 401
        lines = await log.requests(len(PATHS) + 11)
    chats = [line for line in lines if line["route"] == "/api/chat" and line["status"] == 200]
    assert [line["principal"] for line in chats] == ["ollama"]
    assert main != own


async def test_the_way_of_vs_code() -> None:
    """It wants a release, lists, describes each model, and chats in OpenAI's form under the listed names."""
    scripts = {"ollama": describe, "ollama_cloud": describe}
    async with open_service_with_providers(scripts=scripts, models={"fast": ["kimi/m"]}) as there:
        release = (await there.client.get("/api/version")).json()["version"]
        assert tuple(map(int, release.split("."))) >= (0, 6, 4)
        names = [model["name"] for model in (await there.client.get("/api/tags")).json()["models"]]
        assert names[0] == "fast:latest"
        for name in names:
            shown = (await there.client.post("/api/show", json={"model": name})).json()
            assert "tools" in shown["capabilities"]
            info = shown["model_info"]
            assert isinstance(info[f"{info['general.architecture']}.context_length"], int)
            for path in ("/v1/chat/completions", "/v1/chat"):
                answer = await there.client.post(path, json={"model": name, "messages": HELLO})
                assert answer.status_code == 200, (path, name, answer.text)
        asked = {name: [request.json.get("model") for request in requests if request.method == "POST"] for name, requests in there.requests.items()}  # fmt: skip
        assert asked["kimi"] == ["m"] * 4  # of the tier, and of its own name
        assert asked["openrouter"] == ["m"] * 2


async def describe(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    """An Ollama that also describes its models."""
    info = {"general.architecture": "qwen3", "qwen3.context_length": 40_960}
    if asked.target == "/api/show":
        await stream.send_all(respond({"capabilities": ["tools"], "model_info": info}))
    else:
        await answer_hello(asked, stream)


@pytest.mark.parametrize(
    ("tables", "fits"),
    [
        ({"ollama": {"bind": "127.0.0.1:0"}}, True),
        ({"ollama": {"bind": "0.0.0.0:0"}}, False),
        ({"ollama": {"bind": "0.0.0.0:0", "allow": ["172.17.0.0/16"]}}, True),
        ({"ollama": {"bind": "0.0.0.0:0"}, "auth": {"insecure": True}}, True),
    ],
)
def test_a_listener_that_other_machines_reach_names_their_networks(tables: dict[str, object], fits: bool) -> None:
    config = make_config(**tables)
    if fits:
        preflight(config, TOKEN)
        return
    with pytest.raises(ConfigError, match=r"ollama\.bind 0\.0\.0\.0:0 can be reached from other machines"):
        preflight(config, TOKEN)


async def test_only_the_networks_that_are_allowed_connect() -> None:
    ollama = {"bind": "127.0.0.1:0", "allow": ["10.0.0.0/8"]}
    async with open_service_with_providers(env=TOKEN, ollama=ollama) as there:
        async with httpx.AsyncClient(base_url=there.service.urls[1], timeout=20, trust_env=False) as client:
            refused = await client.post("/api/chat", json=CHAT)
            assert (refused.status_code, refused.json()) == (403, {"error": "your network may not connect here"})
