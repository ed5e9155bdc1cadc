"""Clients that leave, noticed at once and by one task for all connections of a service.

Linux tells `EPOLLRDHUP` when the other side has sent its FIN or a reset, whatever still waits unread in the buffer: a
pipelined request or half a body hide nothing, and no connection needs a task that reads ahead. Each socket is
registered once, edge-triggered, so requests cost nothing here.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import NoReturn

import trio


class DisconnectPoller:
    """A set of sockets and what to call when their client has gone; `run` does the calling."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def add(self, fd: int, callback: Callable[[], None]) -> None:
        """Call `callback` once, soon after the client of socket `fd` is gone, even if it is gone already."""
        self._epoll.register(fd, select.EPOLLRDHUP | select.EPOLLET)  # may fail, and then there is nothing to remove
        self._callbacks[fd] = callback

    def remove(self, fd: int) -> None:
        """Forget the socket; to be called before it is closed, for its number may come back at once."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    async def run(self) -> NoReturn:
        """Call back until cancelled. What a callback raises ends it, so callbacks only cancel scopes."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for fd, _ in self._epoll.poll(0):
                callback = self._callbacks.get(fd)
                if callback is not None:
                    callback()

    def close(self) -> None:
        """Give the descriptor back."""
        self._callbacks.clear()
        self._epoll.close()
