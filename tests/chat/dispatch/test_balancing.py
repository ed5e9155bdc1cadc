"""Several hosts and keys of one provider: shares, sessions, and what a dead host or a spent key costs."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from trio.testing import MockClock

from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.config import Config
from lakehouse.core.errors import ErrBadRequest, ErrRateLimited, ErrUnavailable, ErrUpstream, LakehouseError
from lakehouse.core.session_identity import SessionIdentity
from tools.kit.fake_providers import (
    SILENCE,
    FakeProvider,
    Script,
    answer_of,
    ask,
    completion,
    completion_stream,
    context,
    encode_json,
    error_response,
)
from tools.kit.fake_replicas import KEYS, FakeReplicas, configure_lab

DEAD = Script(error=httpx.ConnectError("connection refused"))
SLOW = completion("Hello.").after(10)


def say(text: str = "Hello.") -> FakeProvider:
    return FakeProvider(completion(text))


@asynccontextmanager
async def open_lab(config: Config, hosts: FakeReplicas) -> AsyncIterator[ServiceDispatcher]:
    """A dispatcher over the replicas. At the end no attempt counts as under way, and no answer is open."""
    async with open_service_dispatcher(config, env=KEYS, transports={"lab": hosts}) as dispatcher:
        yield dispatcher
        [state] = dispatcher.providers()
        assert all(replica.in_flight == 0 for replica in state.replicas)
    assert all(provider.open == 0 for provider in hosts.by_name.values())


async def ask_in_session(dispatcher: ServiceDispatcher, session: str, model: str = "lab/m") -> None:
    await dispatcher(ask(model), context=context(session=SessionIdentity(id=session)))


async def test_requests_are_shared_in_turn(autojump_clock: MockClock) -> None:
    hosts = FakeReplicas(a=say(), b=say(), c=say())
    async with open_lab(configure_lab("a", "b", "c"), hosts) as dispatcher:
        for _ in range(9):
            await dispatcher(ask("lab/m"))
    assert hosts.count() == {"a": 3, "b": 3, "c": 3}


@pytest.mark.parametrize("gap", [0, 20], ids=["at once", "one after the other"])
async def test_weights_are_shares(autojump_clock: MockClock, gap: float) -> None:
    hosts = FakeReplicas(a=FakeProvider(SLOW), b=FakeProvider(SLOW))
    async with open_lab(configure_lab("a", "b", weights="[2, 1]"), hosts) as dispatcher, trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(dispatcher, ask("lab/m"))
            await trio.sleep(gap)
    assert hosts.count() == {"a": 20, "b": 10}


async def test_a_fallback_at_the_same_provider_does_not_take_the_turns(autojump_clock: MockClock) -> None:
    hosts = FakeReplicas(a=say(), b=say())
    async with open_lab(configure_lab("a", "b"), hosts) as dispatcher:
        for _ in range(10):
            await dispatcher(ask("lab/m", "lab/n"))
    assert hosts.count() == {"a": 5, "b": 5}


async def test_the_one_with_the_fewest_attempts_under_way_is_next(autojump_clock: MockClock) -> None:
    hosts = FakeReplicas(a=FakeProvider(SILENCE), b=say())
    async with open_lab(configure_lab("a", "b"), hosts) as dispatcher, trio.open_nursery() as nursery:
        nursery.start_soon(dispatcher, ask("lab/m"))
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(5):
            await dispatcher(ask("lab/m"))
        assert hosts.count() == {"a": 1, "b": 5}
        assert [replica.in_flight for replica in dispatcher.providers()[0].replicas] == [1, 0]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("mode", ["whole", "stream"])
async def test_a_dead_host_costs_as_many_attempts_as_its_circuit_takes(autojump_clock: MockClock, mode: str) -> None:
    alive = completion("Hi.") if mode == "whole" else completion_stream("Hi.")
    a, b = FakeProvider(DEAD), FakeProvider(alive)
    hosts = FakeReplicas(a=a, b=b)
    async with open_lab(configure_lab("a", "b"), hosts) as dispatcher:
        attempts = Counter[int]()
        for _ in range(30):
            text, said = await answer_of(dispatcher, ask("lab/m"), mode)
            assert text == "Hi."
            attempts[len(said.attempts)] += 1
        assert trio.current_time() == 0, "the other host is asked at once"
        assert attempts == {2: 3, 1: 27}
        assert hosts.count() == {"a": 3, "b": 30}
        assert dispatcher.open_circuits() == {"lab": 1}
        await trio.sleep(15)
        for _ in range(4):
            await answer_of(dispatcher, ask("lab/m"), mode)
        assert hosts.count()["a"] == 4, "one probe"
        await trio.sleep(15)
        a.scripts = [alive]
        for _ in range(10):
            await answer_of(dispatcher, ask("lab/m"), mode)
        assert hosts.count()["a"] == 4 + 5


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.ConnectTimeout("no answer"), httpx.ReadError("reset")]
)
async def test_each_model_finds_a_dead_host_dead(autojump_clock: MockClock, error: Exception) -> None:
    hosts = FakeReplicas(a=FakeProvider(Script(error=error)), b=say())
    async with open_lab(configure_lab("a", "b"), hosts) as dispatcher:
        for number in range(30):
            await dispatcher(ask(f"lab/model-{number}"))
    assert hosts.count() == {"a": 3, "b": 30}


class ByModel(FakeProvider):
    """Answers by the model that it is asked for, with the first script for any other."""

    def __init__(self, other: Script, **scripts: Script) -> None:
        super().__init__(other)
        self.other = other
        self.by_model = scripts

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.scripts = [self.by_model.get(json.loads(request.content)["model"], self.other)]
        return await super().handle_async_request(request)


async def test_a_model_that_fails_leaves_the_others_of_its_host(autojump_clock: MockClock) -> None:
    broken = error_response(500, "crash")
    hosts = FakeReplicas(a=ByModel(completion("Hi."), broken=broken), b=ByModel(completion("Hi."), broken=broken))
    async with open_lab(configure_lab("a", "b"), hosts) as dispatcher:
        for _ in range(3):
            with pytest.raises(ErrUpstream):
                await dispatcher(ask("lab/broken"))
        with pytest.raises(ErrUnavailable, match=r"lab/broken at a \(server_error\), lab/broken at b"):
            await dispatcher(ask("lab/broken"))
        assert (await dispatcher(ask("lab/fine"))).content == "Hi."
        assert dispatcher.providers()[0].available


async def test_a_session_stays_where_it_is(autojump_clock: MockClock) -> None:
    hosts = FakeReplicas(a=say(), b=say())
    async with open_lab(configure_lab("a", "b"), hosts) as dispatcher:
        for _ in range(20):
            await ask_in_session(dispatcher, "one")
            await trio.sleep(60)
        assert sorted(hosts.count().values()) == [0, 20]
        for number in range(100):
            await ask_in_session(dispatcher, f"session-{number}")
        assert min(hosts.count().values()) > 25


async def test_a_session_moves_when_its_host_fails_and_stays_there_until_it_is_silent(
    autojump_clock: MockClock,
) -> None:
    a, b = say(), say()
    hosts = FakeReplicas(a=a, b=b)
    async with open_lab(configure_lab("a", "b"), hosts) as dispatcher:
        await ask_in_session(dispatcher, "one")
        home, other = (a, b) if a.requests else (b, a)
        home.scripts = [DEAD]
        await ask_in_session(dispatcher, "one")
        assert (len(home.requests), len(other.requests)) == (2, 1)
        home.scripts = [completion("Hello.")]
        for _ in range(5):
            await trio.sleep(599)
            await ask_in_session(dispatcher, "one")
        assert (len(home.requests), len(other.requests)) == (2, 6)
        await trio.sleep(600)
        await ask_in_session(dispatcher, "one")
        assert (len(home.requests), len(other.requests)) == (3, 6)


async def test_a_session_yields_when_its_host_is_full_and_not_before(autojump_clock: MockClock) -> None:
    a, b = FakeProvider(SLOW), FakeProvider(SLOW)
    hosts = FakeReplicas(a=a, b=b)
    async with open_lab(configure_lab("a", "b", max_connections=3), hosts) as dispatcher:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(ask_in_session, dispatcher, "one")
                await trio.sleep(1)
    assert sorted(hosts.count().values()) == [1, 3]


async def test_workers_agree_on_the_place_of_a_session(autojump_clock: MockClock) -> None:
    places: list[list[str]] = []
    for _ in range(2):
        hosts = FakeReplicas(a=say("a"), b=say("b"), c=say("c"))
        async with open_lab(configure_lab("a", "b", "c"), hosts) as worker:
            answers = []
            for number in range(30):
                session = SessionIdentity(id=f"s{number}")
                answers.append((await worker(ask("lab/m"), context=context(session=session))).content)
        places.append(answers)
    assert places[0] == places[1]
    assert set(places[0]) == {"a", "b", "c"}


def keyed(**by_key: FakeProvider) -> FakeReplicas:
    hosts = FakeReplicas()
    for name, provider in by_key.items():
        hosts.add(name.replace("_", "-"), provider)
    return hosts


BOTH_KEYS = '["KEY_A", "KEY_B"]'


async def test_a_refused_key_is_left_for_the_others_and_told_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    refused = FakeProvider(error_response(401, "Incorrect API key provided"))
    hosts = keyed(key_a=refused, key_b=say())
    with caplog.at_level(logging.ERROR, "lakehouse.chat"):
        async with open_lab(configure_lab("h", keys=BOTH_KEYS), hosts) as dispatcher:
            for _ in range(100):
                await dispatcher(ask("lab/m"))
                await trio.sleep(10)
    assert refused.times[0] <= 10
    assert [later - earlier >= 300 for earlier, later in zip(refused.times, refused.times[1:], strict=False)] == [
        True
    ] * 3
    [told] = [record.getMessage() for record in caplog.records]
    assert "rejected the key" in told
    assert "$KEY_A" in told
    assert "key-a" not in told


async def test_a_refused_key_is_left_at_all_hosts(autojump_clock: MockClock) -> None:
    refused = FakeProvider(error_response(403, "forbidden"))
    hosts = keyed(key_a=refused, key_b=say())
    async with open_lab(configure_lab("g", "h", keys=BOTH_KEYS), hosts) as dispatcher:
        for _ in range(40):
            await dispatcher(ask("lab/m"))
        unavailable = [replica for replica in dispatcher.providers()[0].replicas if not replica.available]
        assert [(replica.name, replica.reason) for replica in unavailable] == [
            ("g, $KEY_A", "forbidden"),
            ("h, $KEY_A", "forbidden"),
        ]
    assert hosts.count() == {"key-a": 1, "key-b": 40}


@pytest.mark.parametrize(
    ("script", "left_for"),
    [
        (error_response(429, "rate limit reached", headers={"retry-after": "60"}), 60),
        (error_response(429, "you have reached your weekly usage limit", headers={"retry-after": "7200"}), 7200),
        (error_response(402, "Insufficient credits", headers={"retry-after": "90"}), 90),
        (error_response(402, "Insufficient credits", headers={"retry-after": "9e15"}), 86_400),
        (error_response(402, "Insufficient credits"), 15),
    ],
    ids=["rate limit", "quota", "billing", "no plausible time", "billing without a time"],
)
async def test_a_spent_key_is_left_until_it_says(autojump_clock: MockClock, script: Script, left_for: float) -> None:
    a, b = FakeProvider(script), say()
    async with open_lab(configure_lab("h", keys=BOTH_KEYS), keyed(key_a=a, key_b=b)) as dispatcher:
        for _ in range(10):
            await dispatcher(ask("lab/m"))
        assert (len(a.requests), len(b.requests)) == (1, 10)
        a.scripts = [completion("Back.")]
        await trio.sleep(left_for - 0.01)
        for _ in range(4):
            await dispatcher(ask("lab/m"))
        assert len(a.requests) == 1
        await trio.sleep(0.01)
        for _ in range(4):
            await dispatcher(ask("lab/m"))
        assert len(a.requests) == 3


async def test_with_all_keys_spent_the_caller_is_told_when_the_first_is_back(autojump_clock: MockClock) -> None:
    a = FakeProvider(error_response(429, "rate limit reached", headers={"retry-after": "60"}))
    b = FakeProvider(error_response(429, "rate limit reached", headers={"retry-after": "40"}))
    async with open_lab(configure_lab("h", keys=BOTH_KEYS), keyed(key_a=a, key_b=b)) as dispatcher:
        with pytest.raises(ErrRateLimited):
            await dispatcher(ask("lab/m"))
        with pytest.raises(
            ErrUnavailable, match=r"lab at \$KEY_A \(rate_limit\), lab at \$KEY_B \(rate_limit\)"
        ) as raised:
            await dispatcher(ask("lab/m"))
        assert raised.value.retry_after == 40
        assert not dispatcher.providers()[0].available
    assert (len(a.requests), len(b.requests)) == (1, 1)


@pytest.mark.parametrize(
    ("script", "attempts"),
    [
        (error_response(400, "option x is of the wrong kind"), 1),
        (error_response(400, "the prompt is longer than the context length currently available"), 1),
        (completion(""), 2),
        (error_response(503, "busy"), 3),
        (error_response(404, "model 'm' not found"), 3),
        (DEAD, 3),
        (error_response(500, "boom"), 3),
    ],
    ids=["bad request", "too long", "empty answers", "overloaded", "no such model", "dead", "error"],
)
async def test_what_is_tried_at_another_host(autojump_clock: MockClock, script: Script, attempts: int) -> None:
    hosts = FakeReplicas(a=FakeProvider(script), b=FakeProvider(script), c=FakeProvider(script))
    async with open_lab(configure_lab("a", "b", "c"), hosts) as dispatcher:
        with pytest.raises(LakehouseError) as raised:
            await dispatcher(ask("lab/m"))
    assert sum(hosts.count().values()) == attempts
    assert len(raised.value.attempts) == attempts


async def test_a_request_too_long_for_a_model_goes_to_the_next_route(autojump_clock: MockClock) -> None:
    script = error_response(400, "the prompt is longer than the context length currently available")
    hosts = FakeReplicas(a=ByModel(completion("Long."), m=script), b=ByModel(completion("Long."), m=script))
    async with open_lab(configure_lab("a", "b"), hosts) as dispatcher:
        answer = await dispatcher(ask("lab/m", "lab/long"))
    assert len(answer.attempts) == 2
    assert [attempt.model for attempt in answer.attempts] == ["m", "long"]


async def test_a_request_that_nobody_can_express_is_sent_to_nobody(autojump_clock: MockClock) -> None:
    hosts = FakeReplicas(a=say(), b=say())
    async with open_lab(configure_lab("a", "b"), hosts) as dispatcher:
        with pytest.raises(ErrBadRequest):
            await dispatcher(ask("lab/m", tools=[{"type": "web_search"}]))
    assert hosts.count() == {"a": 0, "b": 0}


async def test_retries_begin_when_every_host_has_failed(autojump_clock: MockClock) -> None:
    a, b = FakeProvider(error_response(503, "busy")), FakeProvider(error_response(503, "busy"))
    hosts = FakeReplicas(a=a, b=b)
    async with open_lab(configure_lab("a", "b", policy={"retries": 1, "backoff": "1s"}), hosts) as dispatcher:
        with pytest.raises(ErrUpstream):
            await dispatcher(ask("lab/m"))
    assert sorted(hosts.count().values()) == [1, 2]
    assert max(a.times[0], b.times[0]) == 0


async def test_a_hedge_goes_to_another_host(autojump_clock: MockClock) -> None:
    hosts = FakeReplicas(a=FakeProvider(SILENCE), b=FakeProvider(SILENCE), c=say())
    config = configure_lab("a", "b", "c", policy={"hedge_after": "1s"}, first_token_timeout="5s")
    async with open_lab(config, hosts) as dispatcher:
        assert (await dispatcher(ask("lab/m"))).content == "Hello."
    assert trio.current_time() <= 6


ANSWER = {"message": {"role": "assistant", "content": "Hi."}, "done": True, "done_reason": "stop"}


class Ollama(FakeProvider):
    """Has these models in memory, and says so after a time."""

    def __init__(self, *loaded: str, after: float = 0.0) -> None:
        listed = Script(chunks=[(0, encode_json({"models": [{"name": name} for name in loaded]}))])
        super().__init__(listed)
        self.listed = listed.after(after)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.scripts = [self.listed if request.method == "GET" else Script(chunks=[(0, encode_json(ANSWER))])]
        return await super().handle_async_request(request)


async def test_an_ollama_that_has_the_model_in_memory_is_asked(autojump_clock: MockClock) -> None:
    a, b = Ollama("other:7b"), Ollama("m:latest")
    hosts = FakeReplicas(a=a, b=b)
    async with open_lab(configure_lab("a", "b", wire="ollama"), hosts) as dispatcher:
        for _ in range(10):
            await dispatcher(ask("lab/m"))
        assert hosts.count() == {"a": 0, "b": 10}
        for _ in range(10):
            await dispatcher(ask("lab/other:7b"))
        assert hosts.count() == {"a": 10, "b": 10}
        assert len(a.requests) == 11, "the list is asked for once in five seconds"
        await dispatcher(ask("lab/new"))
        before = hosts.count()
        for _ in range(4):
            await dispatcher(ask("lab/new"))
        assert 4 in [hosts.count()[name] - before[name] for name in before], "the one that has just loaded it"


async def test_an_ollama_that_does_not_say_delays_a_call_by_half_a_second(autojump_clock: MockClock) -> None:
    hosts = FakeReplicas(a=Ollama("m:latest", after=30), b=Ollama("m:latest"))
    async with open_lab(configure_lab("a", "b", wire="ollama"), hosts) as dispatcher:
        await dispatcher(ask("lab/m"))
        assert trio.current_time() == 0.5
        await dispatcher(ask("lab/m"))
        assert trio.current_time() == 0.5
    assert hosts.count() == {"a": 0, "b": 2}


async def test_requests_in_flight_show_which_host_and_key_is_asked(autojump_clock: MockClock) -> None:
    hosts = FakeReplicas(a=FakeProvider(DEAD), b=FakeProvider(DEAD))
    shown = context()
    async with open_lab(configure_lab("a", "b", keys=BOTH_KEYS), hosts) as dispatcher:
        with pytest.raises(ErrUpstream):
            await dispatcher(ask("lab/m"), context=shown)
    asked = [str(attempt.describe(0)["replica"]) for attempt in shown.attempts]
    assert sorted(asked) == ["a, $KEY_A", "a, $KEY_B", "b, $KEY_A", "b, $KEY_B"]
    assert "key-a" not in str(asked)


async def test_a_model_is_described_by_the_first_host_that_does(autojump_clock: MockClock) -> None:
    shown = {"capabilities": ["completion", "thinking"]}
    b = FakeProvider(Script(chunks=[(0, encode_json(shown))]), error_response(404, "model 'm' not found"))
    hosts = FakeReplicas(a=FakeProvider(DEAD), b=b)
    async with open_lab(configure_lab("a", "b", wire="ollama"), hosts) as dispatcher:
        assert (await dispatcher.describe("lab/m")).document == shown
        with pytest.raises(ErrUpstream, match="not found"):
            await dispatcher.describe("lab/m")
    assert hosts.count() == {"a": 2, "b": 2}


async def test_every_host_is_probed_and_their_models_are_joined(autojump_clock: MockClock) -> None:
    lists = [Script(chunks=[(0, encode_json({"data": [{"id": name}, {"id": "both"}]}))]) for name in ("x", "y")]
    hosts = FakeReplicas(a=FakeProvider(lists[0]), b=FakeProvider(lists[1]), c=FakeProvider(DEAD))
    async with open_lab(configure_lab("a", "b", "c"), hosts) as dispatcher:
        assert [card.id for card in await dispatcher.models()] == ["lab/x", "lab/both", "lab/y"]
        probed = await dispatcher.probe()
    assert [(probe.name, probe.replica, probe.answers) for probe in probed] == [
        ("lab", "a", True),
        ("lab", "b", True),
        ("lab", "c", False),
    ]
