"""The parent's hold on one child process: start it, hear that it serves, know when it ends, make it end."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain

import msgspec
import trio

from lakehouse.local_model.child import Settings

log = logging.getLogger("lakehouse.local_model")

PROGRAM = ("-P", "-m", "lakehouse.local_model.child")  # -P: import from nowhere else than where we were imported from

LINES_KEPT = 40  # of the child's log: enough to say why it ended
LINE_LIMIT = 500  # bytes of each
EXIT_LIMIT = 10.0  # seconds a killed process may take to be gone: the kernel has a large model's memory to take down
LOG_LIMIT = 1.0  # seconds until the log of a process that is gone has been read
PROBE_LIMIT = 5.0  # seconds until a server that said it serves has answered

# How llama.cpp's log names the cause when it cannot load a file; the first is the most exact.
CAUSE = re.compile(r"(?:gguf_init\w*|error loading model): (?P<cause>.+)")


class Child:
    """One child process, as `open_child` made it."""

    def __init__(self, settings: Settings) -> None:
        self._port = settings.port
        self._log: deque[str] = deque(maxlen=LINES_KEPT)
        self._log_read = trio.Event()
        (orders, our_orders), (our_report, report), (our_errors, errors) = _pipes(3)
        self._orders, self._report, self._errors = map(trio.lowlevel.FdStream, (our_orders, our_report, our_errors))
        try:
            os.write(our_orders, msgspec.json.encode(settings) + b"\n")  # far below what a pipe holds
            self._process = _spawn(orders, report, errors)
        finally:
            for descriptor in (orders, report, errors):
                os.close(descriptor)
        self._pidfd = os.pidfd_open(self._process.pid)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    async def ready(self, timeout: float) -> str | None:
        """Wait until the child answers on its port, for at most `timeout` seconds; None then, or why it does not.

        Asked once in the life of a child.
        """
        with trio.move_on_after(timeout):
            if await self._report.receive_some():
                return await self._probe()
            return f"its process {await self.exited()}"
        return f"it was not ready within {timeout:g} s"

    async def ended(self) -> None:
        """Wait for the process to end."""
        await trio.lowlevel.wait_readable(self._pidfd)

    async def exited(self) -> str:
        """Wait for the process to end; returns how, and its last words, for people."""
        await self.ended()
        status = self._process.wait()  # has ended: this only collects the status
        how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
        with trio.move_on_after(LOG_LIMIT):  # what it wrote last is on its way, unless somebody else holds the pipe
            await self._log_read.wait()
        last_words = self._last_log_line()
        return f"{how} ({last_words})" if last_words else how

    def _last_log_line(self) -> str:
        causes = (CAUSE.search(line) for line in self._log)
        cause = next((found["cause"] for found in causes if found), None)
        return cause or next((line for line in reversed(self._log) if line.strip()), "")

    async def _probe(self) -> str | None:
        """Ask for /health as a client would."""
        with trio.move_on_after(PROBE_LIMIT):
            try:
                async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
                    await stream.send_all(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                    head = await stream.receive_some(1024)
            except (OSError, trio.BrokenResourceError) as error:
                return f"its port {self._port} does not answer: {error}"
            return None if head.startswith(b"HTTP/1.1 200 ") else f"its port {self._port} answers {head[:40]!r}"
        return f"its port {self._port} did not answer within {PROBE_LIMIT:g} s"

    async def _read_log(self) -> None:
        line = b""
        async for received in self._errors:
            *whole, line = (line + received).split(b"\n")
            for text in whole:
                self._log.append(text[:LINE_LIMIT].decode(errors="replace"))
                log.debug("%s", self._log[-1])
            line = line[:LINE_LIMIT]
        self._log_read.set()

    async def _kill(self) -> None:
        self._process.kill()
        with trio.move_on_after(EXIT_LIMIT, shield=True):
            await trio.lowlevel.wait_readable(self._pidfd)
            self._process.wait()

    def _close(self) -> None:
        os.close(self._pidfd)
        for stream in (self._orders, self._report, self._errors):
            stream.close()


@asynccontextmanager
async def open_child(settings: Settings) -> AsyncIterator[Child]:
    """Start a child process; it is gone when the block ends.

    Must be entered in a thread that lives as long as the process should (see `_spawn`). Raises OSError when no process
    can be started.
    """
    child = Child(settings)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child._read_log)
            try:
                yield child
            finally:
                await child._kill()
                nursery.cancel_scope.cancel()
    finally:
        child._close()


def _pipes(count: int) -> list[tuple[int, int]]:
    """So many pipes, or OSError and none: those of every failed start would be missing at the next."""
    made: list[tuple[int, int]] = []
    try:
        for _ in range(count):
            made.append(os.pipe())  # noqa: PERF401 - what was made before one fails is needed
    except OSError:
        for descriptor in chain(*made):
            os.close(descriptor)
        raise
    return made


def _spawn(orders: int, report: int, errors: int) -> subprocess.Popen[bytes]:
    """Start the interpreter on `PROGRAM`; takes some milliseconds of the event loop.

    Not by `trio.lowlevel.open_process`: that forks in a worker thread, and the kernel's "kill me when my parent ends"
    means the *thread* that forked (prctl(2), PR_SET_PDEATHSIG), which trio lets go after ten idle seconds.
    """
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "GGML_NO_BACKTRACE": "1",  # an abort would start a debugger first, and take seconds to die
    }
    return subprocess.Popen(  # noqa: S603 -- our own module in our own interpreter
        [sys.executable, *PROGRAM],
        stdin=orders,
        stdout=report,
        stderr=errors,
        env=environment,
        process_group=0,  # a terminal's Ctrl-C is for the parent, which drains and then ends us
    )
