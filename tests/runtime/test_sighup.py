"""SIGHUP from a terminal that is closed: the service ends with it, unless it was started to outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ON_A_TERMINAL = """
import fcntl, runpy, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, getattr(signal, sys.argv.pop(1)))
runpy.run_module("lakehouse", run_name="__main__", alter_sys=True)
"""


class ServiceOnTerminal:
    """`lakehouse serve` with a terminal of its own."""

    def __init__(self, process: subprocess.Popen[str], terminal: int) -> None:
        assert process.stdout is not None
        self.process = process
        self._terminal = terminal
        self.url = process.stdout.readline().split()[-1]

    def close_terminal(self) -> None:
        os.close(self._terminal)


@contextmanager
def open_service_on_terminal(folder: Path, disposition: str) -> Iterator[ServiceOnTerminal]:
    """Start it, with this disposition of SIGHUP: `nohup` has it ignored."""
    file, log = folder / "lakehouse.toml", folder / "log"
    file.write_text('[gateway]\nbind = "127.0.0.1:0"\n[chatd]\nollama_url = ""\n')
    command = [sys.executable, "-c", ON_A_TERMINAL, disposition, "serve", "-c", str(file)]
    terminal, inside = os.openpty()
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            stdin=inside,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env={**os.environ, "XDG_DATA_HOME": str(folder)},
        )
    os.close(inside)
    with process:
        try:
            yield ServiceOnTerminal(process, terminal)
        finally:
            process.terminate()


def test_the_service_drains_when_its_terminal_is_closed(tmp_path: Path) -> None:
    with open_service_on_terminal(tmp_path, "SIG_DFL") as service:
        service.close_terminal()
        assert service.process.wait(30) == 0
    assert "the terminal is gone: the service stops" in (tmp_path / "log").read_text()


def test_a_service_that_was_started_with_nohup_reads_its_configuration_and_goes_on(tmp_path: Path) -> None:
    with open_service_on_terminal(tmp_path, "SIG_IGN") as service:
        service.close_terminal()
        deadline = time.monotonic() + 30
        while "the configuration was reloaded" not in (tmp_path / "log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert httpx.get(f"{service.url}/readyz", trust_env=False).status_code == 200
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == 0
