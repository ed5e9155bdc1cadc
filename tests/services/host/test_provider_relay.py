"""The relay to providers: the services process has no key, its parent adds it, and nothing else passes."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trio

from lakehouse.config import parse_config
from lakehouse.services.host.activation import RELAY_NAME, ServicesProcess, open_services_process
from lakehouse.services.host.provider_pools import KeyedProviders
from lakehouse.testing.upstreams import ReceivedRequest, ScriptedUpstream, never_answer, open_upstream, respond

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"
EMBED = {"texts": ["a", "b"], "model": "openrouter/some/model"}


@dataclass
class Keyed:
    """A services process, a provider in OpenAI's form for it, and clients for its socket and for the relay's."""

    process: ServicesProcess
    provider: ScriptedUpstream
    http: httpx.AsyncClient
    relay: httpx.AsyncClient


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    return tmp_path / "lake"


@asynccontextmanager
async def open_keyed(
    lake: Path, script: Callable[[ReceivedRequest, trio.SocketStream], Awaitable[None]]
) -> AsyncIterator[Keyed]:
    """Start everything, for the length of the block."""
    with trio.fail_after(60):
        async with open_upstream(script) as provider:
            tables = {
                "lake": {"path": str(lake)},
                "observe": {"log": "off"},
                "chatd": {"ollama_url": "", "openrouter": {"base_url": f"{provider.url}/v1"}},
            }
            async with open_services_process(parse_config(tables).config) as process:
                sockets = [process.socket_path, str(Path(process.socket_path).with_name(RELAY_NAME))]
                transports = [httpx.AsyncHTTPTransport(uds=path) for path in sockets]
                async with (
                    httpx.AsyncClient(transport=transports[0], base_url="http://lake", timeout=60) as http,
                    httpx.AsyncClient(transport=transports[1], base_url="http://relay", timeout=60) as relay,
                ):
                    yield Keyed(process, provider, http, relay)


async def answer(request: ReceivedRequest, stream: trio.SocketStream) -> None:
    """Embeddings of two numbers, errors for the texts that name them, and no answer to "hold"."""
    texts = request.json["input"]
    if texts[0] == "hold":
        await never_answer(request, stream)
    elif texts[0].startswith("status "):
        status = int(texts[0].removeprefix("status "))
        error: dict[str, object] = {
            "error": {"message": f"refused with {request.headers['authorization']}", "code": "x"}
        }
        await stream.send_all(respond(error, status, more="retry-after: 7\r\n" if status == 429 else ""))
    else:
        vectors = [{"index": n, "embedding": [float(n), 1.0]} for n in range(len(texts))]
        await stream.send_all(respond({"data": vectors, "usage": {"prompt_tokens": 5, "total_tokens": 5}}))


async def test_with_another_configuration_keys_are_looked_up_again(tmp_path: Path) -> None:
    key_file, keys = tmp_path / "key.env", []

    async def note_key(request: ReceivedRequest, stream: trio.SocketStream) -> None:
        keys.append(request.headers["authorization"])
        await answer(request, stream)

    async with open_upstream(note_key) as provider:
        table = {"base_url": f"{provider.url}/v1", "key_file": str(key_file)}
        documents = {"chatd": {"ollama_url": "", "openrouter": table}}
        in_force = parse_config(documents).config
        providers = KeyedProviders(lambda: in_force, {})
        body = json.dumps({"input": ["a"]}).encode()
        for key in ("first", "second"):
            key_file.write_text(f"OPENROUTER_API_KEY=sk-or-{key}\n")
            await providers.post("openrouter", "/embeddings", body)
        in_force = parse_config(documents).config
        await providers.post("openrouter", "/embeddings", body)
        assert keys == ["Bearer sk-or-first", "Bearer sk-or-first", "Bearer sk-or-second"]
        assert provider.opened == 2
        providers.close()


async def test_the_parent_adds_the_key_which_the_process_does_not_have(lake: Path) -> None:
    async with open_keyed(lake, answer) as keyed:
        found = (await keyed.http.post("/embed", json=EMBED)).json()
        assert (found["model"], found["vectors"], found["usage"]["tokens"]) == (EMBED["model"], [[0, 1], [1, 1]], 5)
        [request] = keyed.provider.requests
        assert (request.target, request.headers["authorization"]) == ("/v1/embeddings", f"Bearer {KEY}")
        assert request.json["model"] == "some/model"
        assert keyed.process.pid not in (None, os.getpid())
        assert KEY.encode() not in Path(f"/proc/{keyed.process.pid}/environ").read_bytes()
        await check_errors(keyed)
        await check_leaving(keyed)


async def check_errors(keyed: Keyed) -> None:
    """Errors of the provider arrive as they are, and without the key."""
    for status, expected, error_class in ((429, 429, "rate_limit"), (401, 502, "auth"), (500, 502, "server_error")):
        body = {**EMBED, "texts": [f"status {status}"]}
        refused = await keyed.http.post("/embed", json=body)
        error = refused.json()["error"]
        assert (refused.status_code, error["upstream_status"]) == (expected, status), refused.text
        assert (error["provider"], error["class"]) == ("openrouter", error_class)
        assert KEY not in refused.text
        assert refused.headers.get("retry-after") == ("7" if status == 429 else None)
    missing = await keyed.http.post("/embed", json={**EMBED, "model": "kimi/m"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "ErrProviderNotFound")
    assert "KIMI_API_KEY" in missing.json()["error"]["message"]


async def check_leaving(keyed: Keyed) -> None:
    """The client leaves, and the provider is left at once, although it never answers."""
    before = len(keyed.provider.requests)
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            await keyed.http.post("/embed", json={**EMBED, "texts": ["hold"]})

        nursery.start_soon(ask)
        while len(keyed.provider.requests) == before:
            await trio.sleep(0.01)
        closed = keyed.provider.closed
        nursery.cancel_scope.cancel()
    with trio.fail_after(20):
        while keyed.provider.closed == closed:
            await trio.sleep(0.001)


async def test_the_relay_takes_a_few_paths_only(lake: Path) -> None:
    async with open_keyed(lake, answer) as keyed:
        for method, path in (
            ("POST", "/openrouter/chat/completions"),
            ("POST", "/openrouter/embeddings/../keys"),
            ("POST", "/openrouter/%2e%2e/keys"),
            ("GET", "/openrouter/embeddings"),
            ("POST", "/openrouter"),
            ("POST", "//example.org/embeddings"),
        ):
            refused = await keyed.relay.request(method, path, content=b"{}")
            assert refused.status_code == 404, path
        assert (await keyed.relay.post("/none/embeddings", content=b"{}")).status_code == 404
        assert keyed.provider.requests == []
