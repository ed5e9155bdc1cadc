"""Changes that arrive while a transaction runs are one transaction, and a caller that leaves waits for none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lakehouse.core.errors import ErrConflict, ErrUnavailable, LakehouseError
from lakehouse.process.tasks import open_background
from lakehouse.services.lake import batched_commit
from lakehouse.services.lake.batched_commit import BatchedCommit


@dataclass(frozen=True)
class Outcome:
    """What became of a change."""

    number: int = 0
    error: LakehouseError | None = None


class Database:
    """Transactions that wait for a permission each. A change below 0 is refused."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.permitted = trio.Semaphore(0)
        self.commit: BatchedCommit[int, Outcome] = BatchedCommit(self.apply)

    async def apply(self, changes: Sequence[int]) -> Sequence[Outcome]:
        self.calls.append(list(changes))
        await self.permitted.acquire()
        if 13 in changes:
            raise OSError("the database is gone")
        return [Outcome(error=ErrConflict("no")) if change < 0 else Outcome(change) for change in changes]

    def permit(self, count: int = 1) -> None:
        for _ in range(count):
            self.permitted.release()


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    made = Database()
    async with open_background() as nursery:
        nursery.start_soon(made.commit.run)
        yield made


async def test_changes_that_wait_are_made_together_and_refused_alone(database: Database) -> None:
    found: dict[int, Outcome | LakehouseError] = {}

    async def make(change: int) -> None:
        try:
            found[change] = await database.commit.make(change)
        except LakehouseError as error:
            found[change] = error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(make, 1)
        await wait_all_tasks_blocked()
        for change in (2, -3, 4):
            nursery.start_soon(make, change)
        await wait_all_tasks_blocked()
        database.permit(2)
    assert (database.calls[0], sorted(database.calls[1])) == ([1], [-3, 2, 4])
    assert {change: found[change] for change in (1, 2, 4)} == {change: Outcome(change) for change in (1, 2, 4)}
    assert isinstance(found[-3], ErrConflict)


async def test_a_transaction_that_fails_is_the_failure_of_its_changes_alone(database: Database) -> None:
    database.permit(2)
    with pytest.raises(OSError, match="gone"):
        await database.commit.make(13)
    assert await database.commit.make(2) == Outcome(2)


async def test_a_caller_that_leaves_takes_its_change_along_if_no_transaction_has_it(database: Database) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.commit.make, 1)
        await wait_all_tasks_blocked()
        nursery.start_soon(database.commit.make, 2)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()  # nobody waits for the transaction, which has the first change
    database.permit(2)
    assert await database.commit.make(3) == Outcome(3)
    assert database.calls == [[1], [3]]


async def test_waiting_changes_have_a_bound(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched_commit, "MAX_WAITING", 3)
    monkeypatch.setattr(batched_commit, "MAX_BATCH", 2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.commit.make, 1)
        await wait_all_tasks_blocked()
        for change in (2, 3, 4):
            nursery.start_soon(database.commit.make, change)
        await wait_all_tasks_blocked()
        with pytest.raises(ErrUnavailable) as caught:
            await database.commit.make(5)
        assert caught.value.retryable
        database.permit(3)
    assert [len(call) for call in database.calls] == [1, 2, 1]
