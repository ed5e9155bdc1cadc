"""How slowly the other side of a transfer may go: a limit of time for each pause, and a least rate over several.

A peer that moves one byte just before every limit would otherwise hold both ends of a request for ever. The rate is
about bytes that wait to be taken, or a body that is owed: time in which nobody waits for the peer does not count.
"""

from __future__ import annotations

import fcntl
import sys
import termios
from collections.abc import Callable
from math import inf

import trio

MIN_BYTES = 4 * 1024
"""Bytes that are to move in each limit. Over 60 s that is 68 bytes a second, over 2 s it is 2 KiB a second: less
than that is no slow network but a peer that does not take part."""

LIMITS = 4
"""Limits that a transfer may lag behind that rate, all in all. Pauses just under the limit are forgiven so often, and a
transfer that makes up for them may pause again."""

LOOKS_PER_LIMIT = 4
"""How often in each limit the kernel is asked how much it still holds."""

SHORT = 64
"""A wait for room in a socket is short if it is shorter than this part of the limit. A socket has room again when a
third of its buffer is free, so that whoever makes it wait for so long at most is no slow reader."""


class Pace:
    """The account of one side's waiting. `limit` is in seconds, inf for none.

    The account begins with `LIMITS` limits of waiting. Each second spent waiting is taken off it, each `MIN_BYTES`
    bytes put one limit back. It is `exhausted` when nothing is left on it, or when nothing has moved for one limit.
    """

    __slots__ = ("_account", "_held", "_silent", "_since", "limit")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._account = limit * LIMITS
        self._silent = 0.0
        self._since = 0.0
        self._held: int | None = None  # by the kernel, when it was last asked

    @property
    def left(self) -> float:
        """Seconds that may pass from now on without anything moving."""
        return max(0.0, min(self.limit - self._silent, self._account))

    @property
    def step(self) -> float:
        """Seconds to wait for the kernel before `look`."""
        return min(self.limit / (SHORT if self._held is None else LOOKS_PER_LIMIT), self.left)

    @property
    def exhausted(self) -> bool:
        """Whether the other side has been waited for long enough."""
        return self.left <= self.limit * 1e-6 if self.limit != inf else False

    @property
    def shortfall(self) -> str:
        """What did not move, to be followed by what it is a part of."""
        return "nothing more" if self.limit - self._silent <= self._account else f"less than {MIN_BYTES // 1024} KiB"

    def begin(self) -> None:
        """Somebody waits from now on."""
        self._since = trio.current_time()
        self._held = None

    def moved(self, size: int) -> None:
        """So many bytes have gone or come since `begin`, or since the last time that something was told."""
        now = trio.current_time()
        self._note(now - self._since, size)
        self._since = now

    def look(self, held: Callable[[], int], sent: int = 0) -> bool:
        """The kernel was given `sent` bytes more; whether the other side has taken some. `held` asks the kernel how
        many it holds, which is not done after a short wait that ended with room for more: such a wait does not count.
        """
        now = trio.current_time()
        waited, self._since = now - self._since, now
        if sent and waited < self.limit / SHORT:
            self._held, self._silent = None, 0.0
            return True
        before, self._held = self._held, held()
        taken = sent if before is None else max(0, before + sent - self._held)
        self._note(waited, taken)
        return taken > 0

    def _note(self, waited: float, size: int) -> None:
        limit = self.limit
        if limit != inf:
            self._silent = 0.0 if size else self._silent + waited
            self._account = min(limit * LIMITS, self._account - waited + limit * size / MIN_BYTES)


def unacknowledged(fd: int) -> int:
    """Bytes that were written to a socket and that its other side has not taken yet; 0 where that is not known.

    A socket becomes writable only when a third of its buffer is free, which can be megabytes; this tells of less.
    """
    try:
        return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except (OSError, ValueError):  # no socket of this kind, or a closed one
        return 0
