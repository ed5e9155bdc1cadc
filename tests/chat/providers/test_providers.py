"""What each provider is sent, byte for byte: URL, headers, body."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest
from trio.testing import MockClock

from lakehouse.chat.dispatch.open_dispatcher import LocalServer, open_service_dispatcher
from lakehouse.chat.model.request import Request
from lakehouse.chat.providers.keys import Key
from lakehouse.chat.providers.kimi import Kimi
from lakehouse.chat.providers.ollama import Ollama
from lakehouse.chat.providers.opencode import OpenCode, session_id
from lakehouse.config import KimiTable, OpenCodeTable, OpenRouterTable
from lakehouse.core.errors import ErrUpstream
from lakehouse.core.trace_context import Trace
from tools.kit.fake_providers import (
    KEYS,
    FakeProvider,
    Script,
    ask,
    completion,
    completion_stream,
    context,
    ollama_answer,
    ollama_stream,
    open_fake_dispatcher,
    settings,
)
from tools.kit.provider_requests import COMMON, HELLO, MESSAGES_ANSWER, RESPONSES_ANSWER, headers_of


async def sent(request: Request, script: Script, *, provider: str, config: Any = None) -> httpx.Request:
    """What the provider was sent for this request."""
    fake = FakeProvider(script)
    providers: dict[str, Any] = {provider: fake}
    async with open_fake_dispatcher(config, **providers) as dispatcher:
        await dispatcher(request)
    [asked] = fake.requests
    return asked.request


async def test_ollama(autojump_clock: MockClock) -> None:
    request = await sent(ask("ollama/qwen3:8b"), ollama_answer(), provider="ollama")
    assert str(request.url) == "http://127.0.0.1:11434/api/chat"
    assert headers_of(request) == COMMON
    assert msgspec.json.decode(request.content) == {
        "model": "qwen3:8b",
        "messages": HELLO,
        "stream": False,
        "think": False,
    }


async def test_ollama_thinks_when_the_caller_or_the_configuration_says_so(autojump_clock: MockClock) -> None:
    asked = await sent(ask(think="high"), ollama_answer(), provider="ollama")
    assert msgspec.json.decode(asked.content)["think"] == "high"
    asked = await sent(ask(), ollama_answer(), provider="ollama", config=settings(think=True))
    assert msgspec.json.decode(asked.content)["think"] is True


async def test_ollama_cloud_is_asked_natively_with_a_bearer_key_and_without_the_suffix(
    autojump_clock: MockClock,
) -> None:
    request = await sent(ask("kimi-k2.6:cloud"), ollama_answer(), provider="ollama_cloud")
    assert str(request.url) == "https://ollama.com/api/chat"
    assert headers_of(request) == {**COMMON, "authorization": "Bearer ok"}
    assert msgspec.json.decode(request.content)["model"] == "kimi-k2.6"


async def test_openrouter(autojump_clock: MockClock) -> None:
    table = OpenRouterTable(referer="https://example.org", title="Example")
    request = await sent(ask("openrouter/v/m"), completion(), provider="openrouter", config=settings(openrouter=table))
    assert str(request.url) == "https://openrouter.ai/api/v1/chat/completions"
    names = {"http-referer": "https://example.org", "x-title": "Example"}
    assert headers_of(request) == {**COMMON, "authorization": "Bearer or-key", **names}
    assert msgspec.json.decode(request.content) == {"model": "v/m", "messages": HELLO, "stream": False}


async def test_openrouters_names_are_not_sent_when_empty(autojump_clock: MockClock) -> None:
    config = settings(openrouter=OpenRouterTable(title=""))
    request = await sent(ask("openrouter/v/m"), completion(), provider="openrouter", config=config)
    assert "http-referer" not in request.headers
    assert "x-title" not in request.headers


async def test_openrouter_requires_support_for_the_format(autojump_clock: MockClock) -> None:
    request = await sent(ask("openrouter/v/m", format="json"), completion("{}"), provider="openrouter")
    assert msgspec.json.decode(request.content)["provider"] == {"require_parameters": True}


ZEN = "https://opencode.ai/zen/v1"
GO = "https://opencode.ai/zen/go/v1"
OPENCODE = [
    (ZEN, "glm-5.2", "/chat/completions", completion()),
    (ZEN, "minimax-m3", "/chat/completions", completion()),
    (ZEN, "grok-4.5", "/chat/completions", completion()),
    (ZEN, "gpt-5.6-sol", "/responses", RESPONSES_ANSWER),
    (ZEN, "claude-opus-4-8", "/messages", MESSAGES_ANSWER),
    (ZEN, "qwen3.7-max", "/messages", MESSAGES_ANSWER),
    (GO, "glm-5.3", "/chat/completions", completion()),
    (GO, "minimax-m3", "/messages", MESSAGES_ANSWER),
    (GO, "grok-4.5", "/responses", RESPONSES_ANSWER),
    (GO, "qwen3.8-max", "/messages", MESSAGES_ANSWER),
]


@pytest.mark.parametrize(
    ("base", "model", "path", "script"), OPENCODE, ids=[f"{row[0][-6:]} {row[1]}" for row in OPENCODE]
)
async def test_opencode_serves_a_model_where_the_table_says(
    autojump_clock: MockClock, base: str, model: str, path: str, script: Script
) -> None:
    config = settings(opencode=OpenCodeTable(base_url=base))
    request = await sent(ask(f"opencode/{model}"), script, provider="opencode", config=config)
    assert str(request.url) == base + path
    assert msgspec.json.decode(request.content)["model"] == model
    if path == "/messages":
        key = {"x-api-key": "oc-key", "anthropic-version": "2023-06-01"}
    else:
        key = {"authorization": "Bearer oc-key"}
    assert headers_of(request) == {**COMMON, **key, "x-opencode-session": session_id(ask("x"))}


async def test_the_configuration_goes_before_the_table(autojump_clock: MockClock) -> None:
    table = OpenCodeTable(endpoints={"claude-opus-5": "chat_completions", "glm-*": "messages"})
    for model, path, script in (
        ("claude-opus-5", "/chat/completions", completion()),
        ("glm-9", "/messages", MESSAGES_ANSWER),
        ("claude-opus-4-8", "/messages", MESSAGES_ANSWER),
    ):
        request = await sent(ask(f"opencode/{model}"), script, provider="opencode", config=settings(opencode=table))
        assert str(request.url) == ZEN + path


async def test_generate_content_is_rejected_without_a_request(autojump_clock: MockClock) -> None:
    opencode = FakeProvider(completion())
    async with open_fake_dispatcher(opencode=opencode) as dispatcher:
        with pytest.raises(ErrUpstream, match="generateContent") as raised:
            await dispatcher(ask("opencode/gemini-3.6-flash"))
    assert raised.value.error_class == "wrong_endpoint"
    assert opencode.requests == []


def test_a_conversation_has_one_session_from_its_first_turn_to_its_last() -> None:
    opening = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
    later = [*opening, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "And now?"}]
    first = session_id(ask(messages=opening, user="ann"))
    assert session_id(ask("another/model", messages=later, user="ann", temperature=1.0)) == first
    assert session_id(ask(messages=later, user="bob")) != first
    assert session_id(ask(messages=opening[1:], user="ann")) != first
    assert session_id(ask(messages=[opening[0], {"role": "user", "content": "Hello!"}], user="ann")) != first
    assert first.isalnum()
    assert "ann" not in first


async def test_kimi_through_messages(autojump_clock: MockClock) -> None:
    request = await sent(ask("kimi/k3", temperature=0.5, top_p=0.9), MESSAGES_ANSWER, provider="kimi")
    assert str(request.url) == "https://api.kimi.com/coding/v1/messages"
    assert headers_of(request) == {**COMMON, "x-api-key": "kimi-key", "anthropic-version": "2023-06-01"}
    body = msgspec.json.decode(request.content)
    assert (body["model"], body["max_tokens"]) == ("k3", 32768)
    assert "temperature" not in body


async def test_kimi_through_chat(autojump_clock: MockClock) -> None:
    config = settings(kimi=KimiTable(wire="chat"))
    request = await sent(ask("kimi/k3", temperature=0.5, max_tokens=9), completion(), provider="kimi", config=config)
    assert str(request.url) == "https://api.kimi.com/coding/v1/chat/completions"
    assert headers_of(request) == {**COMMON, "authorization": "Bearer kimi-key"}
    body = msgspec.json.decode(request.content)
    assert body["max_completion_tokens"] == 9
    assert "temperature" not in body
    assert "max_tokens" not in body


async def test_the_embedded_model_is_always_asked_for_a_stream(autojump_clock: MockClock) -> None:
    local = FakeProvider(completion_stream("Hel", "lo."))
    server = LocalServer(base_url="http://127.0.0.1:4711/v1", api_key="secret", model="demo")
    config = settings(default="local", ollama_url="")
    async with open_service_dispatcher(config, env={}, local=server, transports={"local": local}) as dispatcher:
        answer = await dispatcher(ask("demo"))
        assert dispatcher.names == ("local",)
        assert local.open == 0
    assert (answer.content, answer.provider, answer.input_tokens) == ("Hello.", "local", 11)
    [asked] = local.requests
    assert str(asked.request.url) == "http://127.0.0.1:4711/v1/chat/completions"
    assert headers_of(asked.request) == {**COMMON, "authorization": "Bearer secret"}
    assert asked.json["stream"] is True
    assert asked.json["stream_options"] == {"include_usage": True}


async def test_a_whole_answer_of_the_embedded_model_has_until_timeout(autojump_clock: MockClock) -> None:
    server = LocalServer(base_url="http://127.0.0.1:4711/v1", api_key="secret", model="demo")
    config = settings(default="local", ollama_url="", first_token_timeout=20.0, timeout=180.0)
    local = FakeProvider(completion_stream("Hello.", after=170))
    async with open_service_dispatcher(config, env={}, local=server, transports={"local": local}) as dispatcher:
        assert (await dispatcher(ask("demo"))).content == "Hello."


async def test_a_key_goes_to_its_own_provider_and_to_no_other(autojump_clock: MockClock) -> None:
    providers = {
        "ollama": (FakeProvider(ollama_answer()), "ollama/m"),
        "ollama_cloud": (FakeProvider(ollama_answer()), "m:cloud"),
        "openrouter": (FakeProvider(completion()), "openrouter/v/m"),
        "opencode": (FakeProvider(completion()), "opencode/m"),
        "kimi": (FakeProvider(MESSAGES_ANSWER), "kimi/m"),
    }
    env = {name: f"key-of-{name.lower()}" for name in KEYS}
    fakes: dict[str, Any] = {name: fake for name, (fake, _) in providers.items()}
    async with open_fake_dispatcher(env=env, **fakes) as dispatcher:
        for _, model in providers.values():
            await dispatcher(ask(model))
    own = {
        "ollama_cloud": "OLLAMA_API_KEY",
        "openrouter": "OPENROUTER_API_KEY",
        "opencode": "OPENCODE_API_KEY",
        "kimi": "KIMI_API_KEY",
    }
    for name, (fake, _) in providers.items():
        seen = str((fake.requests[0].request.headers.raw, fake.requests[0].request.content))
        assert [variable for variable, key in env.items() if key in seen] == ([own[name]] if name in own else [])


async def test_a_traced_request_is_traced_on(autojump_clock: MockClock) -> None:
    here = context(trace=Trace(trace_id=1, span_id=2))
    ollama = FakeProvider(ollama_stream("Hello."))
    async with open_fake_dispatcher(ollama=ollama) as dispatcher, dispatcher.stream(ask(), context=here) as pieces:
        async for _ in pieces:
            pass
    header = ollama.requests[0].request.headers["traceparent"]
    assert header == f"00-{1:032x}-{here.attempts[0].span_id:016x}-01"


# ----- their lists of models


def test_ollamas_list() -> None:
    body = b'{"models":[{"name":"qwen3:8b","modified_at":"2026-10-01T12:00:00.123456789+02:00"},{"name":"x","modified_at":"?"}]}'
    listed = Ollama("http://127.0.0.1:11434").parse_listing(body)
    assert [(item.model, item.created) for item in listed] == [("qwen3:8b", 1790848800), ("x", 0)]
    assert Ollama("http://127.0.0.1:11434").parse_listing(b'{"models":null}') == []


def test_openais_list() -> None:
    body = b'{"object":"list","data":[{"id":"k3","created":1790848800,"context_length":1},{"id":"k3-256k","created":null}]}'
    listed = Kimi("https://api.kimi.com/coding/v1", Key("k", "here")).parse_listing(body)
    assert [(item.model, item.created) for item in listed] == [("k3", 1790848800), ("k3-256k", 0)]
    with pytest.raises(msgspec.MsgspecError):
        OpenCode(ZEN).parse_listing(b"<html>")


def test_a_provider_does_not_show_its_key() -> None:
    assert "sk-secret" not in repr(Kimi("https://api.kimi.com/coding/v1", Key("sk-secret", "$KIMI_API_KEY")))


async def test_opencode_requests_encrypted_reasoning(autojump_clock: MockClock) -> None:
    request = await sent(ask("opencode/gpt-5.6-sol"), RESPONSES_ANSWER, provider="opencode")
    body = msgspec.json.decode(request.content)
    assert (body["store"], body["include"]) == (False, ["reasoning.encrypted_content"])
