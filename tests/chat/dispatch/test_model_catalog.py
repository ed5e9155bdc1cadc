"""The models of all providers in one list, and whether the providers answer."""

from __future__ import annotations

import logging
import tomllib

import httpx
import pytest
import trio
from trio.testing import MockClock

from lakehouse.chat.api.ollama.models import make_show
from lakehouse.chat.api.openai.errors import find_status
from lakehouse.chat.dispatch.model_catalog import FRESH_FOR, LISTING_TIMEOUT
from lakehouse.chat.dispatch.provider_queries import QUERY_TIMEOUT
from lakehouse.chat.model.listing import ModelCard, ModelDescription
from lakehouse.config import parse_config
from lakehouse.core.errors import ErrProviderNotFound, LakehouseError
from tools.kit.fake_providers import (
    SILENCE,
    FakeProvider,
    Script,
    encode_json,
    error_response,
    open_fake_dispatcher,
    settings,
)

TAGS = Script(chunks=[(0, encode_json({"models": [{"name": "qwen3:8b", "modified_at": "2026-10-01T10:00:00Z"}]}))])
LIST = Script(chunks=[(0, encode_json({"data": [{"id": "v/m", "created": 7}, {"id": "v/n"}]}))])
KEY = {"OPENROUTER_API_KEY": "or-key"}


async def test_the_list_has_tiers_first_then_the_models_of_all_providers(autojump_clock: MockClock) -> None:
    ollama, openrouter = FakeProvider(TAGS), FakeProvider(LIST)
    config = settings(models={"judge": ("kimi/k3",)})
    async with open_fake_dispatcher(config, env=KEY, ollama=ollama, openrouter=openrouter) as dispatcher:
        assert list(await dispatcher.models()) == [
            ModelCard(id="judge", owned_by="lakehouse"),
            ModelCard(id="ollama/qwen3:8b", owned_by="ollama", created=1790848800),
            ModelCard(id="openrouter/v/m", owned_by="openrouter", created=7),
            ModelCard(id="openrouter/v/n", owned_by="openrouter", created=0),
        ]
    [asked] = openrouter.requests
    assert (asked.request.method, str(asked.request.url)) == ("GET", "https://openrouter.ai/api/v1/models")
    assert asked.request.headers["authorization"] == "Bearer or-key"
    assert str(ollama.requests[0].request.url) == "http://127.0.0.1:11434/api/tags"


DEAD = {
    "refuses": error_response(500),
    "resets": Script(error=httpx.ReadError("reset")),
    "is silent": SILENCE,
    "talks nonsense": Script(chunks=[(0, b"<html>")]),
    "nests without end": Script(chunks=[(0, b'{"data": [{"id": "m", "x": ' + b"[" * 9999 + b"]" * 9999 + b"}]}")]),
    "never ends": Script(chunks=[(0, b"[" * 1_000_000)] * 99),
}


