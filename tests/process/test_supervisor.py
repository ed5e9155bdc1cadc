"""The supervisor: workers come up, are replaced, drain, and leave nothing behind. The workers here are tiny programs."""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from lakehouse.process import supervisor
from lakehouse.process.supervisor import Launch, WorkerFailed, supervise

# Says it is ready, notes its pid in the file it was told of, and leaves on SIGTERM with the status it was told.
WORKER = """
import os, signal, sys
length = int.from_bytes(sys.stdin.buffer.read(4), "big")
path, status = sys.stdin.buffer.read(length).decode().split()
signal.signal(signal.SIGTERM, lambda *_: os._exit(int(status)))
with open(path, "a") as file:
    file.write(f"{os.getpid()}\\n")
print("ready", flush=True)
sys.stdin.buffer.read()   # until the parent has gone
os._exit(9)
"""


def launch(directory: Path, *, status: int = 0, program: str = WORKER) -> Launch:
    return Launch(
        command=[sys.executable, "-c", program],
        orders=lambda index: f"{directory / str(index)} {status}".encode(),
        descriptors=(),
    )


def pids(directory: Path, index: int) -> list[int]:
    return [int(line) for line in (directory / str(index)).read_text().split()]


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def until(condition: object) -> None:
    """Wait for something that another process does; the test's own limit bounds it."""
    assert callable(condition)
    with trio.fail_after(20):
        while not condition():
            await trio.sleep(0.01)


async def test_workers_start_drain_and_leave_a_clean_status(tmp_path: Path, nursery: trio.Nursery) -> None:
    drain, clean = trio.Event(), []

    async def run(task_status: trio.TaskStatus[None]) -> None:
        clean.append(await supervise(launch(tmp_path), workers=2, drain=drain, timeout=5, task_status=task_status))

    await nursery.start(run)
    started = pids(tmp_path, 0) + pids(tmp_path, 1)
    assert len(started) == 2
    drain.set()
    await until(lambda: clean)
    assert clean == [True]
    assert not any(alive(pid) for pid in started)


async def test_a_worker_that_leaves_badly_makes_the_status_bad(tmp_path: Path, nursery: trio.Nursery) -> None:
    drain, clean = trio.Event(), []

    async def run(task_status: trio.TaskStatus[None]) -> None:
        clean.append(
            await supervise(launch(tmp_path, status=3), workers=1, drain=drain, timeout=5, task_status=task_status)
        )

    await nursery.start(run)
    drain.set()
    await until(lambda: clean)
    assert clean == [False]


async def test_a_killed_worker_is_replaced_and_the_others_go_on(tmp_path: Path, nursery: trio.Nursery) -> None:
    drain = trio.Event()
    await nursery.start(partial(supervise, launch(tmp_path), workers=2, drain=drain, timeout=5))
    (victim,), (other,) = pids(tmp_path, 0), pids(tmp_path, 1)
    os.kill(victim, signal.SIGKILL)
    await until(lambda: len(pids(tmp_path, 0)) == 2)
    assert alive(other)
    assert pids(tmp_path, 1) == [other]
    drain.set()


@pytest.mark.parametrize("shortage", [OSError(errno.EAGAIN, "no more processes"), RuntimeError("no more threads")])
async def test_a_worker_that_cannot_be_replaced_yet_takes_nobody_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, shortage: Exception
) -> None:
    drain, tries = trio.Event(), 0
    open_process = trio.lowlevel.open_process

    async def short(*args: Any, **options: Any) -> trio.Process:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise shortage
        return await open_process(*args, **options)

    await nursery.start(partial(supervise, launch(tmp_path), workers=2, drain=drain, timeout=5))
    (victim,), (other,) = pids(tmp_path, 0), pids(tmp_path, 1)
    monkeypatch.setattr(supervisor.trio.lowlevel, "open_process", short)
    os.kill(victim, signal.SIGKILL)
    await until(lambda: len(pids(tmp_path, 0)) == 2)
    assert tries == 3
    assert alive(other)
    drain.set()


async def test_a_crashing_worker_is_met_with_longer_and_longer_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 8:
            await real_sleep_forever()

    real_sleep_forever = trio.sleep_forever
    crashing = WORKER.replace("sys.stdin.buffer.read()   #", "os._exit(7) #")
    await nursery.start(
        partial(supervise, launch(tmp_path, program=crashing), workers=1, drain=trio.Event(), timeout=5)
    )
    monkeypatch.setattr(supervisor.trio, "sleep", sleep)
    with trio.fail_after(20):
        while len(pauses) <= 8:
            await trio.lowlevel.checkpoint()
    assert pauses[-1] == supervisor.LONGEST_PAUSE
    assert pauses == sorted(pauses)
    nursery.cancel_scope.cancel()


async def test_a_worker_that_does_not_come_up_stops_the_start(tmp_path: Path) -> None:
    with pytest.RaisesGroup(WorkerFailed, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            broken = launch(tmp_path, program="raise SystemExit('no')")
            await nursery.start(partial(supervise, broken, workers=2, drain=trio.Event(), timeout=5))


async def test_a_worker_that_will_not_leave_is_killed_when_patience_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "EXIT_GRACE", 0.1)
    drain, clean = trio.Event(), []

    async def run(task_status: trio.TaskStatus[None]) -> None:
        stubborn = launch(tmp_path, program=WORKER.replace("lambda *_: os._exit(int(status))", "signal.SIG_IGN"))
        clean.append(await supervise(stubborn, workers=1, drain=drain, timeout=0.1, task_status=task_status))

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        (pid,) = pids(tmp_path, 0)
        drain.set()
    assert clean == [False]
    assert not alive(pid)


async def test_cancelled_the_supervisor_leaves_no_worker(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(supervise, launch(tmp_path), workers=2, drain=trio.Event(), timeout=5))
        started = pids(tmp_path, 0) + pids(tmp_path, 1)
        nursery.cancel_scope.cancel()
    assert not any(alive(pid) for pid in started)
