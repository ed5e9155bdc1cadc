"""What does accounting cost, in instructions of the process that serves requests?

    python -m tools.accounting_instructions [REQUESTS]

Counts under valgrind what the variants of `tools.bench.accounting` execute outside of the kernel for one relayed GET
and for one whole chat. A count does not depend on what else the machine does, or on how fast it is. Needs valgrind, and
nginx for the upstream; takes ten minutes. What other processes do with the rows is in the bench alone.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from http.client import HTTPResponse
from pathlib import Path

import trio

from lakehouse.telemetry.traffic_ipc import Batch, serve_batches
from tools.bench.accounting import CONNECTIONS, VARIANTS, Variant
from tools.bench.counted import SLOWER
from tools.bench.gateways import KEYS, Lakehouse
from tools.bench.load import Target
from tools.bench.peer import PORT
from tools.bench.process import Running
from tools.bench.upstream import fake_upstream

REQUESTS = 4096
"""Of each variant."""
WARM_REQUESTS = 1024
SETTLED_AFTER = 0.1 * SLOWER
"""Seconds after which the log has the last lines."""
SENT_AFTER = 1.3 * SLOWER
"""Seconds after which the last rows have been sent."""


def main() -> None:
    """Count each variant of both kinds of requests, and print the table."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(fake_upstream(directory / "up", cores=cores))
        stack.enter_context(_open_sink(directory / "rows"))
        gateway = CountedLakehouse(directory, port=PORT + 1, options=f'[lake]\npath = "{directory}/lake"')
        running = stack.enter_context(gateway.start(cores=cores))
        print(f"{'':12}{'':10}{'instructions':>14}{'% of its base':>16}")
        for kind, target in (("relayed GET", gateway.get()), ("whole chat", gateway.chat("whole"))):
            _send(target, WARM_REQUESTS)
            counts: dict[str, float] = {}
            for name, variant in VARIANTS.items():
                counts[name] = gateway.count(running, target, variant, requests)
                share = counts[name] / counts[variant.base] * 100
                print(f"{kind:12}{name:10}{counts[name]:14,.0f}{share:16.1f}", flush=True)


class CountedLakehouse(Lakehouse):
    """The service under valgrind, which counts when it is told to."""

    def start(self, *, cores: str) -> Running:
        """Start it; it answers within a minute."""
        config = self.write_configuration()
        out = f"--callgrind-out-file={self.directory}/count.%p"
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", out]
        command = [*valgrind, sys.executable, "-m", "tools.bench.counted", str(self.directory.parent / "rows")]
        serve = ["serve", "-c", str(config), "--bind", f"127.0.0.1:{self.port}", "--workers", "1"]
        return self.up([*command, *serve], cores=cores, env=dict.fromkeys(KEYS, "bench"))

    def count(self, running: Running, target: Target, variant: Variant, requests: int) -> float:
        """The instructions of one request, its share of what is done in periods included."""
        pid = running.process.pid
        target = replace(target, headers=[*target.headers, *filter(None, [variant.header])])
        running.process.send_signal(signal.SIGUSR1 if variant.tables else signal.SIGUSR2)
        _send(target, requests // 8)
        time.sleep(SENT_AFTER if variant.tables else SETTLED_AFTER)
        _control(pid, "-i", "on")
        _send(target, requests)
        time.sleep(SENT_AFTER if variant.tables else SETTLED_AFTER)
        _control(pid, "-d", "count")
        _control(pid, "-i", "off")
        dumped = max(self.directory.glob("count.*"), key=lambda path: path.stat().st_mtime_ns)
        counted = re.findall(r"^(?:totals|summary): (\d+)", dumped.read_text("latin-1"), re.MULTILINE)
        dumped.unlink()
        return int(counted[-1]) / requests


def _control(pid: int, *options: str) -> None:
    subprocess.run(["callgrind_control", *options, str(pid)], check=True, capture_output=True)


def _send(target: Target, requests: int) -> None:
    """Send requests over several connections, each after the answer to the one before. Raises RuntimeError."""
    wire = target.encode()
    with ExitStack() as stack:
        address = ("127.0.0.1", target.port)
        streams = [stack.enter_context(socket.create_connection(address, timeout=60)) for _ in range(CONNECTIONS)]
        for _ in range(requests // CONNECTIONS):
            for stream in streams:
                stream.sendall(wire)
            for stream in streams:
                with HTTPResponse(stream) as response:
                    response.begin()
                    if response.status != HTTPStatus.OK:
                        raise RuntimeError(f"{target.path} was answered with {response.status}")
                    response.read()


@contextmanager
def _open_sink(path: Path) -> Iterator[None]:
    """A process that takes batches of rows and stores nothing."""
    with subprocess.Popen([sys.executable, "-m", "tools.accounting_instructions", "--sink", str(path)]) as sink:
        try:
            yield
        finally:
            sink.kill()


async def _take(_batch: Batch) -> bool:
    return True


if __name__ == "__main__":
    if sys.argv[1:2] == ["--sink"]:
        trio.run(partial(serve_batches, Path(sys.argv[2]), _take))
    else:
        main()
