"""One task that looks after many sockets of which each has little to say.

A task that waits for its socket is woken for every piece of a stream: by a registration with the kernel, a turn of the
scheduler, and twenty coroutines on the way down, which together are twice what the piece itself costs. Here a socket is
registered once, and when it has something, a plain function of its owner's is called, by this one task. The owner
sleeps until something has to be waited for, or is not as usual.
"""

from __future__ import annotations

import select
from typing import NoReturn, Protocol

import trio

AT_ONCE = 64
"""Sockets that are looked after, one after the other, before the other tasks are let run. Each does at most what a task
would do in its turn."""


class ReadListener(Protocol):
    """Who has a socket looked after."""

    def ready(self) -> None:
        """There may be something to receive. Must not raise, for that would end the service of all others."""


class ReadPoller:
    """Calls `ready` on those whose sockets have something to receive, for as long as `run` runs."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._attended: dict[int, ReadListener] = {}

    @property
    def running(self) -> bool:
        """Whether anybody is looking."""
        return self._epoll is not None

    def add(self, fd: int, attended: ReadListener) -> None:
        """Look after socket `fd` until `remove`; while it has something, `ready` is called again and again."""
        if self._epoll is None:
            raise RuntimeError("nobody is looking")
        self._epoll.register(fd, select.EPOLLIN)  # may fail, and then there is nothing to remove
        self._attended[fd] = attended

    def remove(self, fd: int) -> None:
        """Forget the socket, if it is not forgotten; to be called before it is closed or given away."""
        if self._attended.pop(fd, None) is not None and self._epoll is not None:
            self._epoll.unregister(fd)

    async def run(self) -> NoReturn:
        """Look until cancelled."""
        with select.epoll() as epoll:
            self._epoll = epoll
            try:
                while True:
                    await trio.lowlevel.wait_readable(epoll.fileno())
                    for fd, _ in epoll.poll(0, AT_ONCE):
                        attended = self._attended.get(fd)  # one before it may have ended it
                        if attended is not None:
                            attended.ready()
            finally:
                self._epoll = None
