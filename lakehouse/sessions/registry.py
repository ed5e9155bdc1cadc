"""The sessions that one process knows: which requests belong to each, and the end of them."""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import attrgetter
from typing import Protocol

import trio

from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrSessionStopped
from lakehouse.core.session_identity import SessionIdentity
from lakehouse.sessions.reports import CallReport, SessionReport
from lakehouse.sessions.session import Run, Session, StoppableRequest
from lakehouse.sessions.stops import Stop, Stops

MAX_BATCH = 512
"""Calls that have ended and were not counted yet."""

MAX_SESSIONS = 1_000
"""Sessions that are kept. One without calls in flight is forgotten for a newer one, the least recently active first."""


_get_session: Callable[[RequestContext], SessionIdentity | None] = attrgetter("session")
_get_start: Callable[[StoppableRequest], float] = attrgetter("context.started")


class Limits(Protocol):
    """What decides whether a session may have another call."""

    def admit_call(self, session: Session, identity: SessionIdentity, now: float) -> None:
        """Count a call that begins; `now` is in seconds since 1970. Raises ErrSessionStopped."""

    def end_call(self, session: Session, context: RequestContext) -> None:
        """Count a call that has ended."""


class SessionRegistry:
    """The sessions of this process, the least recently active first.

    `requests` lists the requests in flight, of any session or of none. `clock` gives the seconds since 1970, and
    `monotonic` those by which contexts note their times. Joining and leaving are on the way of each request, so they
    note its session and its end and nothing more: calls in flight are looked for among all requests when somebody
    asks, and calls that have ended are counted together, `MAX_BATCH` at a time or before anything is read.
    """

    def __init__(
        self,
        requests: Callable[[], Iterable[StoppableRequest]],
        *,
        max_sessions: int = MAX_SESSIONS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = trio.current_time,
        limits: Limits | None = None,
    ) -> None:
        self.clock = clock
        self.stops = Stops(clock)
        self._requests = requests
        self._monotonic = monotonic
        self._limits = limits
        self._max_sessions = max_sessions
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._refused: set[RequestContext] = set()
        """Requests that are no calls of the session that they name, until their ends are counted."""
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
        if identity.id not in self._sessions:
            self._open(identity, context.principal)
        if self._limits is not None or identity.id in self.stops.sessions:
            self._check(context, identity)

    def _check(self, context: RequestContext, identity: SessionIdentity) -> None:
        """Raises ErrSessionStopped for a request that is refused, and counts it."""
        session, now = self._sessions[identity.id], self.clock()
        try:
            if (stop := self._find_stop(session, identity)) is not None:
                raise stop.make_error()
            if self._limits is not None:
                self._limits.admit_call(session, identity, now)
        except ErrSessionStopped:
            self._refused.add(context)
            session.refuse(session.place_agent(identity), now)
            raise

    def leave(self, context: RequestContext) -> None:
        """Note that a request of a session has ended. Call it once."""
        ended = self._ended
        ended.append(context)
        if self._limits is not None:
            self._end_limited(self._limits, context)
        if len(ended) >= MAX_BATCH or context.content is not None:  # which may be large
            self._settle()

    def _end_limited(self, limits: Limits, context: RequestContext) -> None:
        session = None if context.session is None else self._sessions.get(context.session.id)
        if session is not None and context not in self._refused:
            limits.end_call(session, context)

    def stop(self, stop: Stop) -> Sequence[CallReport]:
        """End every call that an order is about, and refuse further ones. Returns the calls as they were before."""
        self.stops.add(stop)
        session = self.find(stop.session)
        if session is None or not stop.ends_calls:
            return ()
        now, epoch = self.clock(), self._epoch()
        covered = [
            (request, session.report_in_flight(request.context, now, epoch))
            for request in self._list_calls(session)
            if not stop.agent or self._covers(stop, session, request)
        ]
        for request, _ in covered:
            request.stop(stop.make_error(), "stopped")
        return [call for _, call in covered]

    def report(self, session_id: str | None = None) -> Sequence[SessionReport]:
        """What is known of all sessions, or of one with its calls."""
        self._settle()
        if session_id is not None:
            session = self._sessions.get(session_id)
            return () if session is None else [self._report(session, self._list_calls(session), with_calls=True)]
        calls: defaultdict[str, list[StoppableRequest]] = defaultdict(list)
        for name, request in self._iterate_calls():
            calls[name].append(request)
        return [
            self._report(session, sorted(calls[name], key=_get_start), with_calls=False)
            for name, session in self._sessions.items()
        ]

    def _iterate_calls(self) -> Iterator[tuple[str, StoppableRequest]]:
        """The calls in flight, each with the name of its session."""
        for request in self._requests():
            context = request.context
            if context.session is not None and context not in self._refused:
                yield context.session.id, request

    def _list_calls(self, session: Session) -> list[StoppableRequest]:
        """The calls of a session in flight, the oldest first: the first one of an agent tells who started it."""
        return sorted((request for name, request in self._iterate_calls() if name == session.id), key=_get_start)

    def _settle(self) -> None:
        """Count the calls that have ended."""
        ended, self._ended = self._ended, []
        if self._refused:
            refused = self._refused.intersection(ended)
            self._refused -= refused
            ended = [context for context in ended if context not in refused]
        by_session: defaultdict[str, list[Run]] = defaultdict(list)
        for identity, contexts in groupby(ended, key=_get_session):
            if identity is not None:
                by_session[identity.id].append((identity, list(contexts)))
        for name, runs in by_session.items():
            if (session := self._sessions.get(name)) is not None:
                session.settle(runs, self._epoch())
                self._sessions.move_to_end(name)

    def _epoch(self) -> float:
        """The zero of the monotonic clock, in seconds since 1970."""
        return self.clock() - self._monotonic()

    def _open(self, identity: SessionIdentity, principal: str | None) -> None:
        """Begin a session."""
        if len(self._sessions) >= self._max_sessions:
            self._settle()
            self._forget_oldest()
        self._sessions[identity.id] = Session(identity.id, principal, self.clock())

    def _forget_oldest(self) -> None:
        """Make room for one more: forget sessions without calls in flight, the least recently active first."""
        excess = len(self._sessions) - self._max_sessions + 1
        busy = {name for name, _ in self._iterate_calls()}
        for name in list(islice((name for name in self._sessions if name not in busy), excess)):
            del self._sessions[name]

    def _find_stop(self, session: Session, identity: SessionIdentity) -> Stop | None:
        """The order that refuses a call. The agents above the caller are those of all calls before."""
        if (stop := self.stops.find(session.id)) is not None or session.id not in self.stops.sessions:
            return stop
        self._settle()
        for request in self._list_calls(session):
            session.place_agent(request.context.session)
        return self.stops.find(session.id, _list_names(session, identity))

    def _covers(self, stop: Stop, session: Session, request: StoppableRequest) -> bool:
        """Whether a call in flight is one of the agents that an order is about."""
        return not {stop.agent, *stop.below}.isdisjoint(_list_names(session, request.context.session))

    def _report(self, session: Session, calls: Iterable[StoppableRequest], *, with_calls: bool) -> SessionReport:
        now, epoch = self.clock(), self._epoch()
        in_flight = [session.report_in_flight(request.context, now, epoch) for request in calls]
        report = session.report(in_flight, now, with_calls=with_calls)
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
