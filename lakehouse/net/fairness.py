"""A bound on the work that one connection does without giving the other tasks a turn.

A socket is tried before it is waited for, and as long as each attempt succeeds its task never reaches a checkpoint.
Each attempt takes one unit from the connection's budget; without units left the connection yields first.
"""

from __future__ import annotations

import trio

OPERATIONS = 16
"""Socket operations in a row without a wait, each of at most one read or one message. With the 128 KiB windows that
upstreams are read in, a busy connection takes 2 MiB from the others at a time, which is a millisecond or two."""


class FairnessBudget:
    """The operations that a connection has left. The owner takes them: `budget.left -= 1`."""

    __slots__ = ("left", "size")

    def __init__(self, size: int = OPERATIONS) -> None:
        self.left = self.size = size

    def refill(self) -> None:
        """Grant the whole budget again, after any wait: the other tasks had their turn."""
        self.left = self.size

    async def yield_and_refill(self) -> None:
        """Give the other tasks their turn. It is a checkpoint."""
        self.left = self.size
        await trio.lowlevel.checkpoint()
