"""A crowd of slow streams that are held open: what arrives late, and what a stream costs."""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from tools.bench.load import Target

STAMP = re.compile(rb"@(\d+\.\d+)@")
LATE = 0.1
"""Seconds between the upstream's sending and our receiving after which a piece is late."""

PER_SECOND = 1000
"""Streams opened a second, so that holding streams is measured, not opening them."""

OVERTIME = 8.0
"""Seconds beyond a stream's own duration after which those that are left are given up."""


@dataclass(kw_only=True)
class StreamStats:
    """What the crowd saw."""

    streams: int
    pieces: int = 0
    late: int = 0
    worst: float = 0.0
    complete: int = 0
    seconds: float = 0.0
    flowing: int = 0
    resident: int = 0

    def count_chunks(self, data: bytes, arrived: float) -> None:
        """Count the pieces in `data`, each of which carries the time it was sent at."""
        for stamp in STAMP.findall(data):
            delay = arrived - float(stamp)
            self.pieces += 1
            self.late += delay > LATE
            self.worst = max(self.worst, delay)


def hold_streams(target: Target, *, streams: int, duration: float, resident: Callable[[], int]) -> StreamStats:
    """Open `streams` streams that take `duration` seconds each and read them to their ends.

    `resident` is asked once a second; what it said is kept of the moment at which most streams were `flowing`, that
    is, had begun and not ended: an overloaded gateway never has all of them at once.
    """
    held = StreamStats(streams=streams)
    crowd = _OpenStreams(target, held)
    started = time.monotonic()
    ramp = streams / PER_SECOND
    look, end = started + 1, started + ramp + duration + OVERTIME
    try:
        while (now := time.monotonic()) < end and (crowd.opened < streams or crowd.connections):
            while crowd.opened < min(streams, (now - started) * PER_SECOND):
                crowd.open()
            if now > look:
                look = now + 1
                if len(crowd.flowing) > held.flowing:
                    held.flowing, held.resident = len(crowd.flowing), resident()
            crowd.read(0.01 if crowd.opened < streams else 0.1)
    finally:
        crowd.close()
    held.seconds = time.monotonic() - started
    return held


class _OpenStreams:
    def __init__(self, target: Target, held: StreamStats) -> None:
        self._port, self._request, self._held = target.port, target.encode(), held
        self._poll = select.epoll()
        self.connections: dict[int, socket.socket] = {}
        self.flowing: set[int] = set()
        self.opened = 0

    def open(self) -> None:
        sock = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        sock.sendall(self._request)
        sock.setblocking(False)
        self.connections[sock.fileno()] = sock
        self._poll.register(sock, select.EPOLLIN)
        self.opened += 1

    def read(self, wait: float) -> None:
        for descriptor, _ in self._poll.poll(wait):
            try:
                data = self.connections[descriptor].recv(65536)
            except OSError:
                data = b""
            self._held.count_chunks(data, time.time())
            self.flowing.add(descriptor)
            if not data or b"[DONE]" in data:
                self.flowing.discard(descriptor)
                self._held.complete += bool(data)
                self._poll.unregister(descriptor)
                self.connections.pop(descriptor).close()

    def close(self) -> None:
        for sock in self.connections.values():
            sock.close()
        self._poll.close()
