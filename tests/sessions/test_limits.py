"""`[observerd.limits]`: what refuses a session, in which words, in each form, and what the observer is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from lakehouse.config import ConfigError, SessionLimitsTable
from lakehouse.core.context import Outcome, RequestContext
from lakehouse.core.errors import ErrSessionStopped, LakehouseError
from lakehouse.core.session_identity import SessionIdentity
from lakehouse.runtime.session_guard import QUEUE, SessionGuard
from lakehouse.runtime.sessions import WorkerSessions
from lakehouse.sessions.limits import SessionLimits, SessionUse
from lakehouse.sessions.registry import SessionRegistry
from lakehouse.sessions.session import Session
from lakehouse.telemetry.worker_ipc import WorkerIPC
from lakehouse.testing.upstreams import ReceivedRequest, open_upstream, respond
from tools.kit.in_process_service import make_config
from tools.kit.service_with_providers import (
    HELLO,
    ServiceWithProviders,
    answer_in_turn,
    ollama,
    open_service_with_providers,
)

RUN = {"x-session-id": "run"}


@dataclass
class Call:
    """A request in flight that nobody stops."""

    context: RequestContext = field(
        default_factory=lambda: RequestContext(id="r", method="POST", path="/v1/chat", started=0.0)
    )

    def stop(self, error: LakehouseError, outcome: Outcome) -> None:
        raise AssertionError(outcome)


@pytest.mark.parametrize(
    ("limits", "used", "rule", "says"),
    [
        ({"calls_per_minute": 3}, {"calls_in_minute": 3}, "calls_per_minute", "3 calls began within a minute"),
        ({"calls_per_minute": 3}, {"calls_in_minute": 2}, None, ""),
        ({"tokens": 100}, {"tokens": 100}, "tokens", "it used 100 tokens of 100"),
        ({"tokens": 100}, {"tokens": 99}, None, ""),
        ({"cost_usd": 0.5}, {"cost_usd": 0.75}, "cost_usd", "it cost $0.75 of $0.5"),
        ({"cost_usd": 0.5}, {"cost_usd": 0.49}, None, ""),
        ({"wall_time": 60.0}, {"seconds": 61.0}, "wall_time", "it began 61 s ago, and may last 60 s"),
        ({"wall_time": 60.0}, {"seconds": 59.0}, None, ""),
        ({}, {"calls_in_minute": 10**6, "tokens": 10**9, "cost_usd": 1e6, "seconds": 1e9}, None, ""),
    ],
)
def test_a_limit_is_reached_or_not(limits: dict[str, Any], used: dict[str, Any], rule: str | None, says: str) -> None:
    nothing = {"calls_in_minute": 0, "tokens": 0, "cost_usd": 0.0, "seconds": 0.0}
    found = SessionLimits(**limits).find_excess(**(nothing | used))
    assert (found and found.rule) == rule
    if found is not None:
        assert says in found.reason
        assert found.evidence["limit"] == limits[found.rule]


def test_calls_are_forgotten_after_a_minute_and_not_when_the_clock_is_set_back() -> None:
    use = SessionUse()
    for now in (1_000.0, 1_000.9, 1_030.0, 1_020.0, 1_059.9):
        use.count_calls(now)
        use.begin_call()
    assert [use.count_calls(now) for now in (1_059.9, 1_060.0, 1_089.0, 1_090.0, 1_119.0, 1_300.0)] == [
        5,
        3,
        3,
        1,
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"same_tool_calls": 1}, "observerd.limits.same_tool_calls must be at least 2"),
        ({"tool_cycles": -1}, "observerd.limits.tool_cycles must be at least 2"),
        ({"answers_without_new_words": True}, "answers_without_new_words must be a whole number"),
        ({"tokens": -1}, "observerd.limits.tokens must be at least 0"),
        ({"cost_usd": "1"}, "observerd.limits.cost_usd must be a number that is not negative"),
        ({"wall_time": "soon"}, "observerd.limits.wall_time must be a number of seconds"),
        ({"loops": 3}, "observerd.limits.loops"),
    ],
)
def test_a_mistake_in_the_configuration_names_its_key(table: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make_config(observerd={"limits": table})
    assert says in str(refused.value)


@dataclass
class Observer:
    """An observerd that keeps what it is told."""

    events: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, asked: ReceivedRequest, stream: trio.SocketStream) -> None:
        assert asked.target == "/observer/event"
        self.events.append(json.loads(asked.body))
        await stream.send_all(respond({"accepted": True, "ring_size": 1}))

    async def wait_for(self, count: int) -> None:
        while len(self.events) < count:
            await trio.sleep(0.001)


@asynccontextmanager
async def limited(**limits: object) -> AsyncIterator[tuple[ServiceWithProviders, Observer]]:
    """The service with limits, an observer, and a provider that always answers the same."""
    observer = Observer()
    with trio.fail_after(20):
        async with (
            open_upstream(observer.answer) as upstream,
            open_service_with_providers(
                scripts={"ollama": answer_in_turn(ollama())},
                gateway={"observerd_url": upstream.url},
                observerd={"limits": limits},
            ) as up,
        ):
            yield up, observer


def make_loop(count: int) -> list[dict[str, Any]]:
    """A history in which the same call fails in the same way."""
    function = {"name": "read", "arguments": '{"path": "/etc/secret"}'}
    messages: list[dict[str, Any]] = [*HELLO]
    for number in range(count):
        call = {"id": f"c{number}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": "Error: no such file"})
    return messages


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat", "/v1/chat/completions"])
async def test_a_loop_is_refused_with_its_rule_and_its_evidence(path: str, stream: bool) -> None:
    async with limited(same_tool_calls=3) as (up, observer):
        body = {"model": "m", "messages": make_loop(3), "stream": stream}
        for _ in range(2):
            refused = await up.client.post(path, json=body, headers=RUN | {"x-session-agent-id": "a"})
            assert refused.status_code == 400
            error = refused.json()["error"]
            assert error["message"] == (
                "the session run is over: it has broken the limit `same_tool_calls`: `read` was called with the same "
                "arguments and had the same result 3 times in a row"
            )
            if path == "/v1/chat":
                assert error["code"] == "ErrSessionStopped"
                expected = {"session": "run", "agent": "a", "rule": "same_tool_calls", "limit": 3, "tools": ["read"]}
                assert error["details"] == expected
            else:
                assert (error["type"], error["code"]) == ("invalid_request_error", "session_stopped")
                assert refused.headers["x-should-retry"] == "false"
        assert up.requests == {}
        await observer.wait_for(1)
        shorter = {**body, "messages": make_loop(2), "stream": False}
        assert (await up.client.post(path, json=shorter, headers=RUN)).status_code == 200
        assert (await up.client.post(path, json={**body, "stream": False})).status_code == 200  # no session
        told = {**body, "messages": [*make_loop(3), {"role": "user", "content": "Read another one."}], "stream": False}
        assert (await up.client.post(path, json=told, headers=RUN)).status_code == 200
        (event,) = observer.events
        assert {name: event[name] for name in ("endpoint", "source", "event_kind", "success")} == {
            "endpoint": "session/run/a",
            "source": "limits",
            "event_kind": "same_tool_calls",
            "success": False,
        }
        assert json.loads(event["input_summary"]) == {"limit": 3, "tools": ["read"]}
        assert "secret" not in json.dumps(event) + refused.text


@pytest.mark.parametrize(
    ("limits", "calls", "rule", "evidence"),
    [
        ({"calls_per_minute": 2}, 2, "calls_per_minute", {"limit": 2, "observed": 2}),
        ({"tokens": 25}, 3, "tokens", {"limit": 25, "observed": 30}),
        ({"wall_time": "1ms"}, 1, "wall_time", None),
    ],
)
async def test_a_session_that_used_up_its_limit_is_refused_and_no_other(
    limits: dict[str, Any], calls: int, rule: str, evidence: dict[str, Any] | None
) -> None:
    async with limited(**limits) as (up, observer):
        for _ in range(calls):
            assert (await up.chat("m", headers=RUN)).status_code == 200
        await trio.sleep(0.002)
        refused = await up.chat("m", headers=RUN)
        assert refused.status_code == 400
        details = refused.json()["error"]["details"]
        assert details["rule"] == rule
        assert evidence is None or evidence.items() <= details.items()
        gateway = await up.client.get("/v1/observer/stats", headers=RUN)
        assert (gateway.status_code, gateway.json()["error"]["code"]) == (400, "ErrSessionStopped")
        assert (await up.chat("m", headers={"x-session-id": "other"})).status_code == 200
        assert (await up.chat("m")).status_code == 200
        await observer.wait_for(1)
        assert [(event["endpoint"], event["event_kind"]) for event in observer.events] == [("session/run", rule)]
        shown = (await up.client.get("/v1/sessions/run")).json()
        assert (shown["calls"], shown["refused"]) == (calls, 2)


async def test_the_embedded_observer_is_told(tmp_path: Path) -> None:
    async with open_service_with_providers(
        scripts={"ollama": answer_in_turn(ollama())},
        lake={"path": str(tmp_path / "lake")},
        observerd={"limits": {"calls_per_minute": 1}},
    ) as up:
        assert [(await up.chat("m", headers=RUN)).status_code for _ in range(3)] == [200, 400, 400]
        stats: dict[str, Any] = {}
        with trio.fail_after(30):
            while not stats.get("total"):
                stats = (await up.client.get("/v1/observer/stats")).json()
        assert (stats["total"], stats["failures"], stats["by_source"]) == (1, 1, {"limits": 1})


async def test_too_many_events_are_dropped_and_calls_are_refused_nevertheless() -> None:
    guard = SessionGuard(SessionLimitsTable(wall_time=1.0), shared=False)
    for number in range(QUEUE + 10):
        identity = SessionIdentity(id=f"run-{number}")
        with pytest.raises(ErrSessionStopped):
            guard.admit_call(Session(identity.id, None, 0.0), identity, 2.0)


async def test_calls_that_reached_two_workers_are_added_up(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        registries: list[SessionRegistry] = []
        active: tuple[list[Call], list[Call]] = ([], [])
        told: list[str] = []
        for number in range(2):
            guard = SessionGuard(SessionLimitsTable(calls_per_minute=4), shared=True)
            registries.append(SessionRegistry(active[number].copy, limits=guard))
            ipc = WorkerIPC(tmp_path, number, {})
            sessions = WorkerSessions(registries[-1], ipc, stopped_for=60.0)
            await nursery.start(ipc.serve)
            nursery.start_soon(guard.run, Told(told), sessions)
        identity = SessionIdentity(id="run")
        with trio.fail_after(10):
            while not all(registry.stops.find("run") for registry in registries):
                for number, registry in enumerate(registries):
                    if len(active[number]) < 2:
                        active[number].append(Call())
                        registry.join(active[number][-1], identity)
                await trio.sleep(0.01)
        for registry in registries:
            with pytest.raises(ErrSessionStopped) as refused:
                registry.join(Call(), identity)
            assert refused.value.details == {"session": "run", "rule": "calls_per_minute", "limit": 4, "observed": 4}
            (session,) = registry.report("run")
            assert (session.sums.in_flight, session.sums.refused) == (2, 1)
            registry.join(Call(), SessionIdentity(id="other"))
        with trio.fail_after(10):
            while not told:
                await trio.sleep(0.001)
        assert set(told) == {"session/run"}
        nursery.cancel_scope.cancel()


class Told:
    """Services of which only the observer is called."""

    def __init__(self, told: list[str]) -> None:
        self._told = told

    async def call(self, service: str, method: str, path: str, document: object = None, *, context: object) -> bytes:
        assert (service, method, path) == ("observerd", "POST", "/observer/event")
        assert isinstance(document, dict)
        self._told.append(document["endpoint"])
        return b"{}"
