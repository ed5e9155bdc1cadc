"""A slot: keeps one child running, by starting a successor after its end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol

import trio

from lakehouse.process.child import Child
from lakehouse.process.child import open_child as _open_child
from lakehouse.process.errors import ChildStartFailed
from lakehouse.process.spec import ChildSpec, RestartPolicy
from lakehouse.process.states import SLOT_TRANSITIONS, SlotState, StateMachine
from lakehouse.process.supervision.backoff import Backoff

logger = logging.getLogger("lakehouse.process")

OpenChild = Callable[[ChildSpec], AbstractAsyncContextManager[Child]]


class SlotListener(Protocol):
    """Callbacks of a slot, called synchronously; they must not block."""

    def child_ready(self, child: Child) -> None:
        """A child is ready."""

    def child_exited(self) -> None:
        """The child that was ready has ended."""

    def restart_delayed(self, delay: float, failures: int) -> None:
        """The next start follows in `delay` seconds, after `failures` consecutive failures."""


class Slot:
    """Keeps one child of a specification running. The specification may be replaced for the next child.

    `check` is called when a child reports that it is ready; it returns None, or the reason why the child cannot be
    used. `open_child` starts the children, by default with the log of this slot. Exits are logged at `level`.
    """

    def __init__(
        self,
        spec: ChildSpec,
        *,
        restart: RestartPolicy,
        check: Callable[[Child], Awaitable[str | None]] | None = None,
        listener: SlotListener | None = None,
        open_child: OpenChild | None = None,
        log: logging.Logger = logger,
        level: int = logging.ERROR,
    ) -> None:
        self.spec = spec
        self.child: Child | None = None
        """The child that is ready; None while no child is ready."""
        self.returncode: int | None = None
        """The exit status of the drained child; None before the drain, or if no child was running then."""
        self._backoff = Backoff(restart)
        self._check = check
        self._listener = listener
        self._open_child = open_child or partial(_open_child, log=log)
        self._log = log
        self._level = level
        self._draining = trio.Event()
        self._machine = StateMachine(SlotState.STARTING, SLOT_TRANSITIONS)

    @property
    def state(self) -> SlotState:
        """The present state."""
        return self._machine.state

    def drain(self) -> None:
        """Terminate the child and start no successor. `run` returns when the child has ended."""
        self._draining.set()
        if self.child is not None:
            self.child.terminate()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start a child, and a successor whenever it ends, until `drain` or cancellation. No child is left afterwards.

        `task_status` is started when the first child is ready. Raises ChildStartFailed if the first child fails to
        start. Later failures are logged, and the start is repeated after the delay of the policy.
        """
        started = False
        try:
            while not self._draining.is_set():
                served: float | None = None
                try:
                    served, ending = await self._run_child(trio.TASK_STATUS_IGNORED if started else task_status)
                except ChildStartFailed as failure:
                    if not started:
                        raise
                    ending = str(failure)
                started = True
                if self._draining.is_set():
                    return
                await self._back_off(self._backoff.delay_after(served), ending)
        finally:
            self._machine.advance(SlotState.STOPPED)

    async def _back_off(self, delay: float, ending: str) -> None:
        self._machine.advance(SlotState.BACKING_OFF)
        if self._listener is not None:
            self._listener.restart_delayed(delay, self._backoff.failures)
        self._log.log(self._level, "%s; starting it again in %g s", ending, delay)
        with trio.move_on_after(delay):
            await self._draining.wait()
            return
        self._machine.advance(SlotState.STARTING)

    async def _run_child(self, task_status: trio.TaskStatus[None]) -> tuple[float, str]:
        """Run one child from start to exit. Returns the seconds it was ready, and a description of the exit.

        Raises ChildStartFailed.
        """
        try:
            async with self._open_child(self.spec) as child:
                await child.wait_ready()
                if self._check is not None and (problem := await self._check(child)) is not None:
                    raise ChildStartFailed(self.spec.name, problem)
                return await self._serve(child, task_status)
        except OSError as error:  # too many processes or open files
            raise ChildStartFailed(self.spec.name, f"no process can be started: {error}") from error

    async def _serve(self, child: Child, task_status: trio.TaskStatus[None]) -> tuple[float, str]:
        self._machine.advance(SlotState.RUNNING)
        self.child, began = child, trio.current_time()
        if self._listener is not None:
            self._listener.child_ready(child)
        try:
            if self._draining.is_set() or child.spec is not self.spec:  # the drain began, or it was replaced, meanwhile
                child.terminate()
            task_status.started()
            status = await child.wait_exit()
        finally:
            self.child = None
            if self._listener is not None:
                self._listener.child_exited()
        if self._draining.is_set():
            self.returncode = status
        lasted = trio.current_time() - began
        return lasted, f"{self.spec.name} ended: its process {await child.describe_exit()}"
