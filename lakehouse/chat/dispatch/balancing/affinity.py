"""Where sessions are answered: a conversation stays at the replica whose cache has it.

A session that is not known begins at the replica that its name leads to, the same one in every worker (rendezvous
hashing): without a place that knows all sessions, workers agree. Where it has been answered is kept until it has been
silent for `SILENT_FOR`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from lakehouse.chat.dispatch.balancing.replica_state import ReplicaState

SILENT_FOR = 600.0
"""Seconds after which the place of a session is forgotten."""

MAX_SESSIONS = 10_000
"""Sessions whose place is kept; the least recently used is forgotten."""


class _Home(NamedTuple):
    replica: ReplicaState
    used: float


class SessionAffinity:
    """The places of the sessions of all providers."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._homes: OrderedDict[tuple[str, str], _Home] = OrderedDict()

    def find(self, provider: str, session: str) -> ReplicaState | None:
        """Where a session was answered last, if it has not been silent for too long since."""
        home = self._homes.get((provider, session))
        if home is None or self._clock() >= home.used + SILENT_FOR:
            return None
        return home.replica

    def remember(self, session: str, replica: ReplicaState) -> None:
        """The session has been answered at this replica."""
        key = (replica.provider.name, session)
        self._homes[key] = _Home(replica, self._clock())
        self._homes.move_to_end(key)
        if len(self._homes) > MAX_SESSIONS:
            self._homes.popitem(last=False)


def choose_by_name(session: str, replicas: Sequence[ReplicaState]) -> ReplicaState:
    """The replica of at least one that the name of a session leads to, in proportion to their weights. Without one of
    them, only its own sessions are led to another."""
    return max(replicas, key=lambda replica: _score(session, replica))


def _score(session: str, replica: ReplicaState) -> float:
    name = f"{session}\0{replica.provider.base_url}\0{replica.provider.replica}"
    share = (int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) + 1) / (2**64 + 1)
    return replica.weight / -math.log(share)
