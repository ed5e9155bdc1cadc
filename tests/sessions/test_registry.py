"""The registry without a server: what it counts, what it forgets, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from lakehouse.chat.model.usage import Usage
from lakehouse.core.context import Outcome, RequestContext
from lakehouse.core.errors import ErrSessionStopped, LakehouseError
from lakehouse.core.session_identity import SessionIdentity, make_identity
from lakehouse.runtime.sessions import WorkerSessions
from lakehouse.sessions.documents import describe_session, describe_tree
from lakehouse.sessions.registry import SessionRegistry
from lakehouse.sessions.reports import AgentReport, SessionReport, Sums, merge_reports
from lakehouse.sessions.session import KEPT_CALLS, MAX_AGENTS
from lakehouse.sessions.stops import MAX_STOPS, Stop, Stops
from lakehouse.telemetry.worker_ipc import WorkerIPC

_NUMBERS = count(1)


@dataclass
class Request:
    """A request in flight that remembers why it was stopped."""

    context: RequestContext
    stopped: list[LakehouseError] = field(default_factory=list)

    def stop(self, error: LakehouseError, outcome: Outcome) -> None:
        assert outcome == "stopped"
        self.stopped.append(error)


class Scene:
    """A registry with a clock that stands still."""

    def __init__(self, **options: Any) -> None:
        self.now = 1_000.0
        self.active: dict[str, Request] = {}
        self.refused: list[Request] = []
        self.registry = SessionRegistry(
            self.active.values, clock=lambda: self.now, monotonic=lambda: self.now - 900.0, **options
        )

    def begin(self, session: str, agent: str = "", parent: str = "") -> Request:
        started = self.now - 900.0
        request = Request(RequestContext(id=f"r{next(_NUMBERS)}", method="POST", path="/v1/chat", started=started))
        self.active[request.context.id] = request
        try:
            self.registry.join(request, make_identity(session, agent, parent))
        except ErrSessionStopped:
            self.refused.append(request)
            raise
        return request

    def end(self, request: Request, seconds: float = 1.0, usage: Usage | None = None, **facts: Any) -> None:
        context = request.context
        context.record_usage(usage)
        context.finish(facts.get("outcome", "answered"))
        self.now += seconds
        context.close(self.now - 900.0)
        del self.active[context.id]
        self.registry.leave(context)

    def stop(self, session: str, agent: str = "", seconds: float = 60.0) -> list[str]:
        ended = self.registry.stop(Stop(session=session, agent=agent, until=self.now + seconds))
        return [call.id for call in ended]

    def tree(self, session: str) -> dict[str, Any]:
        (report,) = self.registry.report(session)
        tree: dict[str, Any] = describe_tree(report)
        return tree

    def summary(self, session: str) -> dict[str, Any]:
        (report,) = self.registry.report(session)
        summary: dict[str, Any] = describe_session(report, self.now)
        return summary


def names(tree: dict[str, Any]) -> dict[str, Any]:
    """The agents below one, by name."""
    return {agent["agent"]: names(agent) for agent in tree["agents"]}


def test_calls_add_up_for_their_agents_and_for_the_session() -> None:
    scene = Scene()
    first, second, third = scene.begin("r"), scene.begin("r", "a"), scene.begin("r", "b", "a")
    assert scene.summary("r")["state"] == "running"
    usage = Usage(input_tokens=7, output_tokens=3, cost_usd=0.5)
    scene.end(first, 2.0, usage)
    scene.end(third, 1.0, usage, outcome="failed")
    summary, tree = scene.summary("r"), scene.tree("r")
    assert {name: summary[name] for name in ("calls", "in_flight", "failed", "agents")} == {
        "calls": 3,
        "in_flight": 1,
        "failed": 1,
        "agents": 3,
    }
    assert (summary["input_tokens"], summary["cost_usd"], summary["seconds"]) == (14, 1.0, 5.0)
    assert names(tree) == {"a": {"b": {}}}
    (a,) = tree["agents"]
    assert [call["id"] for call in a["calls_in_flight"]] == [second.context.id]
    assert [call["outcome"] for call in a["agents"][0]["calls_ended"]] == ["failed"]
    scene.end(second)
    scene.now += 5
    assert (scene.summary("r")["state"], scene.summary("r")["idle"]) == ("idle", 5.0)


def test_a_request_joins_one_session_and_leaves_it() -> None:
    scene = Scene()
    request = scene.begin("r")
    scene.registry.join(request, SessionIdentity(id="other"))
    assert scene.registry.find("other") is None
    assert (scene.summary("r")["calls"], scene.summary("r")["in_flight"]) == (1, 1)
    scene.end(request)
    assert (scene.summary("r")["calls"], scene.summary("r")["in_flight"]) == (1, 0)
    scene.registry.leave(RequestContext(id="x", method="GET", path="/", started=0.0))
    assert scene.summary("r")["calls"] == 1


def test_a_request_that_is_refused_is_no_call_before_its_end_and_after() -> None:
    scene = Scene()
    scene.stop("r")
    with pytest.raises(ErrSessionStopped):
        scene.begin("r", "a")
    for _ in range(2):
        summary = scene.summary("r")
        assert (summary["calls"], summary["in_flight"], summary["refused"]) == (0, 0, 1)
        assert scene.stop("r") == []
        for request in scene.refused:
            scene.end(request)
        scene.refused.clear()


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([("a", ""), ("b", "a"), ("c", "b")], {"a": {"b": {"c": {}}}}),
        ([("c", "b"), ("b", "a"), ("a", "")], {"a": {"b": {"c": {}}}}),
        ([("b", "a"), ("b", "z")], {"a": {"b": {}}}),
        ([("b", "a"), ("a", "b")], {"a": {"b": {}}}),
        ([("b", "a"), ("c", "b"), ("a", "c")], {"a": {"b": {"c": {}}}}),
    ],
)
def test_the_tree_of_agents_in_whatever_order_they_call(seen: list[tuple[str, str]], expected: dict[str, Any]) -> None:
    """The first parent that is named counts, and none that would close a circle."""
    scene = Scene()
    for agent, parent in seen:
        scene.begin("r", agent, parent)
    assert names(scene.tree("r")) == expected


def test_calls_in_flight_are_known_in_the_order_of_their_beginnings() -> None:
    scene = Scene()
    first = scene.begin("r", "b", "a")
    scene.now += 1.0
    second = scene.begin("r", "b", "z")
    scene.active[first.context.id] = scene.active.pop(first.context.id)
    assert scene.stop("r") == [first.context.id, second.context.id]
    assert names(scene.tree("r")) == {"a": {"b": {}}}


def test_a_stop_ends_what_is_in_flight_and_refuses_the_rest_for_its_time() -> None:
    scene = Scene()
    mine, other = [scene.begin("r"), scene.begin("r", "a")], scene.begin("s")
    assert scene.stop("r") == [request.context.id for request in mine]
    assert [len(request.stopped) for request in (*mine, other)] == [1, 1, 0]
    with pytest.raises(ErrSessionStopped, match="the session r is over") as refused:
        scene.begin("r", "b")
    assert (refused.value.status, refused.value.details) == (400, {"session": "r"})
    for request in mine:
        scene.end(request, outcome="stopped")
    summary = scene.summary("r")
    assert (summary["state"], summary["refused"], summary["in_flight"], summary["failed"]) == ("stopped", 1, 0, 2)
    scene.begin("s")
    scene.now += 60
    scene.begin("r")
    assert scene.summary("r")["state"] == "running"


def test_a_stop_of_an_agent_ends_it_and_those_below_it() -> None:
    scene = Scene()
    calls = [scene.begin("r"), scene.begin("r", "a"), scene.begin("r", "b", "a"), scene.begin("r", "c")]
    assert scene.stop("r", "a") == [request.context.id for request in calls[1:3]]
    for agent, parent in (("a", ""), ("b", ""), ("new", "b"), ("unseen", "a")):
        with pytest.raises(ErrSessionStopped, match="the agent a of the session r"):
            scene.begin("r", agent, parent)
    scene.begin("r")
    scene.begin("r", "c")
    tree = scene.tree("r")
    assert {agent["agent"]: agent["stopped"] for agent in tree["agents"]} == {"a": True, "c": False}
    assert (tree["stopped"], scene.summary("r")["state"]) == (False, "running")


def test_a_session_that_was_never_seen_can_be_stopped() -> None:
    scene = Scene()
    assert scene.stop("r") == []
    with pytest.raises(ErrSessionStopped):
        scene.begin("r")


def test_what_is_kept_has_bounds() -> None:
    scene = Scene(max_sessions=3)
    busy = scene.begin("busy")
    for number in range(10):
        scene.end(scene.begin(f"s{number}"))
    assert [report.id for report in scene.registry.report()] == ["busy", "s8", "s9"]
    for _ in range(KEPT_CALLS + 5):
        scene.end(scene.begin("busy"))
    for number in range(MAX_AGENTS + 5):
        scene.end(scene.begin("busy", f"a{number}"))
    (report,) = scene.registry.report("busy")
    assert (len(report.agents), len(report.calls)) == (MAX_AGENTS, KEPT_CALLS + 1)
    assert (report.sums.calls, report.sums.in_flight) == (1 + KEPT_CALLS + 5 + MAX_AGENTS + 5, 1)
    scene.end(busy)
    assert scene.registry.find("busy") is not None
    stops = Stops(lambda: scene.now)
    for number in range(MAX_STOPS + 1):
        stops.add(Stop(session=f"s{number}", until=scene.now + 1))
    assert (stops.find("s0"), stops.find("s1") is None) == (None, False)


def test_sessions_in_flight_are_not_forgotten_however_many_there_are() -> None:
    scene = Scene(max_sessions=2)
    calls = [scene.begin(f"s{number}") for number in range(5)]
    assert len(scene.registry.report()) == 5
    for call in calls:
        scene.end(call)
    scene.end(scene.begin("last"))
    assert [report.id for report in scene.registry.report()] == ["s4", "last"]


def test_stops_are_written_and_read() -> None:
    scene = Scene()
    scene.stop("r")
    scene.stop("s", "a", 30.0)
    scene.stop("gone", seconds=-1.0)
    other = Scene()
    other.registry.stops.restore(scene.registry.stops.encode())
    other.registry.stops.restore(scene.registry.stops.encode())
    with pytest.raises(ErrSessionStopped):
        other.begin("r")
    with pytest.raises(ErrSessionStopped):
        other.begin("s", "a")
    other.begin("s")
    other.begin("gone")
    other.stop("r", seconds=10.0)  # which is sooner, and does not shorten it
    other.now += 59
    with pytest.raises(ErrSessionStopped):
        other.begin("r")


def test_reports_of_several_processes_are_one() -> None:
    def report(started: float, *agents: AgentReport, until: float | None = None) -> SessionReport:
        return SessionReport(
            id="r", principal=None, started=started, last_active=started + 1, agents=list(agents), stopped_until=until
        )

    def agent(name: str, parent: str = "", calls: int = 1) -> AgentReport:
        return AgentReport(id=name, parent=parent, sums=Sums(calls=calls, cost_usd=0.25))

    other = SessionReport(id="s", principal="bob", started=0.0, last_active=99.0)
    merged = merge_reports(
        [
            report(5.0, agent(""), agent("a", "b"), agent("b")),
            other,
            report(3.0, agent(""), agent("b", "a", calls=4), agent("lost", "unknown"), until=9.0),
        ]
    )
    assert [one.id for one in merged] == ["s", "r"]
    one = merged[1]
    assert (one.started, one.last_active, one.stopped_until, one.sums.calls, one.sums.cost_usd) == (3, 6, 9, 9, 1.5)
    assert names(describe_tree(one)) == {"a": {}, "b": {}, "lost": {}}  # a and b name each other: neither is above


async def test_a_stop_of_an_agent_ends_those_that_another_worker_knows_to_be_below_it(tmp_path: Path) -> None:
    scenes = [Scene(), Scene()]
    async with trio.open_nursery() as nursery:
        workers: list[WorkerSessions] = []
        for number, scene in enumerate(scenes):
            ipc = WorkerIPC(tmp_path, number, {})
            workers.append(WorkerSessions(scene.registry, ipc, stopped_for=60.0))
            await nursery.start(ipc.serve)
        above = [scenes[0].begin("r", "a"), scenes[0].begin("r", "b", "a")]
        below, other = scenes[1].begin("r", "c", "b"), scenes[1].begin("r", "d")
        with trio.fail_after(10):
            _, ended, _ = await workers[1].stop("r", "a")
        nursery.cancel_scope.cancel()
    assert sorted(call.id for call in ended) == sorted(request.context.id for request in (*above, below))
    assert [len(request.stopped) for request in (*above, below, other)] == [1, 1, 1, 0]
    successor = Scene()
    successor.registry.stops.restore(scenes[1].registry.stops.encode())
    for scene in (*scenes, successor):
        for agent, parent in (("c", ""), ("e", "c"), ("b", "")):
            with pytest.raises(ErrSessionStopped, match="the agent a of the session r"):
                scene.begin("r", agent, parent)
        scene.begin("r", "d")


def test_an_agent_that_is_one_too_many_can_be_stopped() -> None:
    scene = Scene()
    for number in range(MAX_AGENTS):
        scene.begin("r", f"a{number}")
    late = scene.begin("r", "late")
    assert scene.stop("r", "late") == [late.context.id]


def test_a_tree_of_several_processes_can_be_encoded_however_deep_it_is() -> None:
    def report(numbers: range) -> SessionReport:
        agents = [AgentReport(id=f"a{n}", parent=f"a{n - 1}" if n else "", sums=Sums(calls=1)) for n in numbers]
        return SessionReport(id="r", principal=None, started=0.0, last_active=0.0, agents=agents)

    (merged,) = merge_reports(report(range(start, start + MAX_AGENTS)) for start in range(0, 2_000, MAX_AGENTS))
    tree = describe_tree(merged)
    assert msgspec.json.encode(tree).count(b'"agent":"a') == len(merged.agents)
