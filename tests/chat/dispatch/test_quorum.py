"""Quorum: several models are asked at once, and what enough of them say is the answer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from lakehouse.chat.dispatch.quorum import canonical_form
from lakehouse.chat.model.request import Quorum, Request
from lakehouse.core.errors import ErrBadRequest, ErrProviderNotFound, ErrTimeout, ErrUpstream
from tools.kit.fake_providers import (
    OVERLOADED,
    SILENCE,
    FakeProvider,
    ask,
    completion,
    error_response,
    ollama_answer,
    open_fake_dispatcher,
    settings,
)

OF = ("ollama/m", "openrouter/v/m", "ollama_cloud/m")


def council(agree: int, *of: str, **fields: Any) -> Request:
    return ask(quorum=Quorum(of=of or OF, agree=agree), **({"format": "json"} | fields))


async def test_the_quorum_answers_and_the_other_members_are_cancelled(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(ollama_answer('{"a": 1, "b": [2]}', after=1))
    openrouter = FakeProvider(completion('```json\n{"b":[2.0],"a":1}\n```').after(3))
    cloud = FakeProvider(SILENCE)
    async with open_fake_dispatcher(ollama=ollama, openrouter=openrouter, ollama_cloud=cloud) as dispatcher:
        answer = await dispatcher(council(2))
        assert cloud.requests[0].left == 3.0
    assert (answer.provider, answer.content, answer.latency_ms) == ("openrouter", '{"b":[2.0],"a":1}', 3000)
    assert [(attempt.provider, attempt.status) for attempt in answer.attempts] == [
        ("ollama_cloud", None),
        ("ollama", 200),
        ("openrouter", 200),
    ]


async def test_all_members_are_asked_at_the_same_time(autojump_clock: MockClock) -> None:
    providers: dict[str, Any] = {
        name: FakeProvider(ollama_answer("[1]", after=5)) for name in ("ollama", "ollama_cloud")
    }
    async with open_fake_dispatcher(**providers) as dispatcher:
        await dispatcher(council(3, "ollama/a", "ollama/b", "ollama_cloud/c"))
    assert trio.current_time() == 5.0
    assert [asked.json["model"] for asked in providers["ollama"].requests] in (["a", "b"], ["b", "a"])


async def test_too_few_that_agree_are_an_error_with_the_votes(autojump_clock: MockClock) -> None:
    ollama, openrouter = FakeProvider(ollama_answer('{"a":1}', after=1)), FakeProvider(completion('{"a":2}').after(2))
    cloud = FakeProvider(error_response(401, "unauthorized", after=3))
    async with open_fake_dispatcher(ollama=ollama, openrouter=openrouter, ollama_cloud=cloud) as dispatcher:
        with pytest.raises(ErrUpstream) as raised:
            await dispatcher(council(2))
    assert raised.value.message == (
        'quorum: no 2 of 3 models agree: ollama/m said {"a":1}; openrouter/v/m said {"a":2}; ollama_cloud/m failed (auth)'
    )
    assert len(raised.value.attempts) == 3


async def test_the_call_fails_as_soon_as_too_few_can_agree(autojump_clock: MockClock) -> None:
    ollama, openrouter = FakeProvider(ollama_answer('{"a":1}', after=1)), FakeProvider(completion('{"a":2}').after(2))
    cloud = FakeProvider(SILENCE)
    async with open_fake_dispatcher(ollama=ollama, openrouter=openrouter, ollama_cloud=cloud) as dispatcher:
        with pytest.raises(ErrUpstream, match="no 3 of 3"):
            await dispatcher(council(3))
    assert trio.current_time() == 2.0


async def test_a_member_has_its_own_retries_and_a_tier_its_fallbacks(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(OVERLOADED, ollama_answer("[1]"))
    openrouter, cloud = FakeProvider(completion("[1]")), FakeProvider(error_response(401))
    config = settings(models={"second": ("ollama_cloud/m", "openrouter/v/m")})
    async with open_fake_dispatcher(config, ollama=ollama, openrouter=openrouter, ollama_cloud=cloud) as dispatcher:
        answer = await dispatcher(council(2, "ollama/m", "second"))
    assert answer.content == "[1]"
    assert (len(ollama.requests), len(openrouter.requests), len(cloud.requests)) == (2, 1, 1)


async def test_one_deadline_covers_all(autojump_clock: MockClock) -> None:
    ollama, openrouter = FakeProvider(SILENCE), FakeProvider(SILENCE)
    async with open_fake_dispatcher(settings(timeout=10.0), ollama=ollama, openrouter=openrouter) as dispatcher:
        with pytest.raises(ErrTimeout):
            await dispatcher(council(2, "ollama/m", "openrouter/v/m"))
        assert (ollama.open, openrouter.open) == (0, 0)
    assert trio.current_time() == 10.0


async def test_cancellation_leaves_nothing(autojump_clock: MockClock) -> None:
    ollama, openrouter = FakeProvider(SILENCE), FakeProvider(ollama_answer("[1]"))
    async with open_fake_dispatcher(ollama=ollama, openrouter=openrouter) as dispatcher:
        with trio.move_on_after(1):
            await dispatcher(council(2, "ollama/m", "ollama/n"))
        assert ollama.open == 0


async def test_an_answer_that_mismatches_the_schema_does_not_count(autojump_clock: MockClock) -> None:
    schema = {"type": "object", "required": ["a"]}
    ollama, openrouter = FakeProvider(ollama_answer('{"b":1}')), FakeProvider(completion('{"b":1}'))
    config = settings(policy={"retries": 0})
    async with open_fake_dispatcher(config, ollama=ollama, openrouter=openrouter) as dispatcher:
        with pytest.raises(ErrUpstream, match=r"no 2 of 2 models agree: .*failed"):
            await dispatcher(council(2, "ollama/m", "openrouter/v/m", format=schema))


async def test_a_member_without_a_registered_provider_is_404(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(ollama_answer("[1]"))
    async with open_fake_dispatcher(env={}, ollama=ollama) as dispatcher:
        with pytest.raises(ErrProviderNotFound):
            await dispatcher(council(1, "ollama/m", "kimi/k3"))
    assert ollama.requests == []


async def test_a_quorum_is_for_whole_answers(autojump_clock: MockClock) -> None:
    async with open_fake_dispatcher(ollama=FakeProvider(SILENCE)) as dispatcher:
        with pytest.raises(ErrBadRequest, match="quorum"):
            dispatcher.stream(council(1, "ollama/m", "ollama/n"))


WRONG = [
    ({"quorum": {"of": ["a"], "agree": 1}, "format": "json"}, "`of` must name from 2"),
    ({"quorum": {"of": ["a", "b"], "agree": 3}, "format": "json"}, "`agree` must be from 1 to 2"),
    ({"quorum": {"of": ["a", "b"], "agree": 0}, "format": "json"}, "`agree` must be from 1 to 2"),
    ({"quorum": {"of": ["a", "b"], "agree": 1, "x": 1}, "format": "json"}, "unknown field `x`"),
    ({"quorum": {"of": ["a", "b"], "agree": 1}}, "`format` is required"),
    ({"quorum": {"of": ["a", "b"], "agree": 1}, "format": "json", "stream": True}, "`stream` must be false"),
    ({"quorum": {"of": ["a", "b"], "agree": 1}, "format": "json", "fallbacks": ["c"]}, "`fallbacks` must be empty"),
]


@pytest.mark.parametrize(("fields", "says"), WRONG)
def test_invalid_quorums_are_rejected(fields: dict[str, object], says: str) -> None:
    document = {"model": "m", "messages": [{"role": "user", "content": "?"}], **fields}
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.json.decode(msgspec.json.encode(document), type=Request)


SAME = [
    ('{"a":1,"b":2}', ' { "b": 2.0, "a": 1 } '),
    ("[1, 2]", "[1,2]"),
    ("a  b\nc", " a b c "),
    ('"é"', '"\\u00e9"'),
]
DIFFERENT = [
    ("[1,2]", "[2,1]"),
    ("true", "1"),
    ('"1"', "1"),
    ("null", '"null"'),
    ('{"a":1}', '{"a":1,"b":null}'),
    ("A", "a"),
    ("1.5", "1"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_answers_that_agree(one: str, other: str) -> None:
    assert canonical_form(one) == canonical_form(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_answers_that_do_not_agree(one: str, other: str) -> None:
    assert canonical_form(one) != canonical_form(other)