@pytest.mark.parametrize("script", DEAD.values(), ids=DEAD)
async def test_a_dead_provider_does_not_affect_the_list(
    autojump_clock: MockClock, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    ollama, openrouter = FakeProvider(TAGS), FakeProvider(script)
    with caplog.at_level(logging.WARNING, "lakehouse.chat"):
        async with open_fake_dispatcher(env=KEY, ollama=ollama, openrouter=openrouter) as dispatcher:
            assert [card.id for card in await dispatcher.models()] == ["ollama/qwen3:8b"]
            assert trio.current_time() <= QUERY_TIMEOUT
    assert [record.getMessage()[:10] for record in caplog.records] == ["openrouter"]


async def test_lists_are_cached_and_a_dead_provider_keeps_its_last_one(autojump_clock: MockClock) -> None:
    ollama, openrouter = FakeProvider(TAGS), FakeProvider(LIST, error_response(500))
    async with open_fake_dispatcher(env=KEY, ollama=ollama, openrouter=openrouter) as dispatcher:
        first = await dispatcher.models()
        await trio.sleep(FRESH_FOR - 1)
        assert await dispatcher.models() == first
        assert len(openrouter.requests) == 1
        await trio.sleep(1)
        assert await dispatcher.models() == first
        assert len(openrouter.requests) == 2


async def test_concurrent_callers_cause_one_query(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(TAGS.after(1))
    async with open_fake_dispatcher(env={}, ollama=ollama) as dispatcher, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(dispatcher.models)
    assert len(ollama.requests) == 1


async def test_a_cancelled_caller_leaves_the_query_to_the_next(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(TAGS.after(2))
    async with open_fake_dispatcher(env={}, ollama=ollama) as dispatcher:
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(1):
                nursery.start_soon(dispatcher.models)
                await dispatcher.models()
        assert [card.id for card in await dispatcher.models()] == ["ollama/qwen3:8b"]


async def test_a_hanging_provider_delays_the_list_by_less_than_three_seconds(autojump_clock: MockClock) -> None:
    ollama, openrouter = FakeProvider(SILENCE), FakeProvider(LIST.after(2))
    config = settings(models={"judge": ("kimi/k3",)})
    async with open_fake_dispatcher(config, env=KEY, ollama=ollama, openrouter=openrouter) as dispatcher:
        times: list[float] = []

        async def list_models() -> None:
            assert [card.id for card in await dispatcher.models()] == ["judge", "openrouter/v/m", "openrouter/v/n"]
            times.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(list_models)
            await trio.sleep(1)
            nursery.start_soon(list_models)
        assert times == [LISTING_TIMEOUT, LISTING_TIMEOUT]
        await list_models()  # from the cache
        assert times[-1] == LISTING_TIMEOUT


async def test_a_model_is_described_by_its_own_ollama(autojump_clock: MockClock) -> None:
    shown = {"capabilities": ["completion", "thinking"], "model_info": {"general.architecture": "qwen3"}}
    ollama, openrouter = FakeProvider(Script(chunks=[(0, encode_json(shown))])), FakeProvider(LIST)
    config = settings(models={"judge": ("openrouter/v/m", "ollama/m")})
    async with open_fake_dispatcher(config, env=KEY, ollama=ollama, openrouter=openrouter) as dispatcher:
        assert await dispatcher.describe("m") == ModelDescription(
            provider="ollama", model="m", images=True, document=shown
        )
        [asked] = ollama.requests
        assert (asked.request.method, str(asked.request.url)) == ("POST", "http://127.0.0.1:11434/api/show")
        assert asked.json == {"model": "m"}
        tier = await dispatcher.describe("judge")  # its first model
        assert tier == ModelDescription(provider="openrouter", model="v/m", images=True, document=None)
        assert not openrouter.requests
        with pytest.raises(ErrProviderNotFound):
            await dispatcher.describe("kimi/k3")


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (error_response(404, "model 'm' not found"), 404),
        (error_response(500, "broken"), 502),
        (SILENCE, 504),
        (Script(chunks=[(0, b"[]")]), 502),
    ],
)
async def test_a_description_that_fails_says_why(autojump_clock: MockClock, script: Script, status: int) -> None:
    async with open_fake_dispatcher(env={}, ollama=FakeProvider(script)) as dispatcher:
        with pytest.raises(LakehouseError) as failed:
            await dispatcher.describe("m")
        assert find_status(failed.value) == status
        assert trio.current_time() <= QUERY_TIMEOUT


@pytest.mark.parametrize("dead", DEAD.values(), ids=DEAD)
async def test_loaded_models_have_the_names_of_requests(autojump_clock: MockClock, dead: Script) -> None:
    loaded = {"models": [{"name": "qwen3:8b", "size_vram": 7}, {"name": 3}, 4]}
    for script, names in ((Script(chunks=[(0, encode_json(loaded))]), ["ollama/qwen3:8b"]), (dead, [])):
        async with open_fake_dispatcher(env={}, ollama=FakeProvider(script)) as dispatcher:
            assert [model.id for model in await dispatcher.list_loaded()] == names


async def test_a_probe_reports_which_providers_answer(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(Script(error=httpx.ConnectError("refused")))
    openrouter = FakeProvider(error_response(401, "User not found.", after=0.25))
    kimi = FakeProvider(Script(chunks=[(0, b"{}")]))
    async with open_fake_dispatcher(
        env={**KEY, "KIMI_API_KEY": "k"}, ollama=ollama, openrouter=openrouter, kimi=kimi
    ) as dispatcher:
        probed = await dispatcher.probe()
    assert [(each.name, each.answers, each.ms) for each in probed] == [
        ("ollama", False, 0),
        ("openrouter", True, 250),
        ("kimi", True, 0),
    ]
    assert "User not found." in probed[1].detail
    assert str(openrouter.requests[0].request.url) == "https://openrouter.ai/api/v1/key"


CONFIGURED = """
[providers.lab]
wire = "chat_completions"
base_url = "http://lab/v1"
[providers.lab.models."v/m"]
alias = ["fast", "quick"]
tools = false
context = 4096
reasoning = true
[providers.lab.models.hidden]
"""


@pytest.mark.parametrize(
    ("only_models", "expected"),
    [
        (False, ["lab/v/m", "fast", "quick", "lab/v/n", "lab/hidden"]),
        (True, ["lab/v/m", "fast", "quick", "lab/hidden"]),
    ],
)
async def test_what_a_provider_lists_is_joined_with_what_is_configured(
    autojump_clock: MockClock, only_models: bool, expected: list[str]
) -> None:
    document = tomllib.loads(CONFIGURED)
    document["providers"]["lab"]["only_models"] = only_models
    config = parse_config({**document, "chatd": {"ollama_url": ""}}).config
    async with open_fake_dispatcher(config, env={}, lab=FakeProvider(LIST)) as dispatcher:
        assert [card.id for card in await dispatcher.models()] == expected
        described = await dispatcher.describe("fast")
        shown = make_show("fast", described, context_length=7)
    assert shown["capabilities"] == ["completion", "vision", "thinking"]
    assert shown["model_info"]["lab.context_length"] == 4096
