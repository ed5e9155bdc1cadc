"""What the tests of child processes share: specifications of children, and what is left of them afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import trio

from lakehouse.process.spec import ChildSpec

TESTS = str(Path(__file__).parents[2] / "tests")


def child_spec(target: str, settings: object = None, **options: Any) -> ChildSpec:
    """A child that runs a function of `targets`."""
    encoded = msgspec.json.encode(settings)
    return ChildSpec(name="the child", target=f"tests.process.targets:{target}", settings=encoded, **options)


def program_spec(source: str, **options: Any) -> ChildSpec:
    """A child that runs a program of its own in the place of our bootstrap."""
    import sys

    return ChildSpec(name="the child", command=(sys.executable, "-c", source), **options)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie that waits for init does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def children(pid: int | str = "self") -> set[int]:
    """The children of a process, zombies included."""
    found: set[int] = set()
    for thread in Path(f"/proc/{pid}/task").iterdir():  # a child belongs to the thread that forked
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ends leaves its children to another one
            found.update(map(int, (thread / "children").read_text().split()))
    return found


def descriptors() -> set[tuple[int, str]]:
    """What this process has open, by number and by what it is."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add((int(entry.name), str(entry.readlink())))
    return {(number, what) for number, what in found if not what.startswith("/proc/")}


@contextmanager
def assert_nothing_left() -> Iterator[None]:
    """Whatever the block does, afterwards there are no more children, zombies and descriptors than before."""
    before = descriptors(), children()
    yield
    assert (descriptors(), children()) == before


async def wait_until(condition: Callable[[], object], *, seconds: float = 20) -> None:
    """Wait for something that another process does."""
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.005)


async def wait_dead(*pids: int) -> None:
    """Wait for the end of processes."""
    await wait_until(lambda: not any(map(is_alive, pids)))


def processor_seconds(pid: int) -> float:
    """How much processor time a process has used; what it used last if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def wait_until_idle(
    list_pids: Callable[[], Collection[int]] = children, *, seconds: float, windows: int = 1
) -> None:
    """Wait until processes use less than 0.02 s of processor time in a tenth of a second, `windows` times in a row.

    A tenth of a second in which one of them starts or ends is busy. Raises trio.TooSlowError after `seconds`.
    """
    idle = 0
    with trio.fail_after(seconds):
        while idle < windows:
            pids = set(list_pids())
            before = sum(map(processor_seconds, pids))
            await trio.sleep(0.1)
            used = sum(map(processor_seconds, pids)) - before
            idle = idle + 1 if used < 0.02 and set(list_pids()) == pids else 0
