"""A test that does not end says where it stands, and ends its process: a run that hangs tells nothing.

As a plugin of pytest it watches each phase of a test, and what is before, between and after tests. Processes of
pytest-xdist that end so are replaced, and the test has failed.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import traceback
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from types import FrameType

import pytest
import trio

LIMIT = 600.0
"""Seconds; the longest test of the suite takes a twentieth of it on two cores."""

MAX_FRAMES = 12
"""Of each thread and task; those of pytest are outside of them."""

EXIT_STATUS = 70
"""Of a process with a stuck test: EX_SOFTWARE of sysexits.h."""


class StuckTests:
    """A plugin of pytest, to be made when the hook `pytest_configure` is called: standard error is not captured then."""

    def __init__(self, config: pytest.Config, *, limit: float = LIMIT) -> None:
        waits_for_others = config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
        self._limit = 2 * limit if waits_for_others else limit
        self._stderr = os.dup(2)
        self._begin("the collection of tests")
        threading.Thread(target=self._watch, name="stuck tests", daemon=True).start()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._begin(item.nodeid)
        try:
            return (yield)
        finally:
            self._begin(f"what follows {item.nodeid}")

    def pytest_runtest_logreport(self) -> None:
        """In the process that waits for those of pytest-xdist: one of them goes on."""
        self._begin(self._activity[0])

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._begin("the end of the process")

    def _begin(self, activity: str) -> None:
        self._activity = (activity, time.monotonic())

    def _watch(self) -> None:
        while (left := self._activity[1] + self._limit - time.monotonic()) > 0:
            time.sleep(left)
        report = f"\n{self._activity[0]} did not end within {self._limit:g} s\n{describe_process()}\n"
        os.write(self._stderr, report.encode())
        os._exit(EXIT_STATUS)


def describe_process() -> str:
    """The innermost frames of all threads but this one and of all tasks of trio, and the commands of all children."""
    parts: list[str] = []
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        if ident != threading.get_ident():
            outwards = [_format_frame(*each) for each in traceback.walk_stack(frame)]
            parts += [f"thread {names.get(ident, ident)}:", *reversed(outwards[:MAX_FRAMES])]
    for task in gc.get_objects():
        if isinstance(task, trio.lowlevel.Task) and (inwards := list(task.iter_await_frames())):
            parts += [f"task {task.name}:", *(_format_frame(*each) for each in inwards[-MAX_FRAMES:])]
    parts += [f"child process {pid}: {command}" for pid, command in _list_children(os.getpid())]
    return "\n".join(parts)


def _format_frame(frame: FrameType, line: int) -> str:
    return f"  {frame.f_code.co_filename}:{line} {frame.f_code.co_qualname}"


def _list_children(parent: int) -> list[tuple[int, str]]:
    """Process ids and command lines of the processes below this one. Linux only; elsewhere there are none."""
    found: list[tuple[int, str]] = []
    with suppress(OSError):  # one has just ended
        for pid in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
            command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
            found += [(pid, command), *_list_children(pid)]
    return found
