"""The minimum rate of a transfer: a limit for each pause of the peer, and a rate over several pauses.

A peer that moves one byte just before every limit would otherwise hold both ends of a request for ever. The rate counts
only the time in which this side waits for the peer: for it to take bytes, or to send a body.
"""

from __future__ import annotations

import fcntl
import sys
import termios
from collections.abc import Callable
from math import inf

import trio

MIN_BYTES = 4 * 1024
"""Bytes that must move in each limit. Over 60 s that is 68 bytes a second, over 2 s it is 2 KiB a second: slower than
any network, so the peer has stopped."""

ALLOWED_LAG_LIMITS = 4
"""How far a transfer may lag behind the minimum rate, in limits: as many pauses just under the limit are allowed, and
more after the transfer has caught up."""

CHECKS_PER_LIMIT = 4
"""Checks of the bytes that the kernel holds, in each limit."""

SHORT_WAIT_DIVISOR = 64
"""A wait for room in a socket is short if it is shorter than the limit divided by this number. A socket has room again
when a third of its buffer is free, so a client that causes only short waits is no slow reader."""


class MinimumRate:
    """Accounts for the time that this side waits for the peer. `limit` is in seconds, inf for none.

    The account begins with `ALLOWED_LAG_LIMITS` limits of waiting. Each second spent waiting is taken off it, each
    `MIN_BYTES` bytes put one limit back. It is `exhausted` when nothing is left on it, or when nothing has moved for
    one limit.
    """

    __slots__ = ("_account", "_held", "_silent", "_since", "limit")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._account = limit * ALLOWED_LAG_LIMITS
        self._silent = 0.0
        self._since = 0.0
        self._held: int | None = None  # by the kernel, at the last check

    @property
    def left(self) -> float:
        """Seconds that may pass from now on without anything moving."""
        return max(0.0, min(self.limit - self._silent, self._account))

    @property
    def step(self) -> float:
        """Seconds to wait for the socket before the next `check_progress`."""
        return min(self.limit / (SHORT_WAIT_DIVISOR if self._held is None else CHECKS_PER_LIMIT), self.left)

    @property
    def exhausted(self) -> bool:
        """True if the peer was too slow: the transfer is to be aborted."""
        return self.left <= self.limit * 1e-6 if self.limit != inf else False

    @property
    def shortfall(self) -> str:
        """What the peer did not move in time, for an error message: to be followed by "of ..."."""
        return "nothing more" if self.limit - self._silent <= self._account else f"less than {MIN_BYTES // 1024} KiB"

    def start_waiting(self) -> None:
        """Start to count a wait."""
        self._since = trio.current_time()
        self._held = None

    def record_progress(self, size: int) -> None:
        """Record `size` bytes that moved since `start_waiting`, or since the last record or check."""
        now = trio.current_time()
        self._charge(now - self._since, size)
        self._since = now

    def check_progress(self, held: Callable[[], int], sent: int = 0) -> bool:
        """Record that `sent` more bytes were written to the socket; true if the peer has taken some.

        `held` returns how many bytes the kernel holds. It is not called after a short wait that ended with room for
        more; such a wait does not count.
        """
        now = trio.current_time()
        waited, self._since = now - self._since, now
        if sent and waited < self.limit / SHORT_WAIT_DIVISOR:
            self._held, self._silent = None, 0.0
            return True
        before, self._held = self._held, held()
        taken = sent if before is None else max(0, before + sent - self._held)
        self._charge(waited, taken)
        return taken > 0

    def _charge(self, waited: float, size: int) -> None:
        limit = self.limit
        if limit != inf:
            self._silent = 0.0 if size else self._silent + waited
            self._account = min(limit * ALLOWED_LAG_LIMITS, self._account - waited + limit * size / MIN_BYTES)


def unacknowledged_bytes(fd: int) -> int:
    """Bytes that were written to a socket and that its peer has not acknowledged yet; 0 where that is not known.

    A socket becomes writable only when a third of its buffer is free, which can be megabytes; this shows smaller
    progress.
    """
    try:
        return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except (OSError, ValueError):  # another kind of socket, or a closed one
        return 0
