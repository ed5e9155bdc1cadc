"""The share-out of `[lake] memory` and of the processors over the engines.

The engines that run SQL and those that read uploads share the budget; at most `engines` of each kind run at a time. Two
thirds of the memory are for SQL, one third is for uploads: a query holds hash tables and sorts, an upload is read as a
stream. The memory of one engine is never below `MIN_ENGINE_MEMORY`; a budget that is too small for the configured
number of engines reduces their number first.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lakehouse.config.lake_tables import LakeTable

MAX_ENGINES = 8
"""Engines of each kind if `[lake] engines` is 0."""

MAX_WRITE_ENGINES = 2
"""Engines that read uploads: they are bound by the disk, and each of them uses several threads."""

MIN_ENGINE_MEMORY = 256 * 2**20
"""Bytes with which an engine can start and do useful work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineShare:
    """One kind of engines: how many processes, and for each of them the bytes of memory and the threads."""

    engines: int
    memory: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryShares:
    """The shares of the engines that run SQL, and of those that read uploads and write tables."""

    query: EngineShare
    write: EngineShare


def share_memory(table: LakeTable, *, machine_memory: int | None = None, processors: int | None = None) -> MemoryShares:
    """Share the memory and the processors out. Both are those of this process by default."""
    available = read_available_memory() if machine_memory is None else machine_memory
    processors = count_processors() if processors is None else processors
    budget = budget_of(table.memory, available)
    engines = table.engines or min(processors, MAX_ENGINES)
    return MemoryShares(
        query=_share(budget * 2 // 3, engines, processors),
        write=_share(budget // 3, min(engines, MAX_WRITE_ENGINES), processors),
    )


def budget_of(memory: str, available: int) -> int:
    """The bytes of a size, or of a share of `available` (`config.values.memory`); never more than `available`."""
    if memory.endswith("%"):
        return int(available * float(memory.removesuffix("%")) / 100)
    return min(int(memory), available)


def _share(budget: int, engines: int, processors: int) -> EngineShare:
    engines = max(1, min(engines, budget // MIN_ENGINE_MEMORY))
    threads = max(1, min(processors, -(-2 * processors // engines)))  # twice the processors: engines rarely all run
    return EngineShare(engines=engines, memory=max(budget // engines, MIN_ENGINE_MEMORY), threads=threads)


def count_processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


def read_available_memory(root: Path = Path("/")) -> int:
    """The memory of the machine, or of the cgroup of this process or one above it, whichever is the smallest."""
    return min([_read_total(root), *_read_cgroup_limits(root)])


def _read_total(root: Path) -> int:
    for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no MemTotal")


def _read_cgroup_limits(root: Path) -> list[int]:
    """The limits of all cgroups of this process that can be read, version 1 and 2.

    A cgroup of version 1 without a limit has a number near the largest one of its type, one of version 2 the word
    "max", which is left out.
    """
    limits: list[int] = []
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return limits
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            limits += _read_limits_upwards(root / "sys/fs/cgroup", group, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _read_limits_upwards(root / "sys/fs/cgroup/memory", group, "memory.limit_in_bytes")
    return limits


def _read_limits_upwards(mount: Path, group: str, name: str) -> list[int]:
    """The limits of a group and of all groups above it; in a container the mount itself may be the group."""
    limits = []
    relative = Path(group.lstrip("/"))
    for place in (relative, *relative.parents):
        try:
            text = (mount / place / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdecimal():
            limits.append(int(text))
    return limits
