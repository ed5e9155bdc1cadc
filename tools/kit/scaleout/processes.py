"""Servers as processes: started, awaited, stopped."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0


def find_free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nothing listens on. Another program may take them before they are used.

    They are below those that the system gives to connections, of which a server that has started has many.
    """
    end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < count:
            port = random.randrange(end // 2, end) if end > 4096 else 0
            with suppress(OSError):
                sockets.append(socket.create_server(("127.0.0.1", port)))
        return [found.getsockname()[1] for found in sockets]
    finally:
        for found in sockets:
            found.close()


def wait_until(
    is_ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, *, timeout: float = START_TIMEOUT
) -> None:
    """Wait until a server is ready. Raises RuntimeError, with the end of its log, if it ends or takes too long."""
    limit = monotonic() + timeout
    while not is_ready():
        if process.poll() is not None or monotonic() > limit:
            raise RuntimeError(f"a server did not start: {log.read_text('utf-8', 'replace')[-2000:]}")
        sleep(0.05)


def accepts(port: int) -> bool:
    """Whether a port of the loopback interface accepts connections."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextmanager
def run_server(
    command: Sequence[str],
    log: Path,
    *,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    stop: signal.Signals = signal.SIGINT,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for the length of the block, as the leader of a process group that is ended with it.

    `stop` is the signal for that: SIGKILL for servers that take their time, and have nothing to lose.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            user=user,
            env=environment,
            cwd=directory,
        )
    try:
        yield process
    finally:
        end_group(process, stop)


def end_group(process: subprocess.Popen[bytes], stop: signal.Signals = signal.SIGINT) -> None:
    """End a process and its children: with a signal, and after a while with SIGKILL."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, stop)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_TIMEOUT)
