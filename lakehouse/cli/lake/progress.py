"""Progress lines on the terminal; nothing where standard error is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import Protocol

import trio

from lakehouse.cli.output import write_diagnostic

INTERVAL = 0.1
"""Seconds between two updates of the line."""

BAR = 24


class Progress:
    """A line that is kept up to date."""

    def line(self) -> str:
        """The line for now."""
        raise NotImplementedError

    async def show(self) -> None:
        """Keep the line up to date until cancelled, and then clear it."""
        with _cleared_line():
            while True:
                await trio.sleep(INTERVAL)
                columns = get_terminal_size().columns
                write_diagnostic(f"\r{self.line()[: columns - 1]}\x1b[K", end="")


class Phases(Protocol):
    """Work in phases: `done` of `total` steps of the present one, and how many bytes."""

    phase: str
    done: int
    total: int
    bytes_done: int
    bytes_total: int


class UploadProgress(Progress):
    """The progress of one upload: a bar while the file is sent, then the time that the service takes to read it."""

    def __init__(self, name: str, size: int | None) -> None:
        self._name = name
        self._size = size
        self._sent = 0
        self._began = trio.current_time()

    def advance(self, sent: int) -> None:
        """Record how many bytes of the file have been sent."""
        self._sent = sent

    def line(self) -> str:
        """The line for now."""
        elapsed = trio.current_time() - self._began
        if self._size is None:
            return f"{self._name}  {format_size(self._sent)} sent  {elapsed:.1f} s"
        if self._sent < self._size:
            done = int(BAR * self._sent / self._size)
            share = 100 * self._sent // self._size
            return f"{self._name}  [{'#' * done}{'.' * (BAR - done)}] {share} % of {format_size(self._size)}"
        return f"{self._name}  {format_size(self._size)} sent, being read  {elapsed:.1f} s"


class FolderProgress(Progress):
    """The progress of a folder: the files that are done, and the passages that they have."""

    def __init__(self, name: str, files: int) -> None:
        self._name = name
        self._files = files
        self._done = 0
        self._passages = 0
        self._began = trio.current_time()

    def advance(self, passages: int) -> None:
        """Record that one more file is done."""
        self._done += 1
        self._passages += passages

    def line(self) -> str:
        """The line for now."""
        done = int(BAR * self._done / max(1, self._files))
        bar = f"[{'#' * done}{'.' * (BAR - done)}]"
        elapsed = trio.current_time() - self._began
        return f"{self._name}  {bar} {self._done} of {self._files} files, {self._passages:,} passages  {elapsed:.1f} s"


class PhaseProgress(Progress):
    """The progress of work in phases, of which each has a number of steps, or of bytes."""

    def __init__(self, phases: Phases) -> None:
        self._phases = phases

    def line(self) -> str:
        """The line for now."""
        now = self._phases
        if now.bytes_total:
            done = int(BAR * now.bytes_done / now.bytes_total)
            bar = f"[{'#' * done}{'.' * (BAR - done)}]"
            size = f"{format_size(now.bytes_done)} of {format_size(now.bytes_total)}"
            return f"{now.phase}  {bar} {size}, {now.done:,} files"
        return f"{now.phase}  {now.done} of {now.total}" if now.total else now.phase


@contextmanager
def _cleared_line() -> Iterator[None]:
    try:
        yield
    finally:
        write_diagnostic("\r\x1b[K", end="")


def is_shown() -> bool:
    """Whether a progress line can be shown."""
    return sys.stderr.isatty()


def format_count(number: int, noun: str) -> str:
    """A number of things, such as "1 row" and "1,204 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def format_size(number: float) -> str:
    """A number of bytes in its shortest form."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
