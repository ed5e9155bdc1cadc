"""Does anything outlive an aborted request to an upstream?

    python tools/leaks.py [ABORTS]

10,000 requests (or ABORTS) over at most 10 connections, each given up at a random instant: in the queue, while it
connects, sends, uploads, waits or reads. The upstream, a process of its own, takes random moments for everything.
Prints what there was before and after, and how many of the next 1,000 requests succeeded. Exit status 1 if anything
was left: a task, a descriptor, a slot, more than 10 MB, or a request that failed.
"""

from __future__ import annotations

import gc
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.pool import Upstream

CONNECTIONS = 10
AT_ONCE = 50
CONTENT = b"x" * 20


async def answer(stream: trio.SocketStream) -> None:
    """One connection of the upstream: read a request to its end, answer in two halves, each in its own time."""
    buffer = b""
    try:
        while True:
            end = b"\r\n0\r\n\r\n" if b"chunked" in buffer else b"\r\n\r\n"
            if end not in buffer:
                data = await stream.receive_some()
                if not data:
                    return
                buffer += data
                continue
            buffer = buffer.partition(end)[2]
            for piece in (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + CONTENT[:10], CONTENT[10:]):
                await trio.sleep(random.random() * 0.002)
                await stream.send_all(piece)
    except trio.BrokenResourceError:
        pass


async def serve() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listeners[0].socket.getsockname()[1], flush=True)
    await trio.serve_listeners(answer, listeners)


@contextmanager
def upstream_process() -> Iterator[int]:
    """The upstream's port."""
    command = [sys.executable, __file__, "upstream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


class Trickle:
    """A body in three pieces, with time between them."""

    length = None

    def __init__(self) -> None:
        self._left = 3

    async def receive(self) -> bytes:
        await trio.sleep(0.0005)
        self._left -= 1
        return b"x" * 1000 if self._left >= 0 else b""


class Aborts:
    """Requests that are given up at random instants, and how many were."""

    def __init__(self, upstream: Upstream) -> None:
        self.done = self.aborted = 0
        self._upstream = upstream

    async def batch(self) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(AT_ONCE):
                nursery.start_soon(self._one, number)

    async def _one(self, number: int) -> None:
        with trio.move_on_after(random.random() * random.choice((0.002, 0.002, 0.03))) as scope:
            if number % 3 == 0:
                async with self._upstream.send_full_duplex(UpstreamRequest(b"POST", b"/", [], Trickle())) as response:
                    await response.read(99)
            else:
                await get(self._upstream)
            self.done += 1
        self.aborted += scope.cancelled_caught


async def get(upstream: Upstream) -> bool:
    with await upstream.send(UpstreamRequest(b"GET", b"/", [])) as response:
        return await response.read(99) == CONTENT


def state(upstream: Upstream) -> dict[str, int]:
    """What must be the same afterwards."""
    gc.collect()
    return {
        "trio tasks": trio.lowlevel.current_statistics().tasks_living,
        "descriptors without idle ones": sum(1 for _ in Path("/proc/self/fd").iterdir()) - upstream.idle,
        "connections in use": upstream.in_use,
        "requests in the queue": upstream.waiting,
    }


def resident() -> float:
    """Megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


async def measure(aborts: int) -> bool:
    with upstream_process() as port:
        upstream = Upstream(f"http://127.0.0.1:{port}", name="upstream", max_connections=CONNECTIONS, idle_timeout=60)
        work = Aborts(upstream)
        while work.aborted < aborts / 10:  # what Python and its allocator keep for ever is no leak
            await work.batch()
        before, memory = state(upstream), resident()
        work.done = work.aborted = 0
        began = time.perf_counter()
        while work.aborted < aborts:
            await work.batch()
        seconds = time.perf_counter() - began
        after, grown = state(upstream), resident() - memory
        print(f"{work.aborted} requests aborted and {work.done} answered in {seconds:.1f} s")
        print(f"{upstream.idle} idle connections kept")
        for name, value in before.items():
            print(f"{name:30} {value:6} -> {after[name]}")
        print(f"{'resident memory':30} {memory:6.1f} -> {memory + grown:.1f} MB")
        good = sum([await get(upstream) for _ in range(1000)])
        print(f"of the next 1000 requests {good} succeeded")
        upstream.close()
        return before == after and grown < 10 and good == 1000


if __name__ == "__main__":
    if sys.argv[1:] == ["upstream"]:
        trio.run(serve)
    else:
        sys.exit(0 if trio.run(measure, int(sys.argv[1]) if sys.argv[1:] else 10_000) else 1)
