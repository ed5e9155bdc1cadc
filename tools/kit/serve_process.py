"""The service in a process of its own, for what cannot be measured from inside."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0


class ServeProcess(NamedTuple):
    """Where it listens, and its process id."""

    host: str
    port: int
    pid: int

    @property
    def rss(self) -> int:
        """Bytes of memory that it occupies now."""
        return self._status("VmRSS")

    @property
    def peak(self) -> int:
        """The most that it has occupied since it began, or since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Count the peak from here."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _status(self, field: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


@contextmanager
def run_lakehouse(
    tables: Mapping[str, Mapping[str, object]], *arguments: str, log: Path | None = None
) -> Iterator[ServeProcess]:
    """`lakehouse serve` with these tables as its configuration, on a free port, until the block ends."""
    document = "".join(f"[{name}]\n" + "".join(_lines(table)) for name, table in tables.items())
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(document)
        file.flush()
        with run_configured(Path(file.name), *arguments, log=log) as process:
            yield process


@contextmanager
def run_configured(configuration: Path, *arguments: str, log: Path | None = None) -> Iterator[ServeProcess]:
    """`lakehouse serve` with a configuration file, on a free port, until the block ends.

    Its log goes to a file, or to stderr.
    """
    command = [sys.executable, "-m", "lakehouse", "serve", "-c", str(configuration), "--bind", "127.0.0.1:0"]
    with nullcontext() if log is None else log.open("w") as errors:
        process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        host, port = _address(process)
        yield ServeProcess(host, port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _lines(table: Mapping[str, object]) -> Iterator[str]:
    for key, value in table.items():
        yield f"{key} = {json.dumps(value)}\n"  # of strings, numbers and booleans TOML and JSON think alike


def _address(process: subprocess.Popen[str]) -> tuple[str, int]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("listening on http://"):
            host, _, port = line.strip().rpartition("/")[2].rpartition(":")
            return host, int(port)
    raise RuntimeError(f"the service did not start (exit status {process.wait()})")
