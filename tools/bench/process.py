"""Processes of the bench: started pinned to a core, measured through /proc, and always stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Running:
    """A process and its children, for a `with` block."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        core: int | None,
        name: str,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        pinned = ["taskset", "-c", str(core), *command] if core is not None else list(command)
        self.name = name
        self.started = time.perf_counter()
        self._log = log.open("wb") if log else subprocess.DEVNULL
        self.process = subprocess.Popen(
            pinned, env={**os.environ, **(env or {})}, stdout=self._log, stderr=self._log, start_new_session=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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

    def pids(self) -> list[int]:
        """All processes of its session."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _session(int(entry.name)) == self.process.pid:
                found.append(int(entry.name))
        return found

    def cpu_seconds(self) -> float:
        """User and system time used so far, of all its processes."""
        total = 0
        for pid in self.pids():
            fields = _stat(pid)
            total += int(fields[11]) + int(fields[12]) if fields else 0
        return total / TICKS

    def resident_bytes(self) -> int:
        """Memory in use, of all its processes; shared pages count once for each."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE for pid in self.pids())


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _session(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[3]) if fields else -1


def wait_for(port: int, running: Running, *, timeout: float = 90.0) -> float:
    """Until it accepts connections; the seconds since it was started."""
    while time.perf_counter() - running.started < timeout:
        if running.process.poll() is not None:
            raise RuntimeError(f"{running.name} ended with status {running.process.returncode} before it was ready")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.005)
        else:
            return time.perf_counter() - running.started
    raise RuntimeError(f"{running.name} did not listen on port {port} within {timeout} s")
