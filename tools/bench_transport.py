"""What does a request cost through our client, and through httpx's own transport?

    python tools/bench_transport.py [REQUESTS]

The same GET with an answer of 1 KiB, over 1, 16 and 64 connections: through `httpx.AsyncHTTPTransport`, through
`lakehouse.upstream.httpx_transport.UpstreamTransport` behind the same interface, and through `Upstream` itself, as the
gateway calls it. Prints microseconds of CPU a request, the least of five rounds that take turns, and the ratio to
httpx's. The upstream runs in a process of its own; with two processors or more each has one of them.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import httpx
import trio

from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.httpx_transport import UpstreamTransport
from lakehouse.upstream.pool import Upstream

ROUNDS = 5
HEADERS = [
    ("Accept", "*/*"),
    ("User-Agent", "bench"),
    ("X-Request-Id", "0123456789abcdef"),
    ("Accept-Encoding", "gzip"),
]
RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS]
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: bench\r\n"
    b"Content-Length: 1024\r\n\r\n" + b"x" * 1024
)

Get = Callable[[], Awaitable[int]]


class Answering(asyncio.Protocol):
    """The upstream: one answer for every empty line."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(self._transport, asyncio.WriteTransport)
        self._transport.write(ANSWER * data.count(b"\r\n\r\n"))


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def through_httpx(transport: httpx.AsyncBaseTransport, url: str) -> Get:
    parsed = httpx.URL(url)

    async def get() -> int:
        response = await transport.handle_async_request(httpx.Request("GET", parsed, headers=HEADERS))
        try:
            return len(await response.aread())
        finally:
            await response.aclose()

    return get


def through_upstream(upstream: Upstream) -> Get:
    async def get() -> int:
        with await upstream.send(UpstreamRequest(b"GET", b"/", RAW_HEADERS)) as response:
            return len(await response.read(4096))

    return get


async def cost(get: Get, connections: int, requests: int) -> float:
    """Microseconds of this process's CPU for one request."""

    async def client() -> None:
        for _ in range(requests // connections):
            assert await get() == 1024

    began = time.process_time()
    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            nursery.start_soon(client)
    return (time.process_time() - began) / (requests // connections * connections) * 1e6


async def compare(port: int, requests: int) -> None:
    url = f"http://127.0.0.1:{port}/"
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    print("CPU a request, us   httpx's transport   ours behind it     ratio   Upstream itself     ratio")
    for connections in (1, 16, 64):
        upstream = Upstream(url, name="bench", response_timeout=60, idle_timeout=60)
        async with httpx.AsyncHTTPTransport(limits=limits, trust_env=False) as theirs:
            ways = {
                "httpx": through_httpx(theirs, url),
                "ours": through_httpx(UpstreamTransport([upstream]), url),
                "upstream": through_upstream(upstream),
            }
            best = dict.fromkeys(ways, float("inf"))
            for _ in range(ROUNDS):
                for name, get in ways.items():
                    best[name] = min(best[name], await cost(get, connections, requests))
        upstream.close()
        ours, direct = best["httpx"] / best["ours"], best["httpx"] / best["upstream"]
        print(
            f"{connections:3} connections {best['httpx']:20.0f} {best['ours']:16.0f} {ours:8.1f}x"
            f" {best['upstream']:16.0f} {direct:8.1f}x",
            flush=True,
        )


def pin(number: int) -> None:
    """Keep this process on one of its processors, if it has several."""
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {processors[number % len(processors)]})


def main() -> None:
    if sys.argv[1:] == ["upstream"]:
        pin(0)
        asyncio.run(serve())
    command = [sys.executable, __file__, "upstream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        pin(1)
        try:
            assert process.stdout is not None
            trio.run(compare, int(process.stdout.readline()), int(sys.argv[1]) if sys.argv[1:] else 3000)
        finally:
            process.kill()


if __name__ == "__main__":
    main()
