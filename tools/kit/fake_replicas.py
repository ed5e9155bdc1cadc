"""A provider with several hosts and keys, without a socket: each host, or each key, is a scripted provider."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import httpx

from lakehouse.config import Config, parse_config
from tools.kit.fake_providers import FakeProvider

KEYS = {"KEY_A": "key-a", "KEY_B": "key-b"}


class FakeReplicas(httpx.AsyncBaseTransport):
    """Sends each request to the scripted provider of its host (`a`), of its key (`key-a`), or of both (`a key-a`)."""

    def __init__(self, **by_host: FakeProvider) -> None:
        self.by_name: dict[str, FakeProvider] = dict(by_host)

    def add(self, name: str, provider: FakeProvider) -> None:
        """Answer requests of this host and key with a provider."""
        self.by_name[name] = provider

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Implements `httpx.AsyncBaseTransport`."""
        host, key = request.url.host, request.headers.get("authorization", "").removeprefix("Bearer ")
        for name in (f"{host} {key}", key, host):
            if (provider := self.by_name.get(name)) is not None:
                return await provider.handle_async_request(request)
        raise httpx.ConnectError(f"no such host: {host}")

    def count(self) -> dict[str, int]:
        """How many chats each was asked."""
        return {
            name: sum(asked.request.method == "POST" for asked in provider.requests)
            for name, provider in self.by_name.items()
        }


def configure_lab(
    *hosts: str,
    keys: str = "[]",
    wire: str = "chat_completions",
    weights: str = "[]",
    policy: Mapping[str, Any] | None = None,
    **chatd: Any,
) -> Config:
    """`[providers.lab]` at these hosts."""
    urls = ", ".join(f'"http://{host}/v1"' for host in hosts)
    text = f'[providers.lab]\nwire = "{wire}"\nbase_url = [{urls}]\nkey_env = {keys}\nweights = {weights}\n'
    document = tomllib.loads(text.replace("weights = []\n", "").replace("key_env = []\n", ""))
    rules = {"retries": 0, "breaker_failures": 3, "breaker_cooldown": 15, **(policy or {})}
    return parse_config({**document, "chatd": {"ollama_url": "", "policy": rules, **chatd}}).config
