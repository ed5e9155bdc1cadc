"""One connection to an upstream: a socket, and waiting for it within deadlines.

A task waits in one of two ways. It sleeps until its socket is ready (`wait_readable`, `write`), or it has a callback
called by the reactor's task for each arrival and sleeps until the callback needs it (`subscribe`), which costs no task
switch per arrival. Deadlines are kept by the reactor if there is one, else by cancel scopes.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from enum import Enum
from math import inf
from typing import Final, NoReturn

import trio

from lakehouse.net.fairness import OPERATIONS
from lakehouse.net.poller import Interest
from lakehouse.net.reactor import Reactor
from lakehouse.upstream.connections.socket_io import NOT_READY, TRY, WAIT_READABLE, SocketIO, Wait, wait_for_write

ReadinessCallback = Callable[[], float | None]
"""Called when there may be something to read. Returns the new deadline (inf for none) to stay subscribed, None to end
the subscription and wake the task."""


class WaitState(Enum):
    """What the connection's task waits for, and so what its deadline ends.

    RUNNING ──wait with a deadline──> ASLEEP ─────ready, cancelled──────────────────────> RUNNING
    RUNNING ──subscribe─────────────> SUBSCRIBED ─callback ends it, cancelled, closed──> RUNNING
    ASLEEP, SUBSCRIBED ──deadline───> EXPIRED ────the task has seen it──────────────────> RUNNING
    """

    RUNNING = "no task waits"
    ASLEEP = "a task waits for its socket"
    SUBSCRIBED = "a task sleeps while the reactor calls its callback"
    EXPIRED = "a task was woken because its deadline has come"


# Looking a member up in its class costs five times as much as these.
RUNNING: Final = WaitState.RUNNING
ASLEEP: Final = WaitState.ASLEEP
SUBSCRIBED: Final = WaitState.SUBSCRIBED
EXPIRED: Final = WaitState.EXPIRED


class UpstreamConnection(SocketIO):
    """A socket to an upstream. At most one task may write while another reads."""

    __slots__ = (
        "_callback",
        "_reactor",
        "_task",
        "_wait_state",
        "deadline",
        "idle_since",
        "scheduled_deadline",
        "shared",
        "used",
    )

    def __init__(
        self,
        sock: socket.socket,
        window: memoryview,
        reactor: Reactor | None = None,
        *,
        operations: int = OPERATIONS,
    ) -> None:
        """`operations` is the size of the fairness budget."""
        super().__init__(sock, window, operations=operations)
        self._reactor = reactor
        self._wait_state: WaitState = RUNNING
        self._callback: ReadinessCallback | None = None
        self._task: trio.lowlevel.Task | None = None  # the one that is subscribed
        self.deadline = self.scheduled_deadline = inf  # see `HasDeadline`
        self.idle_since = 0.0
        self.used = False  # has carried a request before
        self.shared = False  # one task writes while another reads, so each wait needs a deadline of its own

    def share(self) -> None:
        """From now on one task may write while another reads."""
        self.shared = True

    def recycle(self, now: float) -> None:
        """Prepare for the next request, idle until it comes."""
        self.used = True
        self.shared = False
        self.idle_since = now

    async def write(self, data: memoryview, timeout: float) -> int:
        """Write at least one byte: the number of bytes, 0 after `timeout` seconds.

        Raises `OSError`, `trio.ClosedResourceError`.
        """
        budget = self._budget
        if budget.left <= 0:
            await budget.yield_and_refill()
        budget.left -= 1
        while True:
            try:
                return self._socket.send(data)
            except NOT_READY as error:
                wait = wait_for_write(error)
            if not await self._wait(wait, trio.current_time() + timeout):
                return 0

    async def read(self, deadline: float = inf) -> memoryview | None:
        """`try_read`, waiting as long as it takes; None once `deadline` has passed.

        Raises `OSError`, `trio.ClosedResourceError`.
        """
        while (data := self.try_read()) is None:
            if not await self.wait_readable(deadline):
                return None
        return data

    def wait_readable(self, deadline: float = inf) -> Awaitable[bool]:
        """Wait until `try_read` may give something; false if the deadline came first. Cancelled, it loses nothing.

        Raises `trio.ClosedResourceError`.
        """
        state = self._read_state
        if state is WAIT_READABLE:
            return self._wait(trio.lowlevel.wait_readable, deadline)
        return self._yield() if state is TRY else self._wait(trio.lowlevel.wait_writable, deadline)

    def subscribe(self, callback: ReadinessCallback, deadline: float) -> Awaitable[bool] | None:
        """`wait_readable`, with `callback` called by the reactor's task for each arrival meanwhile.

        Returns None in place of an awaitable where that is impossible: without a running reactor, on a shared
        connection, or while bytes may be at hand or TLS has to write. False once the deadline has passed; the callback
        moves it.
        """
        reactor = self._reactor
        if reactor is None or not reactor.poller.running or self.shared or self._read_state is not WAIT_READABLE:
            return None
        return self._sleep_subscribed(callback, deadline, reactor)

    async def _sleep_subscribed(self, callback: ReadinessCallback, deadline: float, reactor: Reactor) -> bool:
        reactor.poller.add(self._fd, Interest.READABLE, self._on_readable)  # before the task sleeps: it may fail
        self._callback = callback
        self._task = trio.lowlevel.current_task()
        self._wait_state = SUBSCRIBED
        self._set_deadline(deadline, reactor)
        await trio.lowlevel.wait_task_rescheduled(self._abort_sleep)
        expired = self._wait_state is EXPIRED
        self._wait_state = RUNNING
        return not expired

    def _on_readable(self) -> None:
        """Call the callback for as long as bytes are at hand; behind a record of TLS may be another one."""
        callback, reactor = self._callback, self._reactor
        if callback is None or reactor is None:
            return
        budget = self._budget
        budget.left = budget.size  # this is a turn of its own
        self._read_state = TRY
        deadline = None
        while self._read_state is TRY and budget.left > 0:
            deadline = callback()
            if deadline is None or self._task is None:  # the callback may have closed the connection
                break
        if deadline is None or self._read_state is not WAIT_READABLE:
            self.unsubscribe()
        elif self._task is not None:
            self._set_deadline(deadline, reactor)

    def unsubscribe(self) -> None:
        """End the subscription, if there is one, and wake its task."""
        task = self._task
        if task is not None:
            self._end_subscription()
            trio.lowlevel.reschedule(task)

    def _abort_sleep(self, _: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
        self._end_subscription()
        self._wait_state = RUNNING
        return trio.lowlevel.Abort.SUCCEEDED

    def _end_subscription(self) -> None:
        self._task = self._callback = None
        self.deadline = inf
        if self._reactor is not None:
            self._reactor.poller.remove(self._fd)

    def close(self) -> None:
        """Close at once, whatever is under way; a task that waits for the socket gets `trio.ClosedResourceError`."""
        self.unsubscribe()
        if self.shared:
            trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    async def _yield(self) -> bool:
        await self._budget.yield_and_refill()
        return True

    async def _wait(self, wait: Wait, deadline: float) -> bool:
        """Wait for the socket; false if the deadline came first."""
        reactor = self._reactor
        if deadline == inf:
            await wait(self._socket)
        elif reactor is None or self.shared:
            with trio.CancelScope(deadline=deadline) as scope:
                await wait(self._socket)
            if scope.cancelled_caught:
                return False
        else:
            self._wait_state = ASLEEP
            self._set_deadline(deadline, reactor)
            try:
                await wait(self._socket)
            except trio.ClosedResourceError:
                if self._wait_state is not EXPIRED:
                    raise
                return False
            finally:
                self._wait_state = RUNNING
                self.deadline = inf
        budget = self._budget
        budget.left = budget.size  # the other tasks had their turn
        self._read_state = TRY
        return True

    def _set_deadline(self, deadline: float, reactor: Reactor) -> None:
        self.deadline = deadline
        if deadline < self.scheduled_deadline:
            reactor.deadlines.schedule(self)

    def expire(self) -> None:
        """Wake the task that waits, because its deadline has come. Called by the reactor."""
        if self._wait_state is SUBSCRIBED:
            self._wait_state = EXPIRED
            self.unsubscribe()
        elif self._wait_state is ASLEEP:
            self._wait_state = EXPIRED
            trio.lowlevel.notify_closing(self._socket)
