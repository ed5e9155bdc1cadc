"""Load on a gateway: `wrk` for requests, `curl` for large bodies, sockets of our own for single streams."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

REPORT = """
done = function(summary, latency, requests)
  local errors = summary.errors
  local bad = errors.status + errors.read + errors.write + errors.connect + errors.timeout
  io.write(string.format('{"requests":%d,"seconds":%f,"bad":%d,"p50":%f,"p99":%f}',
    summary.requests, summary.duration / 1e6, bad, latency:percentile(50), latency:percentile(99)))
end
"""

IN_TURN = """
requests, last = {}, 0
init = function()
  for number, body in ipairs(bodies) do requests[number] = wrk.format(nil, nil, nil, body) end
end
request = function()
  last = last % #requests + 1
  return requests[last]
end
"""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One request, as a gateway gets it in its own way; with `bodies` several, which `wrk` sends in turn."""

    port: int
    path: str
    headers: Sequence[str] = ()
    body: bytes = b""
    bodies: Sequence[bytes] = ()

    @property
    def url(self) -> str:
        """For curl and wrk."""
        return f"http://127.0.0.1:{self.port}{self.path}"

    def encode(self) -> bytes:
        """For a socket."""
        lines = [
            f"{'POST' if self.body else 'GET'} {self.path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            *self.headers,
        ]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


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


def requests(target: Target, *, connections: int, seconds: float, cores: str, directory: Path) -> Rate:
    """Keep `connections` busy for `seconds`. Raises RuntimeError if any answer is not a success."""
    script = directory / "wrk.lua"
    lines = [f"wrk.method = '{'POST' if target.body or target.bodies else 'GET'}'"]
    for header in target.headers:
        name, _, value = header.partition(": ")
        lines.append(f"wrk.headers[{_lua(name)}] = {_lua(value)}")
    if target.body:
        lines.append(f"wrk.body = {_lua(target.body.decode())}")
    if target.bodies:
        lines.append(f"bodies = {{{', '.join(_lua(body.decode()) for body in target.bodies)}}}")
    script.write_text("\n".join(lines) + (IN_TURN if target.bodies else "") + REPORT)
    options = ["-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "30s", "-s", str(script)]
    printed = _run(["taskset", "-c", cores, "wrk", *options, target.url])
    report = json.loads(printed[printed.index('{"requests') :])
    if report["bad"] or not report["requests"]:
        raise RuntimeError(f"{report['bad']} of {report['requests']} requests to {target.path} failed")
    rate = report["requests"] / report["seconds"]
    return Rate(per_second=rate, p50=report["p50"], p99=report["p99"], requests=report["requests"])


def large_body(target: Target, *, cores: str, upload: Path | None = None) -> float:
    """Megabytes a second of one large body, down or up. Raises RuntimeError if it does not arrive whole."""
    command = ["taskset", "-c", cores, "curl", "-sS", "--fail", "--max-time", "60", "-o", "/dev/null"]
    command += ["-w", "%{size_download} %{size_upload} %{time_total}"]
    for header in target.headers:
        command += ["-H", header]
    if upload:
        command += ["-H", "Expect:", "-H", "content-type: application/octet-stream", "-T", str(upload), "-X", "POST"]
    down, up, seconds = _run([*command, target.url]).split()
    return max(int(down), int(up)) / 1e6 / float(seconds)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or f"{command[3]} ended with status {done.returncode}")[:200])
    return done.stdout


def first_piece(target: Target, *, tries: int) -> float:
    """Median seconds from sending a request to the first piece of its stream, one stream at a time."""
    request, times = target.encode(), []
    with socket.create_connection(("127.0.0.1", target.port), timeout=30) as sock:
        for _ in range(tries):
            started = time.perf_counter()
            sock.sendall(request)
            data, seen = b"", False
            while not data.endswith(b"0\r\n\r\n"):
                received = sock.recv(262144)
                if not received:
                    raise RuntimeError(f"the stream of {target.path} was cut: {data[:120]!r}")
                data = data[-16:] + received
                if not seen and b"data:" in data:
                    times.append(time.perf_counter() - started)
                    seen = True
    if len(times) < tries:
        raise RuntimeError(f"{target.path} answered without a stream")
    return median(times)


def at_once(target: Target, count: int) -> None:
    """`count` requests at the same time, each answered before anyone leaves."""
    with ExitStack() as stack:
        crowd = [
            stack.enter_context(socket.create_connection(("127.0.0.1", target.port), timeout=60)) for _ in range(count)
        ]
        for sock in crowd:
            sock.sendall(target.encode())
        for sock in crowd:
            if b" 200 " not in sock.recv(65536)[:16]:
                raise RuntimeError(f"{target.path} does not answer 200")


@contextmanager
def idle_clients(target: Target, count: int) -> Iterator[None]:
    """Clients that have been answered once and keep their connections, for the block."""
    request, crowd = target.encode(), []
    try:
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", target.port), timeout=30)
            crowd.append(sock)
            sock.sendall(request)
            if b" 200 " not in sock.recv(65536)[:16]:
                raise RuntimeError(f"{target.path} does not answer 200")
        yield
    finally:
        for sock in crowd:
            # A reset leaves no TIME_WAIT, of which there is only room for some 28,000 ports.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
