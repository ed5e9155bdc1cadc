"""Sessions as `/v1/sessions` shows them: a summary of each, and one as the tree of its agents and calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from lakehouse.core.rfc3339 import format_time
from lakehouse.sessions.reports import AgentReport, CallReport, SessionReport, Sums
from lakehouse.sessions.stops import Stop

Document = dict[str, object]

MAX_DEPTH = 64
"""Agents above each other in a tree. One that is deeper is shown below the first agent: programs read trees by
recursion."""


def describe_session(report: SessionReport, now: float) -> Document:
    """The summary of one session; `now` is in seconds since 1970."""
    sums = report.sums
    state = "stopped" if report.stopped_until is not None else "running" if sums.in_flight else "idle"
    return {
        "id": report.id,
        "state": state,
        "principal": report.principal,
        "started": _format_seconds(report.started),
        "last_active": _format_seconds(report.last_active),
        "age": round(max(0.0, now - report.started), 3),
        "idle": 0.0 if sums.in_flight else round(max(0.0, now - report.last_active), 3),
        "stopped_until": None if report.stopped_until is None else _format_seconds(report.stopped_until),
        "reason": report.reason,
        "agents": len(report.agents),
        **_describe_sums(sums),
    }


def describe_tree(report: SessionReport) -> Document:
    """The agent that a session begins with, with its calls and the agents that it has started, and so on."""
    calls: dict[str, list[CallReport]] = defaultdict(list)
    for call in report.calls:
        calls[call.agent].append(call)
    agents = {agent.id: agent for agent in report.agents}
    agents.setdefault("", AgentReport(id="", parent="", sums=Sums()))
    children: dict[str, list[AgentReport]] = defaultdict(list)
    for agent in agents.values():
        if agent.id:
            children[agent.parent if _reaches_root(agent, agents) else ""].append(agent)
    return _describe_agent(agents[""], children, calls)


def describe_receipt(stop: Stop, ended: Sequence[CallReport], *, known: bool) -> Document:
    """What a stop has ended. `known`: a call of the session has been seen."""
    return {
        "id": stop.session,
        "agent": stop.agent or None,
        "state": "stopped",
        "known": known,
        "stopped_until": _format_seconds(stop.until),
        "calls": len(ended),
        "agents": len({call.agent for call in ended}),
        "ended": [describe_call(call) for call in ended],
    }


def describe_call(call: CallReport) -> Document:
    """One call, in flight if it has no outcome."""
    return {
        "id": call.id,
        "agent": call.agent or None,
        "worker": call.worker,
        "method": call.method,
        "route": call.route,
        "provider": call.provider,
        "model": call.model,
        "started": _format_seconds(call.started),
        "seconds": round(call.seconds, 3),
        "phase": call.phase if call.outcome is None else None,
        "status": call.status,
        "outcome": call.outcome,
        "error": call.error,
        "input_tokens": call.input_tokens,
        "output_tokens": call.output_tokens,
        "cost_usd": call.cost_usd,
    }


def _describe_agent(
    agent: AgentReport, children: Mapping[str, Sequence[AgentReport]], calls: Mapping[str, Sequence[CallReport]]
) -> Document:
    own = sorted(calls.get(agent.id, ()), key=lambda call: call.started)
    return {
        "agent": agent.id or None,
        "stopped": agent.stopped,
        **_describe_sums(agent.sums),
        "calls_in_flight": [describe_call(call) for call in own if call.outcome is None],
        "calls_ended": [describe_call(call) for call in own if call.outcome is not None],
        "agents": [_describe_agent(child, children, calls) for child in children.get(agent.id, ())],
    }


def _reaches_root(agent: AgentReport, agents: Mapping[str, AgentReport]) -> bool:
    """Whether the parents of an agent lead to the first one: those that two processes saw could lead in a circle."""
    for _ in range(MAX_DEPTH):
        if not agent.id:
            return True
        if agent.parent not in agents:
            return False
        agent = agents[agent.parent]
    return False


def _describe_sums(sums: Sums) -> Document:
    return {
        "calls": sums.calls,
        "in_flight": sums.in_flight,
        "failed": sums.failed,
        "refused": sums.refused,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "cost_usd": round(sums.cost_usd, 9),
        "seconds": round(sums.seconds, 3),
    }


def _format_seconds(seconds: float) -> str:
    return format_time(datetime.fromtimestamp(seconds, UTC))
