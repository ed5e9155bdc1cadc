"""One connection to an upstream: a non-blocking socket, plain or TLS, and the discipline of using it."""

from __future__ import annotations

import select
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from math import inf
from typing import NoReturn

import trio

from lakehouse.net.fairness import OPERATIONS, FairnessBudget
from lakehouse.net.pace import unacknowledged
from lakehouse.net.poller import Interest
from lakehouse.net.reactor import Reactor

READ_WINDOW = 128 * 1024
"""Bytes read at once: all that is ever held of a body on its way down, besides what the kernel holds."""

ReadinessCallback = Callable[[], float | None]

SHORT_READ = 16 * 1024
"""Bytes. A read of fewer has emptied the socket, so that the next one waits before it asks: it would nearly always be
told "not yet", which costs as much as the read itself. Behind as many or more is often more on its way, and of TLS
they are a whole record, with the next one right behind it."""

_NO_LINGER = struct.pack("ii", 1, 0)
_NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class UpstreamConnection:
    """A socket that is asked first and waited for only when it says "not yet".

    `window` is the buffer it reads into. One serves all connections of an upstream: what is read is parsed before
    anybody else can run. At most one task may send while another receives.
    """

    __slots__ = (
        "_awaited",
        "_budget",
        "_emptied",
        "_expired",
        "_fd",
        "_look",
        "_probe",
        "_reactor",
        "_socket",
        "_task",
        "_window",
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
        allowance: int = OPERATIONS,
    ) -> None:
        """Deadlines are kept by `reactor` if there is one, else by cancel scopes. `allowance` stands for `FAIRNESS_BUDGET`."""
        self._socket = sock
        self._fd = sock.fileno()
        self._look: ReadinessCallback | None = None
        self._task: trio.lowlevel.Task | None = None  # whose wait is attended
        self._window = window
        self._reactor = reactor
        self._expired = False
        self._emptied = True  # nothing comes before it was asked for
        self._awaited: Callable[[socket.socket], Awaitable[None]] = trio.lowlevel.wait_readable
        self.deadline = self.scheduled_deadline = inf
        self._budget = FairnessBudget(allowance)
        self.idle_since = 0.0
        self.used = False  # has answered a request before
        self.shared = False  # another task may be waiting for this socket
        self._probe: select.poll | None = None  # made when the connection is first asked whether it is quiet

    def has_no_pending_data(self) -> bool:
        """Nothing has come since the last answer ended.

        An end of file, or an answer to a question that was not asked yet (a server's farewell, or an attempt to
        have it taken for the next request's), makes an idle connection unfit.
        """
        if self._probe is None:
            self._probe = select.poll()
            self._probe.register(self._socket, select.POLLIN)
        if not self._probe.poll(0) and not isinstance(self._socket, ssl.SSLSocket):
            return True  # as a rule; a read that fails costs four times as much
        try:
            self._socket.recv(1)
        except _NOT_YET:
            return True
        except OSError:
            return False
        return False

    def send_at_once(self, data: bytes | memoryview) -> int:
        """Give the kernel what it takes without waiting, and say how many bytes that was. Raises `OSError`."""
        try:
            return self._socket.send(data)
        except _NOT_YET:
            return 0

    async def send_some(self, data: memoryview, timeout: float) -> int:
        """Send at least one byte, or say 0 after `timeout` seconds. Raises `OSError`, `trio.ClosedResourceError`."""
        budget = self._budget
        if budget.left <= 0:
            await budget.yield_and_refill()
        budget.left -= 1
        while True:
            try:
                return self._socket.send(data)
            except _NOT_YET as not_yet:
                wait = _wait_function_for(not_yet, trio.lowlevel.wait_writable)
            if not await self._wait(wait, trio.current_time() + timeout):
                return 0

    async def receive(self, deadline: float = inf) -> memoryview | None:
        """The next bytes, empty at the end of the stream, None once `deadline` has passed.

        They are good until the next checkpoint. Raises `OSError`, `trio.ClosedResourceError`.
        """
        while (data := self.receive_at_once()) is None:
            if not await self.wait_readable(deadline):
                return None
        return data

    def receive_at_once(self) -> memoryview | None:
        """`receive` without waiting: None when there is nothing yet, or the others have to be let run first; then
        `wait_readable` is to be awaited."""
        if self._emptied or self._budget.left <= 0:
            return None
        self._budget.left -= 1
        sock = self._socket
        try:
            size = sock.recv_into(self._window)
        except _NOT_YET as not_yet:
            self._emptied = True
            self._awaited = _wait_function_for(not_yet, trio.lowlevel.wait_readable)
            return None
        self._emptied = size < SHORT_READ and not (isinstance(sock, ssl.SSLSocket) and sock.pending())
        return self._window[:size]

    def wait_readable(self, deadline: float = inf) -> Awaitable[bool]:
        """Wait until there may be something to receive; false if the deadline came first. Cancelled, it loses nothing.

        Raises `trio.ClosedResourceError`.
        """
        return self._wait(self._awaited, deadline) if self._emptied else self._yield_and_refill()

    def subscribe(self, look: ReadinessCallback, deadline: float) -> Awaitable[bool] | None:
        """Wait as `wait_readable` does, but have `look` called, in the watch's task, each time that there may be something to
        receive. It says until when to go on so, or None to end the wait: when there is something that needs the waiting
        task. None in place of a wait where that cannot be done."""
        reactor = self._reactor
        reads = self._emptied and self._awaited is trio.lowlevel.wait_readable
        if reactor is None or not reactor.poller.running or self.shared or not reads:
            return None
        return self._attended(look, deadline, reactor)

    async def _attended(self, look: ReadinessCallback, deadline: float, reactor: Reactor) -> bool:
        reactor.poller.add(
            self._fd, Interest.READABLE, self.ready
        )  # may fail, and then nobody sleeps who could be woken
        self._look = look
        self._task = trio.lowlevel.current_task()
        self._set_deadline(deadline, reactor)
        await trio.lowlevel.wait_task_rescheduled(self._abort)
        return not self._expired

    def ready(self) -> None:
        """See `ReadListener`."""
        look, reactor = self._look, self._reactor
        self._budget.refill()
        self._emptied = False
        deadline = None
        while (
            look is not None and not self._emptied and self._budget.left > 0
        ):  # behind a record of TLS may be another one
            deadline = look()
            if deadline is None or self._task is None:
                break
        if deadline is None or reactor is None or not self._emptied or self._awaited is not trio.lowlevel.wait_readable:
            self.unsubscribe()
        elif self._task is not None:
            self.deadline = deadline
            if deadline < self.scheduled_deadline:
                reactor.deadlines.schedule(self)

    def unsubscribe(self) -> None:
        """End the wait of whoever has us attended, if somebody has."""
        task = self._task
        if task is not None:
            self._leave()
            trio.lowlevel.reschedule(task)

    def _abort(self, _: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
        self._leave()
        return trio.lowlevel.Abort.SUCCEEDED

    def _leave(self) -> None:
        self._task = self._look = None
        self.deadline = inf
        if self._reactor is not None:
            self._reactor.poller.remove(self._fd)

    def _set_deadline(self, deadline: float, reactor: Reactor) -> None:
        self.deadline = deadline
        self._expired = False
        if deadline < self.scheduled_deadline:
            reactor.deadlines.schedule(self)

    def unacknowledged(self) -> int:
        """Bytes that were sent and that the other side has not taken yet, as far as that is known."""
        return unacknowledged(self._fd)

    def send_eof(self) -> None:
        """Say that no more will be sent, where that can be said (not over TLS). Raises `OSError`."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset_at_close(self) -> None:
        """Have `close` throw away what was not taken yet. Else the end would wait behind it, and an upstream that does
        not read would not learn of it for as long as it does not."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)

    def close(self) -> None:
        """Close at once, whatever is under way; a task that waits for the socket gets `trio.ClosedResourceError`."""
        self.unsubscribe()
        if self.shared:
            trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    async def _yield_and_refill(self) -> bool:
        await self._budget.yield_and_refill()
        return True

    async def _wait(self, wait: Callable[[socket.socket], Awaitable[None]], deadline: float) -> bool:
        """Wait for the socket; false if the deadline came first. Waiting is a checkpoint, which pays all debts."""
        reactor = self._reactor
        if deadline == inf:
            await wait(self._socket)
        elif reactor is None or self.shared:
            with trio.CancelScope(deadline=deadline) as scope:
                await wait(self._socket)
            if scope.cancelled_caught:
                return False
        else:
            self._set_deadline(deadline, reactor)
            try:
                await wait(self._socket)
            except trio.ClosedResourceError:
                if not self._expired:
                    raise
                return False
            finally:
                self.deadline = inf
        self._budget.refill()
        self._emptied = False
        self._awaited = trio.lowlevel.wait_readable
        return True

    def expire(self) -> None:
        """Wake the task that waits: its time is over. For `DeadlineQueue`."""
        self._expired = True
        if self._task is not None:
            self.unsubscribe()
        else:
            trio.lowlevel.notify_closing(self._socket)


def _wait_function_for(
    not_yet: OSError, usual: Callable[[socket.socket], Awaitable[None]]
) -> Callable[[socket.socket], Awaitable[None]]:
    """TLS may have to write before it can read, and the other way round."""
    if isinstance(not_yet, ssl.SSLWantReadError):
        return trio.lowlevel.wait_readable
    if isinstance(not_yet, ssl.SSLWantWriteError):
        return trio.lowlevel.wait_writable
    return usual
