"""One session in one process: its agents, and the last calls that have ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from lakehouse.core.context import Outcome, RequestContext
from lakehouse.core.errors import LakehouseError
from lakehouse.core.session_identity import SessionIdentity
from lakehouse.sessions.reports import AgentReport, CallReport, SessionReport, Sums

if TYPE_CHECKING:
    from lakehouse.sessions.limits import SessionUse

MAX_AGENTS = 256
"""Agents of a session that are told apart. The calls of any further one count as those of the session's first agent."""

KEPT_CALLS = 32
"""Calls of a session that are shown after they have ended. The sums count all."""


class StoppableRequest(Protocol):
    """A request in flight, which can be ended from outside."""

    @property
    def context(self) -> RequestContext: ...

    def stop(self, error: LakehouseError, outcome: Outcome) -> None:
        """Cancel everything that the request has started. Its client is sent `error`, where it can be sent anything."""


def report_call(context: RequestContext, agent: str, started: float, seconds: float) -> CallReport:
    """A call that began at `started`, in seconds since 1970, and has lasted so long."""
    usage = context.usage
    return CallReport(  # by position: keywords take twice the time
        context.id,
        agent,
        context.method,
        context.route or context.path,
        context.step or context.phase,
        context.provider or context.upstream,
        context.model,
        started,
        seconds,
        context.status,
        context.outcome,
        context.error,
        None if usage is None else usage.input_tokens,
        None if usage is None else usage.output_tokens,
        None if usage is None else usage.cost_usd,
    )


Run = tuple[SessionIdentity, Sequence[RequestContext]]
"""Calls of one agent that have ended one after the other."""


class Agent:
    """One agent: the name of the one that started it, and its sums."""

    __slots__ = ("parent", "sums")

    def __init__(self, parent: str) -> None:
        self.parent = parent
        self.sums = Sums()


class Session:
    """The state of one session. Times are in seconds since 1970; `epoch` is the zero of trio's clock in them.

    The agents and their sums are those of the calls that were settled: a call is counted some time after its end, with
    others.
    """

    __slots__ = ("agents", "ended", "id", "last_active", "principal", "started", "use")

    def __init__(self, session_id: str, principal: str | None, now: float) -> None:
        self.id = session_id
        self.principal = principal
        self.started = self.last_active = now
        self.agents = {"": Agent("")}
        self.ended: deque[CallReport] = deque(maxlen=KEPT_CALLS)
        self.use: SessionUse | None = None
        """What is compared with limits, where there are some."""

    def settle(self, runs: Sequence[Run], epoch: float) -> None:
        """Count calls that have ended, in the order of their ends."""
        for identity, contexts in runs:
            self.agents[self.place_agent(identity)].sums.count_ended(contexts)
        last = [context for _, contexts in runs[-KEPT_CALLS:] for context in contexts[-KEPT_CALLS:]][-KEPT_CALLS:]
        for context in last:  # others would be forgotten at once
            seconds = (context.ended or context.started) - context.started
            agent = self.place_agent(context.session)
            self.ended.append(report_call(context, agent, epoch + context.started, seconds))
        self.last_active = max(self.last_active, epoch + (last[-1].ended or 0.0))

    def report_in_flight(self, context: RequestContext, now: float, epoch: float) -> CallReport:
        """A call in flight as it is now."""
        started = epoch + context.started
        return report_call(context, self.place_agent(context.session), started, now - started)

    def refuse(self, agent: str, now: float) -> None:
        """Count a request that is refused."""
        self.agents[agent].sums.refused += 1
        self.last_active = now

    def place_agent(self, identity: SessionIdentity | None) -> str:
        """The agent that a request counts for. It is added below its parent when it is new, and so is its parent."""
        if identity is None:
            return ""
        name, parent = identity.agent, identity.parent_agent
        known = self.agents.get(name)
        if known is not None and (known.parent or not parent):
            return name
        if name and parent and self._add_agent(parent, "") and self._add_agent(name, parent):
            if not self.agents[name].parent and name not in self.list_ancestors(parent):
                self.agents[name].parent = parent
            return name
        return name if name and self._add_agent(name, "") else ""

    def _add_agent(self, name: str, parent: str) -> bool:
        """Whether the session has the agent now."""
        if name not in self.agents:
            if len(self.agents) >= MAX_AGENTS:
                return False
            self.agents[name] = Agent(parent)
        return True

    def list_ancestors(self, agent: str) -> Iterator[str]:
        """The agent and those above it, but the one that the session begins with."""
        while agent:
            yield agent
            agent = self.agents[agent].parent

    def report(self, in_flight: Sequence[CallReport], now: float, *, with_calls: bool) -> SessionReport:
        """What is known of the session with these calls in flight, but its stops."""
        agents = {
            name: AgentReport(id=name, parent=agent.parent, sums=msgspec.structs.replace(agent.sums))
            for name, agent in self.agents.items()
        }
        for call in in_flight:
            sums = agents[call.agent].sums
            sums.calls += 1
            sums.in_flight += 1
        return SessionReport(
            id=self.id,
            principal=self.principal,
            started=self.started,
            last_active=now if in_flight else self.last_active,
            calls_in_minute=0 if self.use is None else self.use.count_calls(now),
            agents=list(agents.values()),
            calls=[*in_flight, *self.ended] if with_calls else [],
        )
