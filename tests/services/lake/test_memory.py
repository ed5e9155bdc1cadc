"""The share-out of memory and processors over the engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakehouse.config import LakeTable
from lakehouse.services.lake.memory import (
    MIN_ENGINE_MEMORY,
    budget_of,
    count_processors,
    read_available_memory,
    share_memory,
)

GIB = 2**30


@pytest.mark.parametrize(
    ("memory", "budget"), [("50%", 8 * GIB), ("100%", 16 * GIB), ("2147483648", 2 * GIB), (str(99 * GIB), 16 * GIB)]
)
def test_the_budget_is_a_share_or_a_size_within_the_machine(memory: str, budget: int) -> None:
    assert budget_of(memory, 16 * GIB) == budget


@pytest.mark.parametrize(
    ("engines", "processors", "query", "write"),
    [
        (0, 2, (2, 2), (2, 2)),
        (0, 1, (1, 1), (1, 1)),
        (0, 64, (8, 16), (2, 64)),
        (4, 2, (4, 1), (2, 2)),
    ],
)
def test_engines_follow_the_processors_up_to_eight(
    engines: int, processors: int, query: tuple[int, int], write: tuple[int, int]
) -> None:
    shares = share_memory(LakeTable(engines=engines), machine_memory=16 * GIB, processors=processors)
    assert (shares.query.engines, shares.query.threads) == query
    assert (shares.write.engines, shares.write.threads) == write


def test_all_engines_together_stay_within_the_budget() -> None:
    shares = share_memory(LakeTable(memory="50%"), machine_memory=16 * GIB, processors=4)
    used = sum(share.engines * share.memory for share in (shares.query, shares.write))
    assert 7.9 * GIB < used <= 8 * GIB


def test_a_small_budget_reduces_the_number_of_engines() -> None:
    shares = share_memory(LakeTable(memory=str(4 * MIN_ENGINE_MEMORY)), machine_memory=16 * GIB, processors=8)
    assert (shares.query.engines, shares.query.memory) == (2, MIN_ENGINE_MEMORY * 4 // 3)
    tiny = share_memory(LakeTable(memory="1"), machine_memory=16 * GIB, processors=8)
    assert (tiny.query.engines, tiny.query.memory, tiny.write.engines) == (1, MIN_ENGINE_MEMORY, 1)


def machine(root: Path, cgroup: str, limits: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal:       16777216 kB\nMemFree: 1 kB\n")
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in limits.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("cgroup", "limits", "expected"),
    [
        ("0::/\n", {}, 16 * GIB),
        ("0::/app/x\n", {"app/x/memory.max": "max\n", "app/memory.max": f"{2 * GIB}\n"}, 2 * GIB),
        ("0::/app\n", {"memory.max": f"{GIB}\n"}, GIB),
        ("0::/app\n", {"app/memory.max": f"{64 * GIB}\n"}, 16 * GIB),
        ("5:cpu,memory:/docker/1\n", {"memory/docker/1/memory.limit_in_bytes": f"{3 * GIB}\n"}, 3 * GIB),
        ("5:memory:/docker/1\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 16 * GIB),
    ],
)
def test_the_memory_is_the_smallest_limit_of_machine_and_cgroups(
    tmp_path: Path, cgroup: str, limits: dict[str, str], expected: int
) -> None:
    assert read_available_memory(machine(tmp_path, cgroup, limits)) == expected


def test_this_machine_has_memory_and_a_processor() -> None:
    assert read_available_memory() > MIN_ENGINE_MEMORY
    assert count_processors() >= 1
