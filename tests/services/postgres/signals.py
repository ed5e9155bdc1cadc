"""Signals to a server of PostgreSQL."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tools.kit.scaleout.postgres import Postgres


def stop(server: Postgres, number: signal.Signals) -> None:
    """Send a signal to all processes of a server, which are groups of their own."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    for pid in (server.pid, *map(int, children)):
        os.kill(pid, number)
