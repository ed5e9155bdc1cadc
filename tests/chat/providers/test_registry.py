"""Exactly the providers whose keys were found are registered, and the others say why they are not."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from trio.testing import MockClock

from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.chat.model.listing import ProviderState
from lakehouse.chat.providers.keys import find_keys
from lakehouse.chat.providers.model_router import Target
from lakehouse.chat.providers.registry import register
from lakehouse.config import ChatTable, Config, KimiTable, OpenRouterTable, parse_config
from lakehouse.core.errors import ErrProviderNotFound
from tools.kit.fake_providers import KEYS, settings


def test_with_no_keys_there_is_local_ollama_alone() -> None:
    assert list(register(Config(), {}).providers) == ["ollama"]


def test_with_all_keys_there_are_all() -> None:
    registry = register(Config(), KEYS)
    assert list(registry.providers) == ["ollama", "ollama_cloud", "openrouter", "opencode", "kimi"]


def test_without_a_url_there_is_no_local_ollama() -> None:
    registry = register(Config(chatd=ChatTable(ollama_url="")), {})
    assert list(registry.providers) == []
    with pytest.raises(
        ErrProviderNotFound, match=r"ollama is not registered: chatd\.ollama_url is empty \(registered: none\)"
    ):
        registry.route(Target("ollama", "m"))


def test_a_key_in_a_file_and_the_configured_base_url_are_used(tmp_path: Path) -> None:
    file = tmp_path / "kimi.env"
    file.write_text("MY_KEY=sk-kimi-1\n")
    kimi = KimiTable(base_url="https://api.kimi.ai/coding/v1", key_env="MY_KEY", key_file=str(file))
    registry = register(Config(chatd=ChatTable(kimi=kimi)), {})
    route = registry.route(Target("kimi", "k3"))
    assert route.provider.base_url == "https://api.kimi.ai/coding/v1"
    assert route.provider.key is not None
    assert (route.provider.key.value, route.provider.key.source) == ("sk-kimi-1", f"MY_KEY in {file}")
    assert (route.target, str(route)) == (Target("kimi", "k3"), "kimi/k3")


def test_keys_are_searched_for_in_the_environment_and_then_in_every_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("ONE=one-of-a\nTWO=two-of-a\n")
    (tmp_path / "b").write_text("TWO=two-of-b\nTHREE=two-of-a\n")
    files = (str(tmp_path / "a"), str(tmp_path / "b"))
    found = find_keys(("ONE", "TWO", "THREE", "FOUR"), files, {"ONE": "one-of-env"})
    assert [(key.value, key.source) for key in found.keys] == [
        ("one-of-env", "$ONE"),
        ("two-of-a", f"TWO in {files[0]}"),
        ("two-of-b", f"TWO in {files[1]}"),
    ]
    assert (found.missing, found.warnings) == (("FOUR",), ())


def test_a_provider_that_is_not_registered_says_what_would_register_it() -> None:
    with pytest.raises(ErrProviderNotFound) as raised:
        register(Config(), {}).route(Target("openrouter", "v/m"))
    assert raised.value.message == (
        "the provider openrouter is not registered: no key was found in $OPENROUTER_API_KEY or "
        "/etc/lakehouse/openrouter.env (registered: ollama)"
    )
    with pytest.raises(ErrProviderNotFound, match="--demo"):
        register(Config(), {}).route(Target("local", "demo"))


async def test_a_key_file_that_cannot_be_read_is_a_warning_and_no_key(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = settings(openrouter=OpenRouterTable(key_file=str(tmp_path)))
    with caplog.at_level(logging.WARNING, "lakehouse.chat"):
        async with open_service_dispatcher(config, env={}) as dispatcher:
            assert dispatcher.names == ("ollama",)
    assert [record.getMessage() for record in caplog.records] == [
        f"the key file {tmp_path} cannot be read: Is a directory"
    ]


async def test_the_providers_are_listed_in_order_and_the_default_is_marked(autojump_clock: MockClock) -> None:
    async with open_service_dispatcher(settings(), env={"KIMI_API_KEY": "k"}) as dispatcher:
        assert dispatcher.providers() == (
            ProviderState(name="ollama", available=True, default=True),
            ProviderState(name="kimi", available=True, default=False),
        )


def test_hosts_that_differ_in_their_scheme_alone_share_no_connections() -> None:
    urls = ["http://h", "https://h", "http://h/v1", "http://i/v1"]
    config = parse_config({"providers": {"lab": {"wire": "messages", "base_url": urls}}}).config
    replicas = register(config, {}).replicas["lab"]
    names = ["lab http://h", "lab https://h", "lab http://h/v1", "lab i"]
    assert [replica.transport_name for replica in replicas] == names
