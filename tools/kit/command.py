"""The `lakehouse` program in a process of its own: what it prints, where, and with which status it ends."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import trio

ROOT = Path(__file__).parents[2]


@dataclass
class Ran:
    """How a run ended and what it said."""

    status: int
    out: str
    err: str


async def lakehouse(*arguments: str, cwd: Path, stdin: str = "", env: dict[str, str] | None = None) -> Ran:
    """Run it to its end, in a directory of its own and with no keys but those given."""
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    done = await trio.run_process(
        [sys.executable, "-m", "lakehouse", *arguments],
        stdin=stdin.encode(),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        cwd=cwd,
        env={**clean, "PYTHONPATH": str(ROOT), **(env or {})},
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


async def lakehouse_on_a_terminal(*arguments: str, cwd: Path, columns: int = 80) -> Ran:
    """Run it with a terminal as its standard output and error, which are not told apart: both are `out`."""
    outer, inner = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": str(columns), "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "lakehouse", *arguments]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.DEVNULL, stdout=inner, stderr=inner, cwd=cwd, env=env
    )
    os.close(inner)
    shown = b""
    try:
        while piece := await trio.to_thread.run_sync(os.read, outer, 65536):
            shown += piece
    except OSError:  # EIO: the other side is closed
        pass
    os.close(outer)
    return Ran(await process.wait(), shown.decode().replace("\r\n", "\n"), "")
