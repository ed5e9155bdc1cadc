"""Readiness of many sockets, watched by one task.

A task that waits for its own socket costs a registration with the kernel, a turn of the scheduler and some twenty
coroutine frames for each wait, which is twice the cost of a piece of a stream. Here a socket is registered once with a
nested epoll, and the poller's task calls a plain function whenever the kernel reports an event.

Two interests exist. `READABLE` is level-triggered: the callback runs again and again while bytes wait to be received.
`DISCONNECT` is edge-triggered: Linux reports `EPOLLRDHUP` when the peer has sent its FIN or a reset, whatever waits
unread in the buffer, so a pipelined request or half a body cannot hide that a client has left
(`lakehouse.server.disconnects`).
"""

from __future__ import annotations

import select
from collections.abc import Callable
from enum import IntEnum

import trio

MAX_EVENTS = 64
"""Callbacks in a row before the other tasks run. Each does at most what a task would do in one turn."""


class Interest(IntEnum):
    """The kind of event that a callback is called for."""

    READABLE = select.EPOLLIN
    DISCONNECT = select.EPOLLRDHUP | select.EPOLLET


class Poller:
    """Calls a function when the kernel reports an event on a socket, for as long as `run` runs."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._callbacks: dict[int, Callable[[], None]] = {}

    @property
    def running(self) -> bool:
        """True while `run` runs, so that sockets can be added."""
        return self._epoll is not None

    def add(self, fd: int, interest: Interest, callback: Callable[[], None]) -> None:
        """Call `callback` for each event on socket `fd` until `remove`, also for one that occurred before.

        `callback` must not raise: the exception would end `run`, and with it the service of all other sockets. Raises
        `RuntimeError` if `run` is not running, and `OSError` (ENOSPC) at the kernel's limit of watched sockets;
        nothing is registered then.
        """
        if self._epoll is None:
            raise RuntimeError("Poller.run() is not running")
        self._epoll.register(fd, interest)
        self._callbacks[fd] = callback

    def remove(self, fd: int) -> None:
        """Forget the socket, if it is known. Call this before closing it: the kernel gives its number out again."""
        if self._callbacks.pop(fd, None) is not None and self._epoll is not None:
            self._epoll.unregister(fd)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Wait for events and call back, until cancelled."""
        with select.epoll() as epoll:
            self._epoll = epoll
            task_status.started()
            try:
                while True:
                    await trio.lowlevel.wait_readable(epoll.fileno())
                    for fd, _ in epoll.poll(0, MAX_EVENTS):
                        callback = self._callbacks.get(fd)  # an earlier callback may have removed it
                        if callback is not None:
                            callback()
            finally:
                self._epoll = None
