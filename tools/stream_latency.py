"""How long a piece of a stream stays with us: from its sending upstream to its arrival at the client, with and without
the service in between. `python -m tools.stream_latency` prints microseconds; the difference is what the service adds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

PIECES = 500
PAUSE = 0.004
"""Seconds between two pieces: long enough that each is alone, as from a model."""

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    """One event in one HTTP chunk."""
    event = {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    data = b"data: " + json.dumps(event).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


async def provider(stream: trio.SocketStream) -> None:
    """Stream pieces that carry the time at which they were sent."""
    async with stream:
        await stream.receive_some()
        await stream.send_all(HEAD)
        for _ in range(PIECES):
            await trio.sleep(PAUSE)
            await stream.send_all(chunk({"content": f"@{time.perf_counter_ns()}@"}))
        await stream.send_all(chunk({}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


async def delays(port: int, path: str, model: str) -> list[float]:
    """Microseconds from sending to arrival of every piece of one stream."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "x"}], "stream": True}).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    found: list[float] = []
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(head.encode() + body)
        while len(found) < PIECES:
            data = await stream.receive_some()
            now = time.perf_counter_ns()
            if not data:
                raise SystemExit("the stream ended early")
            found += [(now - int(stamp)) / 1000 for stamp in data.split(b"@")[1::2]]
    return found


@asynccontextmanager
async def service(provider_port: int) -> AsyncIterator[int]:
    """`lakehouse serve` in a process of its own; its port."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "lakehouse.toml"
        config.write_text(
            f'[chatd]\nollama_url = ""\n[chatd.openrouter]\nbase_url = "http://127.0.0.1:{provider_port}"\n'
            '[observe]\nlog = "json"\n'
        )
        command = [sys.executable, "-m", "lakehouse", "serve", "-c", str(config), "--bind", "127.0.0.1:0"]
        env = {**os.environ, "OPENROUTER_API_KEY": "k"}
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env)
        assert process.stdout is not None
        try:
            yield int((await process.stdout.receive_some()).decode().strip().rpartition(":")[2])
        finally:
            process.terminate()
            with trio.move_on_after(5, shield=True):
                await process.wait()


def line(name: str, found: list[float]) -> str:
    """Median and 99th percentile."""
    percentiles = statistics.quantiles(found, n=100)
    return f"{name:<12} p50 {statistics.median(found):7.0f} us   p99 {percentiles[98]:7.0f} us"


async def main() -> None:
    """Three streams each way, alternating."""
    direct: list[float] = []
    through: list[float] = []
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, provider, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        async with service(port) as served:
            for _ in range(3):
                direct += await delays(port, "/chat/completions", "m")
                through += await delays(served, "/v1/chat", "openrouter/m")
        nursery.cancel_scope.cancel()
    print(line("direct", direct))
    print(line("through us", through))
    print(f"added: {statistics.median(through) - statistics.median(direct):.0f} us at the median")


if __name__ == "__main__":
    trio.run(main)
