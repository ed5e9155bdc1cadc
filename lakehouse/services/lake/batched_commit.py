"""Changes of a database beyond this machine that arrive while a transaction runs are made together, in the next one.

As in `group_commit`, but for a database that may be slow or gone: a task of its own makes the transactions, so that a
request that is cancelled ends at once, whatever the database does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio

from lakehouse.core.errors import ErrUnavailable
from lakehouse.services.lake.group_commit import HasError, PendingChange

MAX_WAITING = 2_000
"""Changes that wait for a transaction; further ones are refused."""
MAX_BATCH = 200
"""Changes in one transaction."""
RETRY_SECONDS = 1.0

Change = TypeVar("Change")
Outcome = TypeVar("Outcome", bound=HasError)


class BatchedCommit(Generic[Change, Outcome]):
    """Calls `apply`, one call at a time, with the changes that are waiting. `run` is its task."""

    def __init__(self, apply: Callable[[Sequence[Change]], Awaitable[Sequence[Outcome]]]) -> None:
        self._apply = apply
        self._waiting: deque[tuple[PendingChange[Change, Outcome], trio.Event]] = deque()
        self._arrived = trio.Event()

    async def make(self, change: Change) -> Outcome:
        """Make a change: durable at return. Raises what `apply` raises, the error of the outcome, and ErrUnavailable.

        Cancelled before a transaction has taken the change, it has no effect. Cancelled later, the change may be made.
        """
        if len(self._waiting) >= MAX_WAITING:
            message = f"{MAX_WAITING} changes wait for the database already"
            raise ErrUnavailable(message, retry_after=RETRY_SECONDS, retryable=True)
        pending: PendingChange[Change, Outcome] = PendingChange(change)
        ended = trio.Event()
        self._waiting.append((pending, ended))
        self._arrived.set()
        try:
            await ended.wait()
        finally:
            if not pending.taken:
                self._waiting.remove((pending, ended))
        return pending.read_outcome()

    async def run(self) -> None:
        """Make the changes that arrive, until cancelled: the last transaction is then complete or without effect."""
        while True:
            await self._arrived.wait()
            batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
            if not self._waiting:
                self._arrived = trio.Event()
            for pending, _ in batch:
                pending.taken = True
            await self._make([pending for pending, _ in batch])
            for _, ended in batch:
                ended.set()

    async def _make(self, batch: Sequence[PendingChange[Change, Outcome]]) -> None:
        try:
            outcomes = await self._apply([pending.change for pending in batch])
        except Exception as error:  # noqa: BLE001 - raised to the caller of each change
            for pending in batch:
                pending.error = error
        else:
            for pending, outcome in zip(batch, outcomes, strict=True):
                pending.outcome = outcome
