"""Changes of a database that arrive while the disk is synced are made together, in one transaction with one sync."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

import trio

from lakehouse.core.errors import LakehouseError
from lakehouse.process.scheduling import wake_thread_at_once

START_TIMEOUT = 60.0
"""Seconds for the start of the thread that makes the changes. Nothing else uses its limiter, so it starts at once."""


class HasError(Protocol):
    """What became of a change."""

    @property
    def error(self) -> LakehouseError | None:
        """Why the change was not made; the other changes of its transaction were."""


Change = TypeVar("Change")
Outcome = TypeVar("Outcome", bound=HasError)


class PendingChange(Generic[Change, Outcome]):
    """A change on its way into the database. `taken`: a transaction has it, so that cancellation no longer stops it."""

    __slots__ = ("change", "error", "outcome", "taken")

    def __init__(self, change: Change) -> None:
        self.change = change
        self.taken = False
        self.outcome: Outcome | None = None
        self.error: Exception | None = None

    def read_outcome(self) -> Outcome:
        """What became of the change after its transaction. Raises why it was not made."""
        error = self.error or (None if self.outcome is None else self.outcome.error)
        if error is not None:
            raise error
        assert self.outcome is not None  # noqa: S101 - without an error there is one
        return self.outcome


class GroupCommit(Generic[Change, Outcome]):
    """Calls `apply` in a thread, one call at a time, with all changes that are waiting. It has no task of its own.

    `on_applied` is called with the changes of a call before any of them returns to its caller. `clean_up`, if given, is
    awaited by one of the callers, while the next call of `apply` may already run.
    """

    def __init__(
        self,
        apply: Callable[[Sequence[Change]], Sequence[Outcome]],
        on_applied: Callable[[Sequence[PendingChange[Change, Outcome]]], None],
        clean_up: Callable[[Sequence[PendingChange[Change, Outcome]]], Awaitable[None]] | None = None,
    ) -> None:
        self._apply = apply
        self._on_applied = on_applied
        self._clean_up = clean_up
        self._limiter = trio.CapacityLimiter(1)
        self._lock = trio.StrictFIFOLock()
        self._waiting: list[PendingChange[Change, Outcome]] = []

    async def make(self, pending: PendingChange[Change, Outcome]) -> Outcome:
        """Make a change: durable at return. Raises what `apply` raises, and the error of the outcome.

        Cancelled while `pending` is not taken, it has no effect. Cancelled later, the change is made.
        """
        self._waiting.append(pending)
        batch: Sequence[PendingChange[Change, Outcome]] = ()
        try:
            async with self._lock:
                if not pending.taken:
                    await trio.lowlevel.checkpoint_if_cancelled()
                    batch = await self._commit()
        finally:
            if not pending.taken:
                self._waiting.remove(pending)
        if batch and self._clean_up is not None:
            await self._clean_up(batch)
        return pending.read_outcome()

    def _run(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        wake_thread_at_once()  # on a busy core each sync would otherwise end with a wait of several milliseconds
        return self._apply(changes)

    async def _commit(self) -> Sequence[PendingChange[Change, Outcome]]:
        """Make all changes that are waiting. The thread cannot be cancelled; a shield covers the way into it."""
        batch, self._waiting = self._waiting, []
        for pending in batch:
            pending.taken = True
        changes = [pending.change for pending in batch]
        try:
            with trio.CancelScope(shield=True, relative_deadline=START_TIMEOUT):
                outcomes = await trio.to_thread.run_sync(self._run, changes, limiter=self._limiter)
        except Exception as error:  # noqa: BLE001 - raised to the caller of each change
            for pending in batch:
                pending.error = error
        else:
            for pending, outcome in zip(batch, outcomes, strict=True):
                pending.outcome = outcome
            self._on_applied(batch)
        return batch
