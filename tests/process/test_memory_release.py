"""The memory of a killed process can be released by another one, that of a running process cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lakehouse.process.memory_release import release_memory

HOLDS_MEMORY = "data = b'x' * 200_000_000; print(len(data), flush=True); input()"


@contextmanager
def large_process() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process with 200 MB, and a descriptor of it."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_MEMORY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"200000000\n"
        pidfd = os.pidfd_open(process.pid)
        try:
            yield process, pidfd
        finally:
            os.close(pidfd)


def kill_and_release() -> bool:
    with large_process() as (process, pidfd):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        released = release_memory(pidfd)
        assert process.wait() == -signal.SIGKILL
        assert not release_memory(pidfd), "it has ended"
    return released


def test_a_running_process_keeps_its_memory() -> None:
    with large_process() as (process, pidfd):
        assert not release_memory(pidfd)
        process.communicate(b"\n")
        assert process.returncode == 0


@pytest.mark.skipif(
    tuple(map(int, os.uname().release.split(".")[:2])) < (5, 15), reason="the kernel has no process_mrelease"
)
def test_a_killed_process_is_released() -> None:
    """Unless its own last thread was faster, which five processes in a row are not."""
    assert any(kill_and_release() for _ in range(5))
