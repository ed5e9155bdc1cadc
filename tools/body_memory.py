"""Large bodies through the service: the same bytes arrive at the other end, and its memory does not grow.

    python -m tools.body_memory            1 GiB up and 1 GiB down
    python -m tools.body_memory --mib 64   as the tests do it

The service runs in a process of its own; client and upstream are in this one. Exit status 1 if a digest differs or the
service's peak of memory rises by more than `--limit` MB over what it was after a first, small transfer.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from functools import partial

import trio

from tools.kit.serve_process import ServeProcess, run_lakehouse

MIB = 1024 * 1024
TAIL = os.urandom(MIB - 8)


def blocks(count: int) -> Iterator[bytes]:
    """A body of `count` MiB in which no two blocks are alike."""
    for number in range(count):
        yield number.to_bytes(8, "big") + TAIL


class Upstream:
    """Digests what it is sent; sends `mib` MiB when it is asked for something."""

    def __init__(self) -> None:
        self.mib = 0
        self.digest = ""
        self.port = 0

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        await trio.serve_listeners(self._connection, listeners, task_status=task_status)  # type: ignore[arg-type]

    async def _connection(self, stream: trio.SocketStream) -> None:
        async with stream:
            while head := await read_head(stream):
                start, length, rest = head
                if start.startswith(b"PUT"):
                    self.digest = await digest(stream, length, rest)
                    await stream.send_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                else:
                    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (self.mib * MIB))
                    self.digest = await send(stream, self.mib)


async def read_head(stream: trio.SocketStream) -> tuple[bytes, int, bytes] | None:
    """A start line, the length of the body, and what came with the head; None at the end of the stream."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some(65536)
        if not more:
            return None
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    start, *lines = head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
    return start.upper(), length, rest


async def digest(stream: trio.SocketStream, length: int, rest: bytes) -> str:
    """SHA-256 of a body of `length` bytes, of which `rest` is here."""
    sha = hashlib.sha256(rest)
    left = length - len(rest)
    while left:
        data = await stream.receive_some(min(left, MIB))
        if not data:
            raise EOFError(f"the body ended {left} bytes early")
        sha.update(data)
        left -= len(data)
    return sha.hexdigest()


async def send(stream: trio.SocketStream, mib: int) -> str:
    """Send a body, and say what its SHA-256 is."""
    sha = hashlib.sha256()
    for block in blocks(mib):
        sha.update(block)
        await stream.send_all(block)
    return sha.hexdigest()


async def transfer(direction: str, mib: int, upstream: Upstream, running: ServeProcess) -> bool:
    """One body through the service; whether both ends saw the same."""
    upstream.mib = mib
    async with await trio.open_tcp_stream(running.host, running.port) as stream:
        if direction == "up":
            head = b"PUT /v1/storage/x HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (mib * MIB)
            await stream.send_all(head)
            sent = await send(stream, mib)
            answer = await read_head(stream)
            return answer is not None and b" 204 " in answer[0] and sent == upstream.digest
        await stream.send_all(b"GET /v1/storage/x HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = await read_head(stream)
        assert answer is not None
        return b" 200 " in answer[0] and await digest(stream, answer[1], answer[2]) == upstream.digest


async def measure(mib: int, limit: float) -> bool:
    """Both directions; whether all went well."""
    well = True
    upstream = Upstream()
    async with trio.open_nursery() as nursery:
        await nursery.start(upstream.serve)
        with run_lakehouse({"gateway": {"storaged_url": f"http://127.0.0.1:{upstream.port}"}}) as running:
            for direction in ("up", "down"):
                await transfer(direction, 8, upstream, running)
            for direction in ("up", "down"):
                running.forget_peak()
                before = running.rss
                started = time.perf_counter()
                same = await transfer(direction, mib, upstream, running)
                seconds = time.perf_counter() - started
                grown = (running.peak - before) / 1e6
                well &= same and grown < limit
                print(
                    f"{direction:4} {mib} MiB in {seconds:.1f} s ({mib / seconds:.0f} MiB/s): digests "
                    f"{'match' if same else 'DIFFER'}, memory {before / 1e6:.1f} MB {grown:+.1f} MB"
                )
        nursery.cancel_scope.cancel()
    return well


def main() -> int:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024, help="size of a body (default: 1024)")
    parser.add_argument("--limit", type=float, default=40.0, help="MB that memory may grow by (default: 40)")
    arguments = parser.parse_args()
    return 0 if trio.run(partial(measure, arguments.mib, arguments.limit)) else 1


if __name__ == "__main__":
    sys.exit(main())
