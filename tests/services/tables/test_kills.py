"""The tables process is killed at any moment: what was acknowledged is there, what was not is there whole or not at all."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from lakehouse.core.errors import ErrUpstream
from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.tables import Commit
from lakehouse.services.tables import messages
from lakehouse.services.tables.calls import is_repeatable
from tools.kit.child_processes import children, is_alive, processor_seconds, wait_until
from tools.kit.lake_tables import ScratchLake, open_lake

ID = [Column(name="id", type="BIGINT")]

MOMENTS = (0.003, 0.012, 0.021)
"""Seconds after a commit was sent; it takes about 25 ms."""


def row(number: int) -> str:
    return f"SELECT {number}::BIGINT AS id"


def child_of(before: set[int]) -> int:
    """The tables process of this test."""
    (pid,) = children() - before
    return pid


async def test_a_killed_commit_is_repeated_and_not_done_twice(tmp_path: Path) -> None:
    before = children()
    async with open_lake(tmp_path) as lake:
        done = await lake.write("t", row(0))
        for number, moment in enumerate(MOMENTS, start=1):
            plan = await lake.tables.prepare("t", done.manifest.columns, mode="append")
            files = lake.stage(plan, row(number))
            pid = child_of(before)
            async with trio.open_nursery() as nursery:

                async def kill(pid: int = pid, moment: float = moment) -> None:
                    await trio.sleep(moment)
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

                nursery.start_soon(kill)
                done = await lake.tables.commit(plan, files)
            assert done.manifest.row_count == number + 1
        assert await lake.rows("t") == [(number,) for number in range(len(MOMENTS) + 1)]
        assert lake.tables.process.pool.started > 2
        assert not list((tmp_path / "staging").iterdir())


@pytest.mark.alone  # measures processor time
async def test_a_caller_that_leaves_leaves_a_whole_commit_or_none(tmp_path: Path) -> None:
    before = children()
    async with open_lake(tmp_path) as lake:
        await lake.write("t", row(0))
        acknowledged = 1
        for number in range(1, 15):
            with trio.move_on_after(number * 0.003):
                await lake.write("t", row(number))
                acknowledged += 1
        pid = child_of(before)
        await wait_until(lambda: lake.tables.process.pool.idle)
        rows = await lake.rows("t")
        assert acknowledged <= len(rows) <= 15
        assert sorted(rows) == rows
        assert len(set(rows)) == len(rows)
        assert child_of(before) == pid  # a commit is over before the process would be killed for it
        idle = processor_seconds(pid)
        await trio.sleep(0.1)
        assert processor_seconds(pid) == idle


@pytest.mark.extended
async def test_a_process_that_dies_again_is_an_error_of_the_service_and_the_next_call_is_served(tmp_path: Path) -> None:
    before = children()
    async with open_lake(tmp_path) as lake:
        done = await lake.write("t", row(0))
        plan = await lake.tables.prepare("t", done.manifest.columns, mode="append")
        files = lake.stage(plan, row(1))
        async with trio.open_nursery() as nursery:

            async def kill_all() -> None:
                while True:
                    for pid in children() - before:
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    await trio.sleep(0.001)

            nursery.start_soon(kill_all)
            with pytest.raises(Exception, match="tables process") as caught:
                await lake.tables.commit(plan, files)
            assert caught.value.status in (502, 503)  # type: ignore[attr-defined]
            nursery.cancel_scope.cancel()
        await trio.sleep(1)  # the delay after a failed start
        assert (await lake.tables.commit(plan, files)).manifest.row_count == 2


async def test_a_process_that_does_not_answer_is_killed_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = children()
    monkeypatch.setattr("lakehouse.services.tables.calls.RESET_TIMEOUT", 0.1)
    async with open_lake(tmp_path) as lake:
        await lake.write("t", row(0))
        pid = child_of(before)
        os.kill(pid, signal.SIGSTOP)
        with trio.move_on_after(0.1):
            await lake.write("t", row(1))
        await wait_until(lambda: not is_alive(pid))
        assert await write_again(lake) == 2


ONCE = {
    "columns": (messages.ChangeColumns(name="t"), False),
    "rename": (messages.Rename(name="t", to="u"), False),
    "drop": (messages.Drop(name="t"), False),
    "a tag that is removed": (messages.Tag(name="t", tag="kept", snapshot_id=None), False),
    "a tag that is set": (messages.Tag(name="t", tag="kept", snapshot_id="1"), True),
    "restore": (messages.Restore(name="t", snapshot_id="1"), True),
    "a look": (messages.Describe(name="t"), True),
}


@pytest.mark.parametrize(("change", "repeatable"), ONCE.values(), ids=ONCE)
def test_what_is_repeated_after_the_end_of_the_process(change: messages.Request, repeatable: bool) -> None:
    """After a repetition of what is not, the caller would be told that there is no such column, or no such table."""
    assert is_repeatable(change) == repeatable


@pytest.mark.extended
async def test_a_change_that_would_fail_when_it_is_repeated_is_not_repeated(tmp_path: Path) -> None:
    before = children()
    async with open_lake(tmp_path) as lake:
        await lake.write("t", row(0))
        pid = child_of(before)
        os.kill(pid, signal.SIGSTOP)  # it may have done the change, and dies before it answers
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_kill_soon, pid)
            with pytest.raises(ErrUpstream) as caught:
                await lake.tables.drop("t")
        assert not caught.value.retryable
        assert [column.name for column in (await lake.tables.prepare("t", ID, mode="append")).columns] == ["id"]


async def _kill_soon(pid: int) -> None:
    await trio.sleep(0.05)
    os.kill(pid, signal.SIGKILL)


async def write_again(lake: ScratchLake) -> int:
    """Write one more row; the table may have just lost its process."""
    commit: Commit | None = None
    while commit is None:
        with suppress(ErrUpstream):
            commit = await lake.write("t", row(1))
    return commit.manifest.row_count
