"""Load: `wrk` for requests, `curl` for large bodies, an epoll loop for streams that are held open."""

from __future__ import annotations

import json
import re
import select
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPORT = """
done = function(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.connect + summary.errors.timeout
  io.write(string.format('{"requests":%d,"seconds":%f,"bad":%d,"p50":%f,"p99":%f}',
    summary.requests, summary.duration / 1e6, bad, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One request, as every peer gets it in its own way."""

    port: int
    path: str
    headers: Sequence[str] = ()
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What `wrk` saw: requests a second, and latencies in microseconds."""

    per_second: float
    p50: float
    p99: float
    requests: int


def _lua(text: str) -> str:
    """A Lua string; for what is printable ASCII its escapes are JSON's."""
    return json.dumps(text)


def requests(target: Target, *, connections: int, seconds: float, core: int, directory: Path) -> Rate:
    """Keep `connections` busy for `seconds`. Raises RuntimeError if any answer is not a success."""
    script = directory / "wrk.lua"
    lines = [f"wrk.method = '{'POST' if target.body else 'GET'}'"]
    for header in target.headers:
        name, _, value = header.partition(": ")
        lines.append(f"wrk.headers[{_lua(name)}] = {_lua(value)}")
    if target.body:
        lines.append(f"wrk.body = {_lua(target.body.decode())}")
    script.write_text("\n".join(lines) + REPORT)
    url = f"http://127.0.0.1:{target.port}{target.path}"
    command = [
        "taskset",
        "-c",
        str(core),
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "30s",
        "-s",
        str(script),
        url,
    ]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    report = json.loads(printed[printed.index('{"requests') :])
    if report["bad"] or not report["requests"]:
        raise RuntimeError(f"{url}: {report['bad']} of {report['requests']} requests failed")
    return Rate(
        per_second=report["requests"] / report["seconds"],
        p50=report["p50"],
        p99=report["p99"],
        requests=report["requests"],
    )


def large_body(target: Target, *, core: int, upload: Path | None) -> float:
    """Megabytes a second of one large body, down or up."""
    url = f"http://127.0.0.1:{target.port}{target.path}"
    command = [
        "taskset",
        "-c",
        str(core),
        "curl",
        "-sS",
        "--fail",
        "-o",
        "/dev/null",
        "-w",
        "%{size_download} %{size_upload} %{time_total}",
    ]
    for header in target.headers:
        command += ["-H", header]
    command += ["-H", "Expect:", "-T", str(upload), "-X", "POST"] if upload else []
    down, up, seconds = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout.split()
    return max(int(down), int(up)) / 1e6 / float(seconds)


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a crowd of slow streams saw: pieces delivered, and how many came later than the limit."""

    streams: int
    pieces: int
    late: int
    worst_ms: float
    complete: int
    resident: int

    @property
    def late_share(self) -> float:
        """Of all pieces, from 0 to 1."""
        return self.late / self.pieces if self.pieces else 1.0


STAMP = re.compile(rb"@(\d+\.\d+)@")
LATE = 0.1
"""Seconds between an upstream's sending and its arrival after which a piece is late."""


def hold(target: Target, *, streams: int, seconds: float, resident: object = None) -> Held:
    """Open `streams` streams whose pieces carry the time they were sent at, and read them for `seconds`."""
    head = f"POST {target.path} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\nContent-Length: {len(target.body)}\r\n"
    request = (head + "".join(f"{header}\r\n" for header in target.headers) + "\r\n").encode() + target.body
    poll = select.epoll()
    connections: dict[int, socket.socket] = {}
    for _ in range(streams):
        sock = socket.create_connection(("127.0.0.1", target.port))
        sock.sendall(request)
        sock.setblocking(False)
        connections[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
    pieces = late = complete = memory = 0
    worst = 0.0
    end = time.time() + seconds
    middle = time.time() + seconds / 2
    while connections and (now := time.time()) < end:
        if not memory and now > middle and callable(resident):
            memory = resident()
        for descriptor, _ in poll.poll(0.05):
            data = connections[descriptor].recv(65536)
            arrived = time.time()
            for stamp in STAMP.findall(data):
                delay = arrived - float(stamp)
                pieces += 1
                late += delay > LATE
                worst = max(worst, delay)
            if not data or b"[DONE]" in data:
                complete += bool(data)
                poll.unregister(descriptor)
                connections.pop(descriptor).close()
    for sock in connections.values():
        sock.close()
    poll.close()
    return Held(streams=streams, pieces=pieces, late=late, worst_ms=worst * 1000, complete=complete, resident=memory)
