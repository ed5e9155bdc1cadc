"""The sessions that one process knows: which requests belong to each, and the end of them."""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from itertools import groupby, islice
from operator import attrgetter
from typing import Protocol

import trio

from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrSessionStopped
from lakehouse.core.session_identity import SessionIdentity
from lakehouse.sessions.reports import CallReport, SessionReport
from lakehouse.sessions.session import Session, StoppableRequest
from lakehouse.sessions.stops import Stop, Stops

MAX_BATCH = 256
"""Calls that have ended and were not counted yet."""

MAX_SESSIONS = 1_000
"""Sessions that are kept. One without calls in flight is forgotten for a newer one, the least recently active first."""


_get_session: Callable[[RequestContext], SessionIdentity | None] = attrgetter("session")


class Limits(Protocol):
    """What decides whether a session may have another call."""

    def admit_call(self, session: Session, identity: SessionIdentity, now: float) -> None:
        """Count a call that begins; `now` is in seconds since 1970. Raises ErrSessionStopped."""

    def end_call(self, session: Session, context: RequestContext) -> None:
        """Count a call that has ended."""


class SessionRegistry:
    """The sessions of this process, the least recently active first.

    `clock` gives the seconds since 1970, `monotonic` those by which contexts note their times. Joining and leaving are
    on the way of each request, so they note the request and nothing more: calls that have ended are counted together,
    `MAX_BATCH` at a time or before anything is read.
    """

    def __init__(
        self,
        *,
        max_sessions: int = MAX_SESSIONS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = trio.current_time,
        limits: Limits | None = None,
    ) -> None:
        self.clock = clock
        self.stops = Stops(clock)
        self._monotonic = monotonic
        self._limits = limits
        self._max_sessions = max_sessions
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._ended: list[RequestContext] = []

    def configure(self, *, max_sessions: int, limits: Limits | None) -> None:
        """Replace the limits, for calls that begin or end from now on."""
        self._max_sessions = max_sessions
        self._limits = limits

    def find(self, session_id: str) -> Session | None:
        """A session by its name."""
        self._settle()
        return self._sessions.get(session_id)

    def join(self, request: StoppableRequest, identity: SessionIdentity) -> None:
        """Make a request a call of a session, unless it belongs to one. Raises ErrSessionStopped."""
        context = request.context
        if context.session is not None:
            return
        context.join_session(identity)
        session = self._sessions.get(identity.id)
        if session is None:
            session = self._open(identity, context.principal)
        if self._limits is not None or identity.id in self.stops.sessions:
            self._check(session, identity)
        session.in_flight[context] = request

    def _check(self, session: Session, identity: SessionIdentity) -> None:
        """Raises ErrSessionStopped for a request that is refused, and counts it."""
        now = self.clock()
        try:
            if (stop := self._find_stop(session, identity)) is not None:
                raise stop.make_error()
            if self._limits is not None:
                self._limits.admit_call(session, identity, now)
        except ErrSessionStopped:
            session.refuse(session.place_agent(identity), now)
            raise

    def leave(self, context: RequestContext) -> None:
        """Note a request that has ended; without effect for one that is no call of a session."""
        identity = context.session
        if identity is None or (session := self._sessions.get(identity.id)) is None:
            return
        if session.in_flight.pop(context, None) is None:
            return
        if self._limits is not None:
            self._limits.end_call(session, context)
        ended = self._ended
        ended.append(context)
        if len(ended) >= MAX_BATCH or context.content is not None:  # which may be large
            self._settle()

    def stop(self, stop: Stop) -> Sequence[CallReport]:
        """End every call that an order is about, and refuse further ones. Returns the calls as they were before."""
        self.stops.add(stop)
        session = self.find(stop.session)
        if session is None or not stop.ends_calls:
            return ()
        covered = [
            (request, call)
            for request, call in session.report_in_flight(self.clock(), self._epoch())
            if not stop.agent or self._covers(stop, session, request)
        ]
        for request, _ in covered:
            request.stop(stop.make_error(), "stopped")
        return [call for _, call in covered]

    def report(self, session_id: str | None = None) -> Sequence[SessionReport]:
        """What is known of all sessions, or of one with its calls."""
        self._settle()
        if session_id is None:
            return [self._report(session, with_calls=False) for session in self._sessions.values()]
        session = self._sessions.get(session_id)
        return () if session is None else [self._report(session, with_calls=True)]

    def _settle(self) -> None:
        """Count the calls that have ended."""
        ended, self._ended = self._ended, []
        by_session: defaultdict[str, list[RequestContext]] = defaultdict(list)
        for identity, run in groupby(ended, key=_get_session):
            if identity is not None:
                by_session[identity.id].extend(run)
        for name, contexts in by_session.items():
            if (session := self._sessions.get(name)) is not None:
                session.settle(contexts, self._epoch())
                self._sessions.move_to_end(name)

    def _epoch(self) -> float:
        """The zero of the monotonic clock, in seconds since 1970."""
        return self.clock() - self._monotonic()

    def _open(self, identity: SessionIdentity, principal: str | None) -> Session:
        """Begin a session."""
        if len(self._sessions) >= self._max_sessions:
            self._settle()
            self._forget_oldest()
        session = self._sessions[identity.id] = Session(identity.id, principal, self.clock())
        return session

    def _forget_oldest(self) -> None:
        """Make room for one more: forget sessions without calls in flight, the least recently active first."""
        excess = len(self._sessions) - self._max_sessions + 1
        idle = (name for name, session in self._sessions.items() if not session.in_flight)
        for name in list(islice(idle, excess)):
            del self._sessions[name]

    def _find_stop(self, session: Session, identity: SessionIdentity) -> Stop | None:
        """The order that refuses a call. The agents above the caller are those of all calls before."""
        if session.id not in self.stops.sessions:
            return None
        self._settle()
        for request in session.in_flight.values():
            session.place_agent(request.context.session)
        return self.stops.find(session.id, _list_names(session, identity))

    def _covers(self, stop: Stop, session: Session, request: StoppableRequest) -> bool:
        """Whether a call in flight is one of the agents that an order is about."""
        return not {stop.agent, *stop.below}.isdisjoint(_list_names(session, request.context.session))

    def _report(self, session: Session, *, with_calls: bool) -> SessionReport:
        report = session.report(self.clock(), self._epoch(), with_calls=with_calls)
        if (stop := self.stops.find(session.id)) is not None:
            report.stopped_until, report.reason = stop.until, stop.reason
        for agent in report.agents:
            agent.stopped = self.stops.find(session.id, session.list_ancestors(agent.id)) is not None
        return report


def _list_names(session: Session, identity: SessionIdentity | None) -> Sequence[str]:
    """The agent of a call, its parent, and all that are above them as far as the session knows.

    The session may have too many agents to know these two.
    """
    named = () if identity is None else (identity.agent, identity.parent_agent)
    return *session.list_ancestors(session.place_agent(identity)), *named
