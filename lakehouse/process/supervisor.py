"""Several processes on one listening socket: start, watch, replace, drain.

The parent binds once and hands the descriptors down, so a connection waits in one shared backlog while workers boot
or are replaced; with SO_REUSEPORT a closing worker would reset the connections in its private queue. Hypercorn's own
workers do not drain (the first to finish stops the others, https://github.com/pgjones/hypercorn) and a crashed one
ends the service with status 0.

Between parent and worker: standard input carries the worker's orders and then stays open, so that a worker whose
parent was killed sees its end and drains; one line on standard output says that the worker accepts connections.
"""

from __future__ import annotations

import logging
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

logger = logging.getLogger("lakehouse.workers")

READY = b"ready\n"
# Importing everything takes a third of a second; a machine under load may need many times that.
START_TIMEOUT = 30.0
# A worker that lived for this long was well: the next crash is met with the first pause again.
HEALTHY_AFTER = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
# Beyond the drain timeout and its last words: time to close files and leave.
EXIT_GRACE = 3.0
# Between SIGKILL and the kernel's word that the process is gone.
REAP_TIMEOUT = 5.0


class WorkerFailed(Exception):
    """A worker did not come up when the service was started; its own words are on standard error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """How a worker is started: the command, what it is told on standard input, the descriptors it inherits."""

    command: Sequence[str]
    orders: Callable[[int], bytes]
    descriptors: tuple[int, ...]


@dataclass(slots=True)
class SupervisorState:
    launch: Launch
    drain: trio.Event
    processes: dict[int, trio.Process] = field(default_factory=dict)
    clean: bool = True


async def supervise(
    launch: Launch,
    *,
    workers: int,
    drain: trio.Event,
    timeout: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> bool:
    """Keep `workers` processes running until `drain` is set, then let them drain. True if all of them left with 0.

    `timeout` is how many seconds a drain may take before workers are killed. Raises WorkerFailed when one does not
    come up at first; one that dies later is replaced, after a pause that doubles up to five seconds. When cancelled,
    the workers are killed and reaped.
    """
    state = SupervisorState(launch, drain)
    failures: list[WorkerFailed] = []

    async def start(index: int) -> None:
        try:
            await nursery.start(_supervise_slot, state, index)
        except WorkerFailed as failure:
            failures.append(failure)

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as starting:
            for index in range(workers):
                starting.start_soon(start, index)
        if failures:
            nursery.cancel_scope.cancel(reason="a worker did not start")
        else:
            task_status.started()
        await drain.wait()
        for process in state.processes.values():
            process.send_signal(signal.SIGTERM)
        nursery.cancel_scope.deadline = trio.current_time() + timeout + EXIT_GRACE
    if failures:
        raise failures[0]
    return state.clean and not nursery.cancel_scope.cancelled_caught


async def _supervise_slot(state: SupervisorState, index: int, *, task_status: trio.TaskStatus[None]) -> None:
    """One place in the crew, from its first worker to the drain."""
    pause = FIRST_PAUSE
    first = True
    while not state.drain.is_set():
        began = trio.current_time()
        code = await _run(state, index, task_status if first else trio.TASK_STATUS_IGNORED)
        if first and code is None:
            raise WorkerFailed(f"worker {index} did not start")
        first = False
        if state.drain.is_set():
            state.clean = state.clean and code == 0
            return
        pause = FIRST_PAUSE if trio.current_time() - began > HEALTHY_AFTER else min(2 * pause, LONGEST_PAUSE)
        logger.error("worker %d ended with status %s; a new one starts in %.2f s", index, code, pause)
        await trio.sleep(pause)


async def _run(state: SupervisorState, index: int, task_status: trio.TaskStatus[None]) -> int | None:
    """One worker from start to end: its exit status, or None when it never got ready."""
    try:
        process = await trio.lowlevel.open_process(
            list(state.launch.command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=state.launch.descriptors,
        )
    except (OSError, RuntimeError) as error:  # too many files, processes or threads: the other workers go on
        logger.error("worker %d cannot be started: %s", index, error)
        return None
    try:
        if not await _wait_ready(process, state.launch.orders(index)):
            return None
        state.processes[index] = process
        if state.drain.is_set():  # the drain began while this one was starting and has not told it
            process.send_signal(signal.SIGTERM)
        task_status.started()
        return await process.wait()
    finally:
        state.processes.pop(index, None)
        await _reap(process)


async def _wait_ready(process: trio.Process, orders: bytes) -> bool:
    assert process.stdin is not None  # noqa: S101 - both were asked for as pipes
    assert process.stdout is not None  # noqa: S101
    said = b""
    with trio.move_on_after(START_TIMEOUT):
        try:
            await process.stdin.send_all(len(orders).to_bytes(4, "big") + orders)
            while not said.endswith(READY):
                if not (data := await process.stdout.receive_some(len(READY))):
                    break
                said += data
        except trio.BrokenResourceError:  # it died before it read its orders
            return False
    return said.endswith(READY)


async def _reap(process: trio.Process) -> None:
    """Whatever happens, the process is gone and waited for, and its pipes are closed."""
    if process.returncode is None:
        process.kill()
    # Bounded: after SIGKILL only the kernel is waited for, REAP_TIMEOUT at the most.
    with trio.move_on_after(REAP_TIMEOUT, shield=True):
        await process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with trio.move_on_after(0, shield=True):  # closing a pipe does not block
                await pipe.aclose()
