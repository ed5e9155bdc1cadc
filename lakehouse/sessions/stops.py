"""The sessions and agents that are refused, for a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from lakehouse.core.errors import ErrSessionStopped

MAX_STOPS = 10_000
"""Stops that are remembered. The oldest is forgotten for a newer one."""

BY_REQUEST = "it was stopped by DELETE /v1/sessions"


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """One order: `session` is refused until `until` (seconds since 1970), or its agent `agent` and those below it.

    `below` are agents that are known to be below it: a process may not have seen through whom.
    `reason` is the end of a sentence about the session, and `details` is for programs; both are shown to clients.
    `ends_calls`: the calls in flight are ended as well.
    """

    session: str
    until: float
    agent: str = ""
    below: tuple[str, ...] = ()
    reason: str = BY_REQUEST
    details: dict[str, object] = {}
    ends_calls: bool = True

    def make_error(self) -> ErrSessionStopped:
        """The error of a request of the session, a new one for each request."""
        who = f"the agent {self.agent} of the session {self.session}" if self.agent else f"the session {self.session}"
        details: dict[str, object] = {"session": self.session}
        if self.agent:
            details["agent"] = self.agent
        return ErrSessionStopped(f"{who} is over: {self.reason}", details=details | self.details)


class Stops:
    """The orders in force, the oldest first. `clock` gives the seconds since 1970."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._stops: dict[tuple[str, str], Stop] = {}
        self.sessions: Counter[str] = Counter()
        """The number of orders about each session and its agents, for those that have any."""

    def add(self, stop: Stop) -> None:
        """Put an order in force; one for the same name is replaced, unless it lasts longer."""
        for agent in (*stop.below, stop.agent):
            self._put((stop.session, agent), stop)
        if len(self._stops) > MAX_STOPS:
            self._forget_expired()
        while len(self._stops) > MAX_STOPS:
            self._remove(next(iter(self._stops)))

    def _put(self, key: tuple[str, str], stop: Stop) -> None:
        known = self._stops.get(key)
        if known is not None:
            if known.until >= stop.until:
                return
            self._remove(key)
        self._stops[key] = stop
        self.sessions[stop.session] += 1

    def find(self, session: str, agents: Iterable[str] = ()) -> Stop | None:
        """The order that refuses a session, or one of its agents: an agent and those above it."""
        if session not in self.sessions:
            return None
        now = self._clock()
        keys = ((session, name) for name in ("", *agents))
        return next((stop for key in keys if (stop := self._stops.get(key)) is not None and stop.until > now), None)

    def encode(self) -> bytes:
        """The orders in force as JSON, for `restore`."""
        self._forget_expired()
        orders = {id(stop): stop for stop in self._stops.values()}  # each once, though it is there for several agents
        return msgspec.json.encode(list(orders.values()))

    def restore(self, data: bytes) -> None:
        """Put the orders of `encode` in force. Raises msgspec.DecodeError."""
        for stop in msgspec.json.decode(data, type=list[Stop]):
            self.add(stop)

    def _forget_expired(self) -> None:
        now = self._clock()
        for key in [key for key, stop in self._stops.items() if stop.until <= now]:
            self._remove(key)

    def _remove(self, key: tuple[str, str]) -> None:
        del self._stops[key]
        session, _ = key
        self.sessions[session] -= 1
        if not self.sessions[session]:
            del self.sessions[session]
