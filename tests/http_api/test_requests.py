"""What may be asked, and how it arrives at each provider: over real HTTP, with every provider scripted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakehouse.testing.upstreams import ReceivedRequest
from tools.kit.service_with_providers import HELLO, KEYS, MODELS, open_service_with_providers

TIERS = {
    "hot": "qwen3:8b",
    "judge": ["kimi-k2.6:cloud", "openrouter/moonshotai/kimi-k2.6"],
    "twice": ["a", "ollama/a", "kimi/k3"],
    "ollama/shadow": "kimi/k3",
}

# What is asked for, who is asked, and under which name.
ROUTES = [
    ("qwen3:8b", "ollama", "qwen3:8b"),
    ("ollama/qwen3:8b", "ollama", "qwen3:8b"),
    ("ollama/a/b", "ollama", "a/b"),
    ("ollama_cloud/gpt-oss:120b", "ollama_cloud", "gpt-oss:120b"),
    ("gpt-oss:120b:cloud", "ollama_cloud", "gpt-oss:120b"),
    ("kimi-k2.6:cloud", "ollama_cloud", "kimi-k2.6"),
    ("kimi-k2.6-cloud", "ollama", "kimi-k2.6-cloud"),
    ("ollama/kimi-k2.6:cloud", "ollama", "kimi-k2.6:cloud"),
    ("openrouter/moonshotai/kimi-k2.6", "openrouter", "moonshotai/kimi-k2.6"),
    ("openrouter/openrouter/auto", "openrouter", "openrouter/auto"),
    ("openrouter/a/b:free", "openrouter", "a/b:free"),
    ("opencode/glm-5.2", "opencode", "glm-5.2"),
    ("kimi/kimi-for-coding", "kimi", "kimi-for-coding"),
    ("unknown/m", "ollama", "unknown/m"),
    ("openrouterx/m", "ollama", "openrouterx/m"),
    ("OpenRouter/m", "ollama", "OpenRouter/m"),
    ("openrouter", "ollama", "openrouter"),
    ("/m", "ollama", "/m"),
    ("hot", "ollama", "qwen3:8b"),
    ("judge", "ollama_cloud", "kimi-k2.6"),
    ("twice", "ollama", "a"),
    ("ollama/shadow", "kimi", "k3"),
    ("ollama/hot", "ollama", "hot"),
    ("Hot", "ollama", "Hot"),
]


async def test_a_name_leads_to_its_provider_in_both_forms() -> None:
    async with open_service_with_providers(models=TIERS) as there:
        for model, provider, name in ROUTES:
            for ask in (there.chat, there.complete):
                there.clear_requests()
                answer = (await ask(model)).raise_for_status().json()
                assert there.only_request(provider).json["model"] == name, model
                assert (answer["provider"], answer["model"]) == (provider, name)


@pytest.mark.parametrize("model", ["ollama/", "openrouter/", "kimi/", ":cloud", "", "  ", "local/ ", "m" * 513])
async def test_a_name_that_names_no_model_is_400(model: str) -> None:
    async with open_service_with_providers() as there:
        for ask in (there.chat, there.complete):
            answer = await ask(model)
            assert answer.status_code == 400
            assert "`model`" in answer.json()["error"]["message"]
        assert there.requests == {}


UNREGISTERED = ["ollama_cloud/m", "m:cloud", "openrouter/v/m", "opencode/m", "kimi/m", "local/m", "hot", "chain"]


async def test_a_provider_that_is_not_registered_is_404_and_nobody_else_is_asked() -> None:
    async with open_service_with_providers(env={}, models={"hot": "m:cloud", "chain": ["m", "kimi/m"]}) as there:
        for model in UNREGISTERED:
            native = await there.chat(model)
            assert native.status_code == 404
            error = native.json()["error"]
            assert (error["code"], error["status"], error["class"]) == ("ErrProviderNotFound", 404, None)
            assert (error["attempts"], error["upstream_status"], error["retryable"]) == ([], None, False)
            openai = await there.complete(model)
            assert openai.status_code == 404
            assert openai.json()["error"]["code"] == "model_not_found"
        assert (await there.chat("m", fallbacks=["kimi/m"])).status_code == 404
        assert there.requests == {}


async def test_without_a_local_ollama_a_bare_name_is_404() -> None:
    async with open_service_with_providers(chatd={"ollama_url": ""}) as there:
        assert (await there.chat("m")).json()["error"]["code"] == "ErrProviderNotFound"
        assert there.requests == {}


# Every field of a request, and what each form makes of it. None: it is not sent at all.
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}

FIELDS: list[tuple[str, Any, dict[str, dict[str, Any]]]] = [
    (
        "temperature",
        0.0,
        {
            "ollama": {"options": {"temperature": 0.0}},
            "openrouter": {"temperature": 0.0},
            "opencode": {"temperature": 0.0},
            "kimi": {},
        },
    ),
    (
        "top_p",
        0.5,
        {"ollama": {"options": {"top_p": 0.5}}, "openrouter": {"top_p": 0.5}, "opencode": {"top_p": 0.5}, "kimi": {}},
    ),
    (
        "max_tokens",
        9,
        {
            "ollama": {"options": {"num_predict": 9}},
            "openrouter": {"max_tokens": 9},
            "opencode": {"max_tokens": 9},
            "kimi": {"max_tokens": 9},
        },
    ),
    (
        "stop",
        "END",
        {
            "ollama": {"options": {"stop": ["END"]}},
            "openrouter": {"stop": "END"},
            "opencode": {"stop": "END"},
            "kimi": {"stop_sequences": ["END"]},
        },
    ),
    (
        "stop",
        ["A", "B"],
        {
            "ollama": {"options": {"stop": ["A", "B"]}},
            "openrouter": {"stop": ["A", "B"]},
            "opencode": {"stop": ["A", "B"]},
            "kimi": {"stop_sequences": ["A", "B"]},
        },
    ),
    ("seed", 7, {"ollama": {"options": {"seed": 7}}, "openrouter": {"seed": 7}, "opencode": {"seed": 7}, "kimi": {}}),
    (
        "think",
        True,
        {
            "ollama": {"think": True},
            "openrouter": {"reasoning": {"enabled": True}},
            "opencode": {},
            "kimi": {"thinking": {"type": "enabled", "budget_tokens": 16384}},
        },
    ),
    (
        "think",
        False,
        {
            "ollama": {"think": False},
            "openrouter": {"reasoning": {"effort": "none"}},
            "opencode": {"reasoning_effort": "none"},
            "kimi": {"thinking": {"type": "disabled"}},
        },
    ),
    (
        "think",
        "high",
        {
            "ollama": {"think": "high"},
            "openrouter": {"reasoning": {"effort": "high"}},
            "opencode": {"reasoning_effort": "high"},
            "kimi": {"thinking": {"type": "enabled", "budget_tokens": 26214}},
        },
    ),
    (
        "options",
        {"top_k": 3, "repeat_penalty": 1.5},
        {
            "ollama": {"options": {"top_k": 3, "repeat_penalty": 1.5}},
            "openrouter": {"top_k": 3, "repeat_penalty": 1.5},
            "opencode": {"top_k": 3, "repeat_penalty": 1.5},
            "kimi": {"top_k": 3, "repeat_penalty": 1.5},
        },
    ),
    (
        "user",
        "u1",
        {
            "ollama": {},
            "openrouter": {"user": "u1"},
            "opencode": {"user": "u1"},
            "kimi": {"metadata": {"user_id": "u1"}},
        },
    ),
    (
        "tools",
        [TOOL],
        {
            "ollama": {"tools": [TOOL]},
            "openrouter": {"tools": [TOOL]},
            "opencode": {"tools": [TOOL]},
            "kimi": {"tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}]},
        },
    ),
    ("fallbacks", ["openrouter/v/other"], {"ollama": {}, "openrouter": {}, "opencode": {}, "kimi": {}}),
]

ALWAYS: dict[str, dict[str, Any]] = {
    "ollama": {"model": "m", "messages": HELLO, "stream": False, "think": False},
    "openrouter": {"model": "v/m", "messages": HELLO, "stream": False},
    "opencode": {"model": "m", "messages": HELLO, "stream": False},
    "kimi": {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello?"}]}],
        "stream": False,
        "max_tokens": 32768,
    },
}
ALWAYS["ollama_cloud"] = ALWAYS["ollama"]


async def test_what_the_caller_leaves_out_is_not_sent() -> None:
    async with open_service_with_providers() as there:
        for provider, model in MODELS.items():
            for ask in (there.chat, there.complete):
                there.clear_requests()
                assert (await ask(model)).status_code == 200
                assert {"stream": False} | there.only_request(provider).json == ALWAYS[provider]


@pytest.mark.parametrize(
    ("field", "value", "sent"), FIELDS, ids=[f"{row[0]}-{index}" for index, row in enumerate(FIELDS)]
)
async def test_a_field_arrives_in_each_providers_way(field: str, value: Any, sent: dict[str, dict[str, Any]]) -> None:
    async with open_service_with_providers() as there:
        for provider, model in MODELS.items():
            there.clear_requests()
            assert (await there.chat(model, **{field: value})).status_code == 200
            wanted = sent["ollama" if provider == "ollama_cloud" else provider]
            assert there.only_request(provider).json == ALWAYS[provider] | wanted, provider


async def test_the_default_of_think_is_the_configurations() -> None:
    async with open_service_with_providers(chatd={"think": True}) as there:
        await there.chat("ollama/m")
        assert there.only_request("ollama").json["think"] is True
        there.clear_requests()
        await there.chat("ollama/m", think=False)
        assert there.only_request("ollama").json["think"] is False
        there.clear_requests()
        await there.chat("openrouter/v/m")
        assert "reasoning" not in there.only_request("openrouter").json


CHOICES: list[tuple[Any, Any, Any]] = [
    ("auto", "auto", {"type": "auto"}),
    ("none", "none", {"type": "none"}),
    ("required", "required", {"type": "any"}),
    (
        {"type": "function", "function": {"name": "f"}},
        {"type": "function", "function": {"name": "f"}},
        {"type": "tool", "name": "f"},
    ),
]


@pytest.mark.parametrize(("choice", "completions", "messages"), CHOICES, ids=["auto", "none", "required", "named"])
async def test_the_choice_of_tools_arrives_in_each_providers_way(choice: Any, completions: Any, messages: Any) -> None:
    other = {**TOOL, "function": {**TOOL["function"], "name": "g"}}  # type: ignore[dict-item]
    async with open_service_with_providers() as there:
        for provider, model in MODELS.items():
            there.clear_requests()
            assert (await there.chat(model, tools=[TOOL, other], tool_choice=choice)).status_code == 200
            body = there.only_request(provider).json
            if provider == "kimi":
                assert body["tool_choice"] == messages
            elif provider.startswith("ollama"):  # it knows no such field: what must not be called is not offered
                assert "tool_choice" not in body
                names = [tool["function"]["name"] for tool in body.get("tools", ())]
                assert names == {"none": [], "auto": ["f", "g"], "required": ["f", "g"]}.get(str(choice), ["f"])
            else:
                assert body["tool_choice"] == completions


def headers_of(asked: ReceivedRequest, *names: str) -> dict[str, str]:
    """Those of these headers that it had."""
    return {name: asked.headers[name] for name in names if name in asked.headers}


OWN = dict(zip(("ollama_cloud", "openrouter", "opencode", "kimi"), KEYS, strict=True))
WHO = ("authorization", "x-api-key", "http-referer", "x-title", "anthropic-version")


async def test_each_provider_is_shown_its_own_key_and_no_other() -> None:
    cloud, router, code, kimi = KEYS.values()
    wanted = {
        "ollama": {},
        "ollama_cloud": {"authorization": f"Bearer {cloud}"},
        "openrouter": {
            "authorization": f"Bearer {router}",
            "x-title": "Mine",
            "http-referer": "https://example.org",
        },
        "opencode": {"authorization": f"Bearer {code}"},
        "kimi": {"x-api-key": kimi, "anthropic-version": "2023-06-01"},
    }
    chatd = {"openrouter": {"referer": "https://example.org", "title": "Mine"}}
    async with open_service_with_providers(chatd=chatd) as there:
        for provider, model in MODELS.items():
            there.clear_requests()
            mine = {"authorization": "Bearer the-callers-own", "cookie": "c=1", "x-api-key": "theirs"}
            assert (await there.chat(model, headers=mine)).status_code == 200
            asked = there.only_request(provider)
            assert headers_of(asked, *WHO) == wanted[provider]
            assert asked.headers["user-agent"].startswith("lakehouse/")
            assert "cookie" not in asked.headers
            seen = json.dumps(asked.headers) + asked.body.decode()
            assert [name for name, key in KEYS.items() if key in seen] == ([OWN[provider]] if provider in OWN else [])


async def test_an_empty_referer_and_title_are_not_sent() -> None:
    async with open_service_with_providers(chatd={"openrouter": {"referer": "", "title": ""}}) as there:
        await there.chat("openrouter/v/m")
        assert headers_of(there.only_request("openrouter"), "http-referer", "x-title") == {}


async def test_kimi_is_asked_on_chat_completions_where_the_configuration_says_so() -> None:
    async with open_service_with_providers(chatd={"kimi": {"wire": "chat"}}) as there:
        assert (await there.chat("kimi/m", temperature=0.5, max_tokens=5)).status_code == 200
        asked = there.only_request("kimi")
        assert asked.target == "/coding/v1/chat/completions"
        assert asked.headers["authorization"] == f"Bearer {KEYS['KIMI_API_KEY']}"
        assert asked.json == {"model": "m", "messages": HELLO, "stream": False, "max_completion_tokens": 5}


PATHS = {
    "ollama/m": "/api/chat",
    "ollama_cloud/m": "/api/chat",
    "openrouter/v/m": "/api/v1/chat/completions",
    "opencode/glm-5.2": "/zen/v1/chat/completions",
    "opencode/gpt-5.6-sol": "/zen/v1/responses",
    "opencode/claude-opus-5": "/zen/v1/messages",
    "opencode/qwen3.7-max": "/zen/v1/messages",
    "opencode/mine": "/zen/v1/messages",
    "kimi/k3": "/coding/v1/messages",
}


async def test_each_model_is_asked_on_its_endpoint() -> None:
    async with open_service_with_providers(chatd={"opencode": {"endpoints": {"mine": "messages"}}}) as there:
        for model, path in PATHS.items():
            there.clear_requests()
            for stream in (False, True):
                assert (await there.chat(model, stream=stream)).status_code == 200
            assert {asked.target for requests in there.requests.values() for asked in requests} == {path}


async def test_a_conversation_with_opencode_keeps_its_session() -> None:
    opening = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    later = [*opening, {"role": "assistant", "content": "A"}, {"role": "user", "content": "V"}]
    same: list[dict[str, Any]] = [
        {"messages": opening, "user": "u"},
        {"messages": later, "user": "u"},
        {"messages": later, "user": "u", "stream": True, "temperature": 0.5},
        {"messages": later, "user": "u", "model": "opencode/claude-opus-5"},
    ]
    others: list[dict[str, Any]] = [
        {"messages": opening, "user": "v"},
        {"messages": opening},
        {"messages": opening[1:], "user": "u"},
        {"messages": [opening[0], {"role": "user", "content": "W"}], "user": "u"},
    ]

    async with open_service_with_providers() as there:

        async def session(**fields: Any) -> str:
            there.clear_requests()
            assert (await there.chat(**{"model": "opencode/m", **fields})).status_code == 200
            return there.only_request("opencode").headers["x-opencode-session"]

        ids = [await session(**fields) for fields in same]
        assert len(set(ids)) == 1
        assert ids[0]
        assert len({*ids, *[await session(**fields) for fields in others]}) == 1 + len(others)
        whole = await there.complete("opencode/m", messages=later, user="u")
        assert whole.status_code == 200
        assert there.requests["opencode"][-1].headers["x-opencode-session"] == ids[0]
