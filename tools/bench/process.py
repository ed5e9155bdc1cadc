"""Processes of the bench: started pinned to a core, measured through /proc, and always stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

PAGE = os.sysconf("SC_PAGE_SIZE")


class Running:
    """A process and its children, for a `with` block."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cores: str,
        name: str,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self.name = name
        self.ready_after = 0.0
        self._started = time.perf_counter()
        with ExitStack() as stack:
            out = stack.enter_context(log.open("wb")) if log else subprocess.DEVNULL
            self.process = subprocess.Popen(
                ["taskset", "-c", cores, *command],
                env={**_environment(), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        _keep_niceness(self.process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and its children: politely, and after three seconds not."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, sign)
            except ProcessLookupError:
                break
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                continue
        self.process.wait()

    def wait_until_ready(self, port: int, *, timeout: float = 90.0) -> None:
        """Until it answers a request, whatever it says; `ready_after` are the seconds since its start."""
        while time.perf_counter() - self._started < timeout:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with status {self.process.returncode} before it was ready")
            if answers(port):
                self.ready_after = time.perf_counter() - self._started
                return
            time.sleep(0.005)
        raise RuntimeError(f"{self.name} did not answer on port {port} within {timeout} s")

    def pids(self) -> list[int]:
        """It and all processes that descend from it; a child may have a session of its own."""
        found = {self.process.pid}
        parents = {
            int(entry.name): _parent(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()
        }
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found & parents.keys())

    def cpu_seconds(self) -> float:
        """User and system time used so far, of all its processes."""
        return sum(map(_cpu_seconds, self.pids()))

    def own_cpu_seconds(self) -> float:
        """The same without its children."""
        return _cpu_seconds(self.process.pid)

    def child_cpu_seconds(self, program: str) -> float:
        """The same of those of its processes whose command has this text."""
        return sum(_cpu_seconds(pid) for pid in self.pids() if program.encode() in _command(pid))

    def resident_bytes(self) -> int:
        """Memory in use, of all its processes; shared pages count once for each."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE for pid in self.pids())


def _environment() -> dict[str, str]:
    """Ours without what would change how an interpreter runs: bytecode is cached, as it is where we are installed."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON") or name == "PYTHONPATH"}


def _keep_niceness(pid: int) -> None:
    """A session is a scheduling group of its own on Linux, in which our niceness would count for nothing."""
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(os.nice(0)))


def _cpu_seconds(pid: int) -> float:
    """From the process' clock, as clock_getcpuclockid(3) names it: /proc tells hundredths of a second."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:  # it has ended
        return 0.0


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else -1


def answers(port: int) -> bool:
    """Whether somebody there speaks HTTP."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            return sock.recv(5) == b"HTTP/"
    except OSError:
        return False


def established(port: int) -> int:
    """Connections that clients on this machine have open to `port`."""
    rows = (row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)
