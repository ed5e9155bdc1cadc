"""`lakehouse serve` in a process of its own, which can be killed and started again, and the processes below it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import trio

START_TIMEOUT = 30.0
STOP_TIMEOUT = 20.0
ORPHAN_TIMEOUT = 5.0
"""Seconds after which a process whose parent was killed must have ended."""

ROLES: Mapping[str, bytes] = {
    "services": b"lakehouse.services.host.process:run",
    "tables": b"lakehouse.services.tables.child:run",
    "writer": b"lakehouse.services.engines.writer_child",
    "query": b"lakehouse.services.engines.query_child",
    "retrieval": b"lakehouse.services.retrieval.child",
}
"""Words of the command lines of the processes below the gateway."""

CONFIGURATION = """
[lake]
path = "{lake}"
memory = "600MB"
engines = 2
[chatd]
ollama_url = ""
[observe]
log = "off"
"""


class Process(NamedTuple):
    """A process, by its number and the time it began: numbers are used again."""

    pid: int
    began: str

    def is_alive(self) -> bool:
        """Whether it runs."""
        fields = read_stat(self.pid)
        return bool(fields) and fields[0] != "Z" and fields[19] == self.began

    def kill(self) -> None:
        """Send SIGKILL."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def read_stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the command's name; none for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def find_descendants(pid: int) -> Iterator[Process]:
    """The processes below a process."""
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                fields = read_stat(int(child))
                if fields:
                    yield Process(int(child), fields[19])
                yield from find_descendants(int(child))


def has_role(process: Process, role: str) -> bool:
    """Whether a process has a role of `ROLES`."""
    try:
        return ROLES[role] in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:
        return False


class LakeService:
    """The service on the lake in `folder`, and its successors. `url` is where the present one listens."""

    def __init__(self, folder: Path) -> None:
        self.lake = folder / "lake"
        self.url = ""
        self._folder = folder
        self._configuration = folder / "lakehouse.toml"
        self._configuration.write_text(CONFIGURATION.format(lake=self.lake))
        (folder / "tmp").mkdir()
        self._steps = (folder / "steps").open("w", buffering=1)
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """The process id of the gateway."""
        assert self._process is not None
        return self._process.pid

    def close(self) -> None:
        """Close the file `steps`."""
        self._steps.close()

    async def start(self) -> None:
        """Start the service, and wait until it listens. Raises RuntimeError."""
        self._process = self._open()
        with trio.fail_after(START_TIMEOUT):
            self.url = await trio.to_thread.run_sync(_read_url, self._process, abandon_on_cancel=True)

    def _open(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "lakehouse", "serve", "-c", str(self._configuration), "--bind", "127.0.0.1:0"]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                env={**os.environ, "TMPDIR": str(self._folder / "tmp")},
            )

    async def stop(self) -> int:
        """End the service with SIGTERM. Returns its exit status."""
        assert self._process is not None
        self._process.terminate()
        return await self._wait(STOP_TIMEOUT)

    async def kill(self, victims: list[Process], *, gateway: bool) -> None:
        """Send SIGKILL to these processes and, first, to the gateway."""
        if gateway:
            assert self._process is not None
            self._process.kill()
        for victim in victims:
            victim.kill()
        if gateway:
            await self._wait(STOP_TIMEOUT)

    def trace(self, line: str) -> None:
        """Write a line about what happened, with the time, to the file `steps` in the folder."""
        self._steps.write(f"{trio.current_time():.3f} {line}\n")

    def find(self, role: str) -> list[Process]:
        """The processes of a role."""
        return [process for process in find_descendants(self.pid) if has_role(process, role)]

    async def _wait(self, seconds: float) -> int:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        with trio.fail_after(seconds):
            while (status := process.poll()) is None:
                await trio.sleep(0.005)
        process.stdout.close()
        return status


def _read_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("listening on http://"):
            return line.strip().removeprefix("listening on ")
    raise RuntimeError(f"the service did not start (exit status {process.wait()})")


async def wait_ended(processes: list[Process]) -> list[Process]:
    """Wait for the end of processes whose parent was killed. Returns those that still run after `ORPHAN_TIMEOUT`."""
    with trio.move_on_after(ORPHAN_TIMEOUT):
        while any(process.is_alive() for process in processes):
            await trio.sleep(0.005)
    return [process for process in processes if process.is_alive()]
