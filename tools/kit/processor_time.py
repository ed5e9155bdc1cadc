"""The processor time of processes, and the wait until it stands still."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import trio

TICK = 1 / os.sysconf("SC_CLK_TCK")
WINDOW = 0.05
"""Seconds in which processor time stands still if it grows by one tick at most."""


def read_cpu(roots: Iterable[int]) -> float:
    """Seconds of processor time of processes and of their descendants that run."""
    parents: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            used[int(entry.name)] = (int(fields[11]) + int(fields[12])) * TICK
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    waiting, total = list(roots), 0.0
    while waiting:
        number = waiting.pop()
        total += used.get(number, 0.0)
        waiting += parents.get(number, [])
    return total


async def wait_until_idle(
    roots: Sequence[int], began: float | None = None, *, window: float = WINDOW, most: float = TICK * 1.5
) -> float:
    """Seconds until the processor time of all stands still; the window in which that is seen is not counted.

    `began` is of time.perf_counter(), now if it is not given. `most` is the processor time of a window that still
    counts as none.
    """
    began = time.perf_counter() if began is None else began
    while True:
        start, before = time.perf_counter(), read_cpu(roots)
        await trio.sleep(window)
        if read_cpu(roots) - before <= most:
            return start - began
