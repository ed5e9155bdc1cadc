"""The supervisor: workers come up, are replaced, drain, and leave nothing behind. The workers are small processes."""

from __future__ import annotations

import errno
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from lakehouse.process import child
from lakehouse.process.errors import ChildStartFailed
from lakehouse.process.launch import Launched
from lakehouse.process.spec import ChildSpec, OrphanPolicy, RestartPolicy
from lakehouse.process.supervision import supervisor
from lakehouse.process.supervision.slot import Slot
from lakehouse.process.supervision.supervisor import supervise
from tools.kit.child_processes import assert_nothing_left, is_alive, program_spec, wait_until

# Says that it is ready, notes its pid in the file that it was told of, and leaves on SIGTERM with the status it was told.
WORKER = """
import json, os, signal, sys
path, status = json.loads(sys.stdin.readline())["settings"]
signal.signal(signal.SIGTERM, lambda *_: os._exit(status))
with open(path, "a") as file:
    file.write(f"{os.getpid()}\\n")
print('{"ready": true}', flush=True)
sys.stdin.buffer.read()   # until the parent has gone
os._exit(9)
"""
QUICKLY = RestartPolicy(initial_delay=0.05, max_delay=0.4)


def slots(directory: Path, count: int, *, status: int = 0, source: str = WORKER) -> list[Slot]:
    def spec(index: int) -> ChildSpec:
        settings = f'["{directory / str(index)}", {status}]'.encode()
        return program_spec(source, settings=settings, orphan=OrphanPolicy.DRAIN)

    return [Slot(spec(index), restart=QUICKLY) for index in range(count)]


def pids(directory: Path, index: int) -> list[int]:
    return [int(line) for line in (directory / str(index)).read_text().split()]


async def test_workers_start_drain_and_leave_a_clean_status(tmp_path: Path, nursery: trio.Nursery) -> None:
    drain, clean = trio.Event(), []

    async def run(task_status: trio.TaskStatus[None]) -> None:
        clean.append(await supervise(slots(tmp_path, 2), drain=drain, timeout=5, task_status=task_status))

    with assert_nothing_left():
        await nursery.start(run)
        started = pids(tmp_path, 0) + pids(tmp_path, 1)
        assert len(started) == 2
        drain.set()
        await wait_until(lambda: clean)
    assert clean == [True]
    assert not any(is_alive(pid) for pid in started)


async def test_a_worker_that_leaves_badly_makes_the_status_bad(tmp_path: Path, nursery: trio.Nursery) -> None:
    drain, clean = trio.Event(), []

    async def run(task_status: trio.TaskStatus[None]) -> None:
        clean.append(await supervise(slots(tmp_path, 1, status=3), drain=drain, timeout=5, task_status=task_status))

    await nursery.start(run)
    drain.set()
    await wait_until(lambda: clean)
    assert clean == [False]


async def test_a_killed_worker_is_replaced_and_the_others_go_on(tmp_path: Path, nursery: trio.Nursery) -> None:
    drain = trio.Event()
    await nursery.start(partial(supervise, slots(tmp_path, 2), drain=drain, timeout=5))
    (victim,), (other,) = pids(tmp_path, 0), pids(tmp_path, 1)
    os.kill(victim, signal.SIGKILL)
    await wait_until(lambda: len(pids(tmp_path, 0)) == 2)
    assert is_alive(other)
    assert pids(tmp_path, 1) == [other]
    drain.set()


async def test_a_worker_that_cannot_be_restarted_leaves_the_others_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    drain, tries = trio.Event(), 0
    launch = child.launch

    def short(*args: Any) -> Launched:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise OSError(errno.EAGAIN, "no more processes")
        return launch(*args)

    await nursery.start(partial(supervise, slots(tmp_path, 2), drain=drain, timeout=5))
    (victim,), (other,) = pids(tmp_path, 0), pids(tmp_path, 1)
    monkeypatch.setattr(child, "launch", short)
    os.kill(victim, signal.SIGKILL)
    await wait_until(lambda: len(pids(tmp_path, 0)) == 2)
    assert tries == 3
    assert is_alive(other)
    drain.set()


async def test_a_crashing_worker_is_restarted_after_growing_delays(
    tmp_path: Path, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    crashing = WORKER.replace("sys.stdin.buffer.read()   #", "os._exit(7) #")
    await nursery.start(partial(supervise, slots(tmp_path, 1, source=crashing), drain=trio.Event(), timeout=5))
    await wait_until(lambda: len(caplog.messages) >= 5)
    pauses = [float(message.split()[-2]) for message in caplog.messages[:5]]
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.4]
    nursery.cancel_scope.cancel()


async def test_a_worker_that_does_not_come_up_stops_the_start(tmp_path: Path) -> None:
    with assert_nothing_left(), pytest.RaisesGroup(pytest.RaisesExc(ChildStartFailed, match="status 1 \\(no\\)")):
        async with trio.open_nursery() as nursery:
            broken = slots(tmp_path, 2, source="raise SystemExit('no')")
            await nursery.start(partial(supervise, broken, drain=trio.Event(), timeout=5))


async def test_a_worker_that_does_not_exit_is_killed_at_the_end_of_the_drain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "EXIT_GRACE", 0.1)
    drain, clean = trio.Event(), []

    async def run(task_status: trio.TaskStatus[None]) -> None:
        stubborn = WORKER.replace("lambda *_: os._exit(status)", "signal.SIG_IGN")
        run_slots = slots(tmp_path, 1, source=stubborn)
        clean.append(await supervise(run_slots, drain=drain, timeout=0.1, task_status=task_status))

    with assert_nothing_left():
        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            (pid,) = pids(tmp_path, 0)
            drain.set()
    assert clean == [False]
    assert not is_alive(pid)


async def test_a_cancelled_supervisor_leaves_no_worker(tmp_path: Path) -> None:
    with assert_nothing_left():
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(supervise, slots(tmp_path, 2), drain=trio.Event(), timeout=5))
            started = pids(tmp_path, 0) + pids(tmp_path, 1)
            nursery.cancel_scope.cancel()
    assert not any(is_alive(pid) for pid in started)
