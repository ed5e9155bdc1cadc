"""Idle connections, and the checks before one is used again."""

from __future__ import annotations

import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from psycopg2 import extensions

MAX_IDLE_SECONDS = 300.0
"""Seconds after which an unused connection is closed: firewalls forget connections without a word."""


class _Idle(NamedTuple):
    connection: extensions.connection
    password: str
    since: float


class IdleConnections:
    """The connections that no task uses, the last used one first."""

    def __init__(self) -> None:
        self._idle: list[_Idle] = []

    def take(self, password: str) -> extensions.connection | None:
        """A connection that was opened with this password and that the server has not closed; None if there is none."""
        while self._idle:
            found = self._idle.pop()
            fresh = time.monotonic() - found.since < MAX_IDLE_SECONDS
            if fresh and found.password == password and not _is_ended(found.connection):
                return found.connection
            close(found.connection)
        return None

    def put(self, connection: extensions.connection, password: str) -> None:
        """Keep a connection whose transaction has ended; a closed one is dropped."""
        if not connection.closed:
            self._idle.append(_Idle(connection, password, time.monotonic()))

    def close(self) -> None:
        """Close all of them."""
        while self._idle:
            close(self._idle.pop().connection)


def close(connection: extensions.connection) -> None:
    """Close a connection, whatever state it is in."""
    with suppress(Exception):
        connection.close()


def _is_ended(connection: extensions.connection) -> bool:
    """Whether the server has sent something to an idle connection: that it ends, or nothing more."""
    if connection.closed:
        return True
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN | select.POLLRDHUP)
    return bool(poller.poll(0))
