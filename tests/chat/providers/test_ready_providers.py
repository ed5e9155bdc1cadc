"""The ready entries: a key in their variable is all that they need."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from trio.testing import MockClock

from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.chat.providers.model_router import Target
from lakehouse.chat.providers.registry import register
from lakehouse.config import Config, ProviderTable, parse_config
from lakehouse.config.ready_providers import load_ready_providers
from lakehouse.core.errors import ErrProviderNotFound
from tools.kit.fake_providers import FakeProvider, ask, completion, ollama_answer
from tools.kit.provider_requests import MESSAGES_ANSWER, RESPONSES_ANSWER, headers_of

ANSWERS = {
    "chat_completions": ("/chat/completions", completion()),
    "responses": ("/responses", RESPONSES_ANSWER),
    "messages": ("/messages", MESSAGES_ANSWER),
    "ollama": ("/api/chat", ollama_answer()),
}
BY_KEY = [name for name, entry in load_ready_providers().items() if entry.key_env and entry.base_url]
BY_URL = [name for name, entry in load_ready_providers().items() if entry.own_url]

MODELS = ("gpt-5.5-mini", "o3", "gpt-4.1", "some/model")


def test_most_need_a_key_and_the_others_a_url() -> None:
    assert BY_KEY == [
        "openai",
        "anthropic",
        "google",
        "xai",
        "mistral",
        "groq",
        "deepseek",
        "moonshot",
        "together",
        "fireworks",
        "cerebras",
    ]
    assert BY_URL == ["azure", "vllm", "lmstudio", "llamacpp", "lakehouse"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", BY_KEY)
async def test_a_key_alone_switches_an_entry_on(autojump_clock: MockClock, name: str, model: str) -> None:
    entry = load_ready_providers()[name]
    wires = next(wires for pattern, wires in entry.wire.items() if fnmatchcase(model, pattern))
    path, answer = ANSWERS[wires[0]]
    fake = FakeProvider(answer)
    env = {(entry.key_env or ())[0]: "the-key"}
    async with open_service_dispatcher(Config(), env=env, transports={name: fake}) as dispatcher:
        assert dispatcher.names == ("ollama", name)
        await dispatcher(ask(f"{name}/{model}"))
    [asked] = fake.requests
    assert str(asked.request.url) == f"{entry.base_url[0]}{path}"
    sent = headers_of(asked.request)
    assert "the-key" in (sent.get("x-api-key", ""), sent.get("authorization", "").removeprefix("Bearer "))


def test_without_a_key_there_is_no_such_provider() -> None:
    registry = register(Config(), {})
    router = registry.make_router(Config())
    assert list(registry.ready) == BY_KEY
    assert router.target("openai/gpt-5") == Target("ollama", "openai/gpt-5")


def test_a_key_of_another_server_is_not_sent() -> None:
    env = {"OPENAI_API_KEY": "token-of-a-gateway", "OPENAI_BASE_URL": "http://127.0.0.1:3110/v1"}
    registry = register(Config(), env)
    assert "openai" not in registry.providers
    [warning] = registry.warnings
    assert warning.startswith(
        "openai is not registered: $OPENAI_BASE_URL says that $OPENAI_API_KEY is for another server"
    )
    assert "openai" in register(Config(providers={"openai": ProviderTable()}), env).providers
    usual = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "https://api.anthropic.com"}
    assert "anthropic" in register(Config(), usual).providers


def test_a_table_makes_it_one_whose_key_is_missing() -> None:
    config = Config(providers={"openai": ProviderTable()})
    registry = register(config, {})
    with pytest.raises(ErrProviderNotFound, match=r"no key was found in \$OPENAI_API_KEY"):
        registry.route(registry.make_router(config).target("openai/gpt-5"))


def test_a_table_with_another_url_needs_a_key_unless_it_says_so() -> None:
    table = {"base_url": "http://127.0.0.1:1/v1", "key_env": ""}
    registry = register(parse_config({"providers": {"groq": table}}).config, {})
    assert registry.providers["groq"].base_url == "http://127.0.0.1:1/v1"
    assert registry.providers["groq"].key is None


@pytest.mark.parametrize("name", BY_URL)
def test_an_entry_without_a_url_is_switched_on_by_one(name: str) -> None:
    assert name not in register(Config(), {"AZURE_OPENAI_API_KEY": "k"}).providers
    config = parse_config({"providers": {name: {"base_url": "http://10.0.0.5:8000/v1"}}}).config
    assert name in register(config, {"AZURE_OPENAI_API_KEY": "k"}).providers
