"""Changes of the index that arrive together are one transaction, and cancellation leaves each whole or without effect."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lakehouse.core.errors import ErrPreconditionFailed
from lakehouse.services.contracts.object_store import ObjectInfo
from lakehouse.services.lake.group_commit import GroupCommit, PendingChange
from lakehouse.services.storaged.index.entries import Entry, Row
from lakehouse.services.storaged.index.object_index import Change, Delete, ObjectIndex, Outcome, Put, find_entry

Pending = PendingChange[Change, Outcome]


class Gate:
    """An index whose transactions wait for a permission each."""

    def __init__(self, index: ObjectIndex) -> None:
        self.index = index
        self.permitted = threading.Semaphore(0)
        self.calls: list[list[bytes]] = []
        self.cleaned: list[list[bytes]] = []
        self.error: Exception | None = None

    def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        self.calls.append([change.key for change in changes])
        assert self.permitted.acquire(timeout=10)
        if self.error is not None:
            raise self.error
        return self.index.apply(changes)

    async def clean_up(self, batch: Sequence[Pending]) -> None:
        self.cleaned.append([pending.change.key for pending in batch])


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    index = ObjectIndex(tmp_path / "objects.db")
    yield Gate(index)
    index.close()


def put(key: str) -> Pending:
    row = Row(key.encode(), 1, '"e"', 0, "text/plain")
    return PendingChange(Put(entry=Entry(row, b"1", None)))


def ignore(batch: Sequence[Pending]) -> None:
    """Keep no record."""


def has(gate: Gate, key: str) -> bool:
    return find_entry(gate.index._db, key.encode()) is not None


async def test_what_waits_for_a_transaction_is_in_the_next_one(gate: Gate) -> None:
    recorded: list[bytes] = []
    commit = GroupCommit(gate.apply, lambda batch: recorded.extend(one.change.key for one in batch), gate.clean_up)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commit.make, put("a"))
        await wait_all_tasks_blocked(0.01)
        for key in "bcd":
            nursery.start_soon(commit.make, put(key))
        await wait_all_tasks_blocked(0.01)
        gate.permitted.release(2)
    assert [sorted(call) for call in gate.calls] == [[b"a"], [b"b", b"c", b"d"]]
    assert sorted(recorded) == [b"a", b"b", b"c", b"d"]
    assert [len(batch) for batch in gate.cleaned] == [1, 3]


async def test_a_change_that_is_cancelled_before_its_transaction_has_no_effect(gate: Gate) -> None:
    commit = GroupCommit(gate.apply, ignore, gate.clean_up)
    cancelled, kept = put("b"), put("c")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commit.make, put("a"))
        await wait_all_tasks_blocked(0.01)
        nursery.start_soon(commit.make, kept)
        with trio.move_on_after(0.01) as scope:
            await commit.make(cancelled)
        assert (scope.cancelled_caught, cancelled.taken) == (True, False)
        gate.permitted.release(2)
    assert gate.calls == [[b"a"], [b"c"]]
    assert (has(gate, "b"), has(gate, "c")) == (False, True)


async def test_a_change_whose_transaction_has_begun_is_made_although_it_is_cancelled(gate: Gate) -> None:
    commit = GroupCommit(gate.apply, ignore, gate.clean_up)
    leader, follower = put("b"), put("c")
    ended: list[str] = []

    async def make(pending: Pending, scope: trio.CancelScope) -> None:
        with scope:
            await commit.make(pending)
        ended.append(pending.change.key.decode())

    scopes = [trio.CancelScope(), trio.CancelScope()]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commit.make, put("a"))
        await wait_all_tasks_blocked(0.01)
        for pending, scope in zip((leader, follower), scopes, strict=True):
            nursery.start_soon(make, pending, scope)
            await wait_all_tasks_blocked(0.01)
        gate.permitted.release()
        with trio.fail_after(20):
            while len(gate.calls) < 2:
                await trio.sleep(0.005)
        for scope in scopes:
            scope.cancel()
        await wait_all_tasks_blocked(0.01)
        assert ended == ["c"]  # the follower; the leader is in the thread
        gate.permitted.release()
    assert ended == ["c", "b"]
    assert has(gate, "b")
    assert has(gate, "c")
    assert gate.cleaned == [[b"a"], [b"b", b"c"]]


async def test_a_change_that_is_refused_does_not_stop_the_others(gate: Gate) -> None:
    def refuse(present: ObjectInfo | None) -> None:
        raise ErrPreconditionFailed("no")

    commit = GroupCommit(gate.apply, ignore, gate.clean_up)
    refused: Pending = PendingChange(Delete(key=b"b", precondition=refuse))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commit.make, put("a"))
        await wait_all_tasks_blocked(0.01)

        async def fail() -> None:
            with pytest.raises(ErrPreconditionFailed):
                await commit.make(refused)

        nursery.start_soon(fail)
        nursery.start_soon(commit.make, put("c"))
        await wait_all_tasks_blocked(0.01)
        gate.permitted.release(2)
    assert has(gate, "c")


async def test_a_transaction_that_fails_fails_for_all_and_the_next_one_works(gate: Gate) -> None:
    commit = GroupCommit(gate.apply, ignore, gate.clean_up)
    gate.error = sqlite3.OperationalError("disk I/O error")
    gate.permitted.release(2)
    with pytest.raises(sqlite3.OperationalError):
        await commit.make(put("a"))
    gate.error = None
    await commit.make(put("b"))
    assert (has(gate, "a"), has(gate, "b")) == (False, True)
