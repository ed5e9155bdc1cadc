"""The `lakehouse` program in a process of its own: what it prints, where, and with which status it ends."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import trio

from tools.kit.command_server import CommandServer

ROOT = Path(__file__).parents[2]


@dataclass
class Ran:
    """How a run ended and what it said."""

    status: int
    out: str
    err: str


@cache
def start_server() -> CommandServer:
    """The process that runs commands, one for all tests of a process."""
    return CommandServer()


async def lakehouse(*arguments: str, cwd: Path, stdin: str = "", env: dict[str, str] | None = None) -> Ran:
    """Run it to its end, in a directory of its own and with no keys but those given."""
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    status, out, err = await start_server().run(
        arguments, cwd=cwd, stdin=stdin.encode(), env={**clean, "PYTHONPATH": str(ROOT), **(env or {})}
    )
    return Ran(status, out.decode(), err.decode())


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
