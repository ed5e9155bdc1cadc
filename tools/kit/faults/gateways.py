"""How gateways are put before the provider: every case has a name of its own, and that name is a chain of routes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

import lakehouse
from lakehouse.config import parse_config
from tools.kit.faults.case_model import Case, Gateway
from tools.kit.faults.profiles import Profile

KEYS = {"OPENROUTER_API_KEY": "none", "KIMI_API_KEY": "none"}
"""What a gateway must have in its environment to register the providers; the keys open nothing."""


def lakehouse_tables(profile: Profile, provider: str, cases: Sequence[Case], gateway: Gateway) -> dict[str, Any]:
    """A configuration of ours, as TOML's values."""
    return {
        "chatd": {
            **profile.chatd(hedged=gateway == "hedged"),
            "ollama_url": provider,
            "openrouter": {"base_url": f"{provider}/openrouter/v1"},
            "kimi": {"base_url": f"{provider}/kimi/v1"},
        },
        "models": {
            case.alias: [f"{name}/{model}" for name, model in case.members]
            for case in cases
            if case.row.gateway == gateway
        },
    }


def toml(tables: dict[str, Any], prefix: str = "") -> str:
    """The tables as TOML."""
    own = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in tables.items() if not isinstance(value, dict)]
    inner = [
        f"\n[{prefix}{key}]\n{toml(value, f'{prefix}{key}.')}"
        for key, value in tables.items()
        if isinstance(value, dict)
    ]
    return "\n".join([*own, *inner])


def litellm(profile: Profile, provider: str, cases: Sequence[Case]) -> str:
    """A configuration of LiteLLM's: its YAML is JSON here. Its fallbacks are said between groups of its own."""
    groups, fallbacks = [], []
    for case in cases:
        names = [case.alias, *(model for _, model in case.members[1:])]
        for name, (_, model) in zip(names, case.members, strict=True):
            parameters = {"model": f"openai/{model}", "api_base": f"{provider}/openrouter/v1", "api_key": "none"}
            groups.append({"model_name": name, "litellm_params": parameters})
        if names[1:]:
            fallbacks.append({case.alias: names[1:]})
    settings = {
        "num_retries": 2,
        "timeout": profile.timeout,
        "stream_timeout": profile.first_token_timeout,
        "fallbacks": fallbacks,
        "cooldown_time": profile.breaker_cooldown,
    }
    return json.dumps({"model_list": groups, "router_settings": settings}, indent=1)


@asynccontextmanager
async def our_services(profile: Profile, provider: str, cases: Sequence[Case]) -> AsyncIterator[dict[Gateway, str]]:
    """Two services of ours in this process, one that hedges and one that does not, for the block."""
    quiet = {"gateway": {"bind": "127.0.0.1:0"}, "observe": {"log": "off"}}
    urls: dict[Gateway, str] = {}
    async with trio.open_nursery() as nursery:
        services = []
        for gateway in ("plain", "hedged"):
            tables = lakehouse_tables(profile, provider, cases, gateway)
            config = parse_config({**tables, **quiet}).config
            services.append(await nursery.start(partial(lakehouse.serve, config, env=KEYS)))
            urls[gateway] = f"{services[-1].urls[0]}/v1"
        yield urls
        for service in services:
            service.stop()
