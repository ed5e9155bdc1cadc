"""Providers that are known from the configuration alone: where requests go, with what, and what is done with the facts."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from typing import Any, get_args

import httpx
import msgspec
import pytest
from trio.testing import MockClock

from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.chat.model.request import Request
from lakehouse.chat.providers.model_router import Target
from lakehouse.chat.providers.named_quirks import API_KEY_HEADER, BEARER_KEY, NAMED_QUIRKS, STREAMS_ONLY, join_quirks
from lakehouse.chat.providers.registry import register
from lakehouse.config import Config, parse_config
from lakehouse.config.provider_values import QuirkName
from lakehouse.core.errors import ErrBadRequest, ErrProviderNotFound, ErrUpstream
from tools.kit.fake_providers import FakeProvider, Script, ask, completion, completion_stream, ollama_answer
from tools.kit.provider_requests import COMMON, HELLO, MESSAGES_ANSWER, RESPONSES_ANSWER, headers_of

ENV = {"LAB_KEY": "lab-key"}

WIRES = [
    ("chat_completions", completion(), "/v1/chat/completions", {"authorization": "Bearer lab-key"}),
    ("responses", RESPONSES_ANSWER, "/v1/responses", {"authorization": "Bearer lab-key"}),
    ("messages", MESSAGES_ANSWER, "/v1/messages", {"x-api-key": "lab-key", "anthropic-version": "2023-06-01"}),
    ("ollama", ollama_answer(), "/v1/api/chat", {"authorization": "Bearer lab-key"}),
]


def configure(text: str = "", *, wire: str = '"chat_completions"', more: str = "") -> Config:
    lab = f'[providers.lab]\nwire = {wire}\nbase_url = "http://lab:1/v1"\nkey_env = "LAB_KEY"\n{text}\n'
    return parse_config(tomllib.loads(f"{lab}\n{more}\n[chatd.policy]\nretries = 0\n")).config


async def sent(config: Config, request: Request, script: Script | None = None, **names: Any) -> httpx.Request:
    """What `lab` was sent for a request."""
    lab = FakeProvider(script or completion())
    async with open_service_dispatcher(config, env=ENV, transports={"lab": lab, **names}) as dispatcher:
        await dispatcher(request)
    return lab.requests[-1].request


@pytest.mark.parametrize(("wire", "answer", "path", "key"), WIRES, ids=[wire[0] for wire in WIRES])
async def test_a_provider_is_asked_over_its_wire(
    autojump_clock: MockClock, wire: str, answer: Script, path: str, key: dict[str, str]
) -> None:
    config = configure('headers = { "x-team" = "a" }', wire=f'"{wire}"')
    request = await sent(config, ask("lab/some/model"), answer)
    assert str(request.url) == f"http://lab:1{path}"
    assert headers_of(request) == {**COMMON, **key, "x-team": "a"}
    assert msgspec.json.decode(request.content)["model"] == "some/model"


async def test_without_a_key_variable_no_key_is_needed_or_sent(autojump_clock: MockClock) -> None:
    request = await sent(configure(more='[providers.lab2]\nwire = "ollama"\nbase_url = "http://h"'), ask("lab/m"))
    assert request.headers["authorization"] == "Bearer lab-key"
    registry = register(configure(more='[providers.lab2]\nwire = "ollama"\nbase_url = "http://h"'), {})
    assert registry.providers["lab2"].key is None
    assert registry.missing["lab"] == "no key was found in $LAB_KEY"


def test_a_key_that_is_missing_beside_others_is_a_warning() -> None:
    config = parse_config(
        tomllib.loads('[providers.lab]\nwire = "ollama"\nbase_url = "http://h"\nkey_env = ["LAB_KEY", "OTHER_KEY"]\n')
    ).config
    registry = register(config, ENV)
    assert list(registry.replicas) == []
    assert registry.warnings == ("the provider lab has no key in $OTHER_KEY, and uses its others",)


def test_a_provider_whose_key_is_missing_is_not_replaced_by_another() -> None:
    registry = register(configure(), {})
    router = registry.make_router(Config())
    with pytest.raises(ErrProviderNotFound, match=r"lab is not registered: no key was found in \$LAB_KEY"):
        registry.route(router.target("lab/m"))


async def test_the_wire_may_depend_on_the_model(autojump_clock: MockClock) -> None:
    config = configure(wire='{ "claude-*" = "messages", "*" = "chat_completions" }')
    assert (await sent(config, ask("lab/claude-9"), MESSAGES_ANSWER)).url.path == "/v1/messages"
    assert (await sent(config, ask("lab/gpt-9"))).url.path == "/v1/chat/completions"
    declared = configure(wire='{ "claude-*" = "messages" }')
    assert (await sent(declared, ask("lab/claude-9"), MESSAGES_ANSWER)).url.path == "/v1/messages"
    with pytest.raises(ErrUpstream, match=r"no pattern of providers\.lab\.wire fits the model gpt-9"):
        await sent(declared, ask("lab/gpt-9"))


def test_names_lead_to_providers_and_aliases_to_models() -> None:
    config = configure('[providers.lab.models."qwen3-32b"]\nalias = ["fast", "team/fast"]')
    router = register(config, ENV).make_router(config)
    model = Target("lab", "qwen3-32b")
    for name in ("fast", "lab/fast", "fast:latest", "lab/fast:latest", "team/fast", "lab/qwen3-32b"):
        assert router.target(name) == model, name
    assert router.target("labx/m") == Target("ollama", "labx/m")
    assert router.target("lab/other:latest") == Target("lab", "other")
    ollama = configure(wire='"ollama"')
    assert register(ollama, ENV).make_router(ollama).target("lab/m:latest") == Target("lab", "m:latest")


async def test_only_models_lets_nothing_else_through(autojump_clock: MockClock) -> None:
    config = configure("only_models = true\n[providers.lab.models.one]\nalias = 'uno'")
    assert msgspec.json.decode((await sent(config, ask("uno"))).content)["model"] == "one"
    with pytest.raises(ErrUpstream, match=r"two is not among the models of providers\.lab") as raised:
        await sent(config, ask("lab/two"))
    assert raised.value.error_class == "model_not_found"


IMAGE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize(
    ("fact", "fields", "field"),
    [
        ("tools", {"tools": TOOLS}, "tools"),
        ("reasoning", {"think": "high"}, "think"),
        ("images", {"messages": ({"role": "user", "content": IMAGE},)}, "messages[0].content[0]"),
    ],
)
async def test_what_a_model_cannot_do_is_refused_and_the_next_route_asked(
    autojump_clock: MockClock, fact: str, fields: dict[str, Any], field: str
) -> None:
    config = configure(f"[providers.lab.models.m]\n{fact} = false")
    with pytest.raises(ErrBadRequest) as raised:
        await sent(config, ask("lab/m", **fields))
    assert (raised.value.field or "").startswith(field)
    await sent(config, ask("lab/m", "lab/other", **fields))
    assert (await sent(config, ask("lab/m"))).url.path == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("quirks", "images", "taken"),
    [
        ("", "true", ["url", "data"]),
        ("no_images", "true", ["data"]),
        ("data_images", "true", ["data"]),
        ("", "false", []),
    ],
)
async def test_a_model_that_takes_images_takes_them_as_its_provider_does(
    autojump_clock: MockClock, quirks: str, images: str, taken: list[str]
) -> None:
    config = configure(f"quirks = [{quirks and repr(quirks)}]\n[providers.lab.models.m]\nimages = {images}")
    found = []
    for kind, url in (("url", "https://example.org/a.png"), ("data", "data:image/png;base64,iVBORw0KGgo=")):
        image = [{"type": "image_url", "image_url": {"url": url}}]
        with suppress(ErrBadRequest):
            await sent(config, ask("lab/m", messages=({"role": "user", "content": image},)))
            found.append(kind)
    assert found == taken


async def test_a_schema_is_asked_for_in_the_way_that_the_model_knows(autojump_clock: MockClock) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    wanted = ask("lab/m", format=schema)
    asked = [
        msgspec.json.decode(
            (await sent(configure(f"[providers.lab.models.m]\n{facts}"), wanted, completion('{"a": 1}'))).content
        )
        for facts in ("schema = true", "schema = false")
    ]
    assert ["response_format" in body for body in asked] == [True, False]
    with_tools = configure("[providers.lab.models.m]\nschema = false\ntools = true")
    with pytest.raises(ErrUpstream):
        await sent(with_tools, wanted, completion("no call"))


PRICES = "[providers.lab.models.m]\nprices = { input = 2, output = 10, cached_input = 0.5 }"


@pytest.mark.parametrize("mode", ["whole", "stream"])
async def test_prices_make_the_cost_of_an_answer(autojump_clock: MockClock, mode: str) -> None:
    lab = FakeProvider(completion("Hi.") if mode == "whole" else completion_stream("Hi."))
    async with open_service_dispatcher(configure(PRICES), env=ENV, transports={"lab": lab}) as dispatcher:
        if mode == "whole":
            said: Any = await dispatcher(ask("lab/m"))
        else:
            async with dispatcher.stream(ask("lab/m")) as pieces:
                said = [piece async for piece in pieces][-1]
    assert said.cost_usd == pytest.approx((said.input_tokens * 2 + said.output_tokens * 10) / 1e6)


async def test_cached_tokens_have_their_own_price_and_a_cost_of_the_provider_stays(autojump_clock: MockClock) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 60}}
    for extra, cost in (({}, (40 * 2 + 60 * 0.5 + 10 * 10) / 1e6), ({"cost": 7.5}, 7.5)):
        document = {
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
            "usage": {**usage, **extra},
        }
        lab = FakeProvider(Script(chunks=[(0, msgspec.json.encode(document))]))
        async with open_service_dispatcher(configure(PRICES), env=ENV, transports={"lab": lab}) as dispatcher:
            assert (await dispatcher(ask("lab/m"))).cost_usd == pytest.approx(cost)


async def test_named_quirks_change_requests(autojump_clock: MockClock) -> None:
    config = configure(
        'quirks = ["system_role", "max_completion_tokens", "fixed_sampling", "no_user", "api_key_header"]'
    )
    messages = ({"role": "developer", "content": "Be brief."}, *HELLO)
    request = await sent(config, ask("lab/m", messages=messages, max_tokens=5, temperature=0.5, user="u"))
    body = msgspec.json.decode(request.content)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["max_completion_tokens"] == 5
    assert body.keys().isdisjoint({"max_tokens", "temperature", "user"})
    assert headers_of(request) == {**COMMON, "api-key": "lab-key"}
    bearer = await sent(configure('quirks = ["bearer_key"]', wire='"messages"'), ask("lab/m"), MESSAGES_ANSWER)
    assert headers_of(bearer) == {**COMMON, "authorization": "Bearer lab-key", "anthropic-version": "2023-06-01"}
    streams = await sent(configure('quirks = ["streams_only"]'), ask("lab/m"), completion_stream("Hi."))
    assert msgspec.json.decode(streams.content)["stream"] is True


def test_every_quirk_has_a_meaning_that_is_not_the_default() -> None:
    assert set(NAMED_QUIRKS) == set(get_args(QuirkName))
    about_requests = {API_KEY_HEADER, BEARER_KEY, STREAMS_ONLY}
    for name, fields in NAMED_QUIRKS.items():
        assert bool(fields) != (name in about_requests)
        if name != "developer_role":  # the default, for an entry whose own says otherwise
            assert name in about_requests or Quirks(**join_quirks([name])) != Quirks()


async def test_a_header_that_may_be_a_secret_is_redacted(autojump_clock: MockClock) -> None:
    config = configure('headers = { "x-gateway-token" = "hidden-token-1", "x-team" = "blue-team" }')
    echo = Script(status=500, chunks=[(0, b'{"error": {"message": "hidden-token-1 of blue-team with lab-key"}}')])
    with pytest.raises(ErrUpstream) as raised:
        await sent(config, ask("lab/m"), echo)
    assert "blue-team" in raised.value.message
    assert "hidden-token-1" not in raised.value.message
    assert "lab-key" not in raised.value.message


async def test_quirks_and_facts_apply_to_providers_with_code_of_their_own(autojump_clock: MockClock) -> None:
    config = configure(
        more='[providers.openrouter]\nquirks = ["max_completion_tokens"]\n[providers.openrouter.models.m]\nalias = "best"\ntools = false'
    )
    router = FakeProvider(completion())
    env = {"OPENROUTER_API_KEY": "k", **ENV}
    async with open_service_dispatcher(config, env=env, transports={"openrouter": router}) as dispatcher:
        await dispatcher(ask("best", max_tokens=3))
        with pytest.raises(ErrBadRequest, match="tools"):
            await dispatcher(ask("openrouter/m", tools=TOOLS))
    body = router.requests[0].json
    assert (body["model"], body["max_completion_tokens"]) == ("m", 3)
