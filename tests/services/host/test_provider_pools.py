"""Requests of the lake to a provider that the configuration alone knows."""

from __future__ import annotations

import tomllib

import pytest
import trio

from lakehouse.config import parse_config
from lakehouse.core.errors import ErrProviderNotFound
from lakehouse.services.embedding.ollama import OllamaBackend, Servers
from lakehouse.services.host.embedding import make_model_names
from lakehouse.services.host.provider_client import LakeProviderClient
from lakehouse.services.host.provider_pools import KeyedProviders
from lakehouse.testing.upstreams import answer_with, open_upstream, respond

ENV = {"LAB_KEY": "lab-key"}


async def test_the_key_and_the_headers_go_along_as_in_chats() -> None:
    with trio.fail_after(20):
        async with open_upstream(answer_with(respond({"data": []}))) as upstream:
            document = f"""
            [providers.lab]
            wire = "chat_completions"
            base_url = "{upstream.url}/v1"
            key_env = "LAB_KEY"
            headers = {{ x-team = "search" }}
            quirks = ["api_key_header"]
            only_models = true
            """
            config = parse_config(tomllib.loads(document)).config
            providers = KeyedProviders(lambda: config, ENV)
            await providers.post("lab", "/embeddings", b'{"model": "m"}')
            providers.close()
    [asked] = upstream.requests
    assert asked.target == "/v1/embeddings"
    assert (asked.headers["api-key"], asked.headers["x-team"]) == ("lab-key", "search")
    assert "authorization" not in asked.headers


async def test_a_provider_with_ollamas_wire_is_asked_at_ollamas_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_KEY", "lab-key")
    answer = respond({"embeddings": [[1.0, 0.0]], "prompt_eval_count": 1})
    with trio.fail_after(20):
        async with open_upstream(answer_with(answer)) as upstream, trio.open_nursery() as nursery:
            tables = {"lab": {"wire": "ollama", "base_url": upstream.url, "key_env": "LAB_KEY"}}
            config = parse_config({"providers": tables}).config
            selected = make_model_names(config, ()).select("lab/nomic")
            assert selected == ("lab/nomic", "ollama", "lab", "nomic")
            client = LakeProviderClient(config, {}, nursery, relay="")
            backend = OllamaBackend(client, Servers(), selected.provider, selected.model)
            await backend.embed(["a"], truncate=False)
            client.close()
    [asked] = upstream.requests
    assert (asked.target, asked.headers["authorization"]) == ("/api/embed", "Bearer lab-key")


def test_names_of_embedding_models_lead_to_all_providers() -> None:
    tables = {
        "own": {"wire": "responses", "base_url": "http://h"},
        "two": {"wire": ["messages", "ollama"], "base_url": "http://h"},
    }
    names = make_model_names(parse_config({"providers": tables}).config, ())
    for name in ("own/m", "two/m", "openai/m", "openrouter/m"):
        assert (names.select(name).kind, names.select(name).name) == ("openai", name)
    for name in ("ollama_cloud/m", "unknown/m", "m"):
        assert names.select(name).kind == "ollama"


async def test_a_ready_provider_without_a_key_says_which_variable_has_it() -> None:
    config = parse_config({}).config
    with pytest.raises(ErrProviderNotFound, match=r"no key was found in \$OPENAI_API_KEY"):
        await KeyedProviders(lambda: config, {}).post("openai", "/embeddings", b"{}")
