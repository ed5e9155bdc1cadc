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
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

import pytest
import trio

from tools.kit.child_processes import children

LIMIT = 600.0
"""Seconds, more than the whole suite takes on two cores."""

MAX_FRAMES = 12
"""Of each thread and task; those of pytest are outside of them."""

EXIT_STATUS = 70
"""Of a process with a stuck test: EX_SOFTWARE of sysexits.h."""


class StuckTests:
    """A plugin of pytest, to be made when the hook `pytest_configure` is called: standard error is not captured then."""

    def __init__(self, config: pytest.Config, *, limit: float = LIMIT) -> None:
        self._waits_for_others = config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
        self._limit = 2 * limit if self._waits_for_others else limit
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

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A phase of a test has ended, here or in a process of pytest-xdist that this one waits for."""
        self._begin(f"what follows {report.nodeid}" if self._waits_for_others else self._activity[0])

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
    return "\n".join([*parts, *_describe_children(os.getpid())])


def _format_frame(frame: FrameType, line: int) -> str:
    return f"  {frame.f_code.co_filename}:{line} {frame.f_code.co_qualname}"


def _describe_children(pid: int) -> Iterator[str]:
    """The commands of the processes below one. Linux only; elsewhere there are none."""
    with suppress(OSError):  # one has just ended
        for child in sorted(children(pid)):
            command = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ").strip()
            yield f"child process {child}: {command}"
            yield from _describe_children(child)
