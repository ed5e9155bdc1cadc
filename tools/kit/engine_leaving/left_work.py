"""A client that leaves in the middle, and the wait until the processor time of all that work for it stands still."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from tools.kit.http_stream import HttpStream
from tools.kit.processor_time import read_cpu

LONGEST = 60.0
"""Seconds after which the end of the work is not waited for any more."""
WINDOW, NOISE = 0.05, 0.015
"""Seconds of a window, and of processor time in it that are timers and no work: an idle Java has some."""
QUIET = 6
"""Windows in a row without work: on a busy machine, who waits for a processor seems to do nothing as well."""
MIN_WORK = 0.1
"""Seconds of processor time that work has used when its client leaves."""
TIMEOUT = 300.0
PIECE = b"%x\r\n%b\r\n" % (2**20, bytes(2**20))
"""A piece of a body without an end."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Requests that are sent at once, each on a connection of its own, and left after `first` to `last` seconds.

    What is answered before is asked again.
    """

    name: str
    requests: Sequence[bytes]
    endless: bool = False
    """Whether the body of a request goes on until the client leaves."""
    first: float = 0.5
    last: float = 2.0


def make_request(path: str, document: object, *, method: str = "POST") -> bytes:
    """A request with a JSON body, after which the connection ends."""
    body = json.dumps(document).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def make_upload(path: str) -> bytes:
    """The head of an upload whose length is not known."""
    head = f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()


async def finish(port: int, request: bytes) -> None:
    """Send a request, and read its response. Raises RuntimeError if it is an error."""
    with trio.fail_after(TIMEOUT):
        async with HttpStream(await trio.open_tcp_stream("127.0.0.1", port)) as stream:
            await stream.send(request)
            await read_all(stream)


async def leave(port: int, work: Work, pids: Sequence[int], *, after: float) -> float | None:
    """Send the requests, close their connections, and wait; the seconds until all stand still, None: never.

    Raises TooSlowError if nobody works.
    """
    await wait_until_still(pids, time.perf_counter())
    before = read_cpu(pids)
    async with trio.open_nursery() as nursery:
        for request in work.requests:
            nursery.start_soon(_send, port, request, work.endless)
        await trio.sleep(after)
        with trio.fail_after(LONGEST):
            while read_cpu(pids) - before < MIN_WORK:
                await trio.sleep(WINDOW)
        nursery.cancel_scope.cancel()  # closes the connections
    began = time.perf_counter()
    with trio.move_on_after(LONGEST):
        return await wait_until_still(pids, began)
    return None


async def wait_until_still(pids: Sequence[int], began: float) -> float:
    """Wait until nobody has worked for a while; the seconds from `began` to the end of the last window with work."""
    last, quiet, before = began, 0, read_threads(pids)
    while quiet < QUIET:
        await trio.sleep(WINDOW)
        now = read_threads(pids)
        quiet += 1
        if sum(spent - before.get(thread, 0) for thread, spent in now.items()) > NOISE * 1e9:
            last, quiet = time.perf_counter(), 0
        before = now
    return last - began


def read_threads(pids: Sequence[int]) -> dict[int, int]:
    """Nanoseconds of processor time of the threads of processes and of their descendants."""
    found: dict[int, int] = {}
    waiting = list(pids)
    while waiting:
        try:
            threads = [(int(path.name), path) for path in Path(f"/proc/{waiting.pop()}/task").iterdir()]
        except OSError:  # it has ended
            continue
        for number, path in threads:
            with suppress(OSError):
                found[number] = int((path / "schedstat").read_bytes().split()[0])
                waiting += map(int, (path / "children").read_bytes().split())
    return found


async def _send(port: int, request: bytes, endless: bool) -> None:
    while True:
        async with HttpStream(await trio.open_tcp_stream("127.0.0.1", port)) as stream:
            await stream.send(request)
            while endless:
                await stream.send(PIECE)
            await read_all(stream)


async def read_all(stream: HttpStream) -> None:
    """Read a response as it comes."""
    first = await stream.some()
    if not first.startswith(b"HTTP/1.1 2"):
        raise RuntimeError(f"a request failed: {first[:1000].decode(errors='replace')}")
    while await stream.some():
        pass
