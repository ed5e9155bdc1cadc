"""The handle of a parent on one child process: start, readiness, exit status, termination."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from math import inf
from pathlib import Path

import msgspec
import trio

from lakehouse.process.errors import ChildStartFailed
from lakehouse.process.launch import Launched, launch
from lakehouse.process.log_tail import LogTail
from lakehouse.process.memory_release import release_memory
from lakehouse.process.protocol import MAX_LINE, ReadyMessage, StartMessage, decode_ready, encode_line
from lakehouse.process.spec import ChildSpec
from lakehouse.process.states import CHILD_TRANSITIONS, ChildState, StateMachine
from lakehouse.process.tasks import open_background

logger = logging.getLogger("lakehouse.process")

REAP_TIMEOUT = 10.0  # seconds until a killed process has ended: the kernel may have much memory to release
LOG_TIMEOUT = 1.0  # seconds to read the rest of the log of an ended process; its own children may hold the pipe open
QUOTED_BYTES = 60  # bytes of invalid output that are quoted in an error message


class Child:
    """One child process, as `open_child` started it. `stdin` and `stdout` carry frames once it is ready."""

    def __init__(self, spec: ChildSpec, launched: Launched, log: logging.Logger) -> None:
        self.name = spec.name
        self.log = LogTail(log, spec.name)
        self.stdin = trio.lowlevel.FdStream(launched.stdin)
        self.stdout = trio.lowlevel.FdStream(launched.stdout)
        self.spec = spec
        self._stderr = None if launched.stderr is None else trio.lowlevel.FdStream(launched.stderr)
        self._process = launched.process
        self._pidfd = launched.pidfd
        self._machine = StateMachine(ChildState.STARTING, CHILD_TRANSITIONS)
        self._exited = trio.Event()

    @property
    def pid(self) -> int:
        """The process id; not reused by the kernel before the process is reaped."""
        return self._process.pid

    @property
    def state(self) -> ChildState:
        """The present state."""
        return self._machine.state

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None before the process is reaped."""
        return self._process.returncode

    async def wait_ready(self) -> ReadyMessage:
        """Send the start message and wait for the child's reply. Must be called once only.

        Raises ChildStartFailed if the child ends, reports a failure, writes an invalid reply, or takes longer than the
        `start_timeout` of its specification.
        """
        with trio.move_on_after(self.spec.start_timeout):
            try:
                await self.stdin.send_all(encode_line(self._start_message()))
                line = await self._read_line()
            except trio.BrokenResourceError:  # the child closed its standard input, or ended before it read the message
                line = b""
            return await self._decode_ready(line)
        raise self._start_failure(f"it was not ready within {self.spec.start_timeout:g} s")

    async def wait_exit(self) -> int:
        """Wait until the process is reaped. Returns its exit status."""
        await self._exited.wait()
        return self._process.wait()  # already reaped: does not block

    async def describe_exit(self) -> str:
        """Wait for the exit and describe it: "was killed by signal 9 (the last line of its log)"."""
        status = await self.wait_exit()
        if self._stderr is not None:
            with trio.move_on_after(LOG_TIMEOUT):
                await self.log.ended.wait()
        how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
        last = self.log.find_cause(self.spec.cause)
        return f"{how} ({last})" if last else how

    def read_cpu_seconds(self) -> float:
        """The processor time of all its present threads, in seconds; infinity if the system does not tell."""
        try:
            threads = list(Path(f"/proc/{self.pid}/task").iterdir())
            return sum(int((thread / "schedstat").read_bytes().split()[0]) for thread in threads) / 1e9
        except (OSError, ValueError, IndexError):
            return inf

    def has_exited(self) -> bool:
        """Whether the process has ended, reaped or not, or was killed and is about to. Costs a system call."""
        if self._exited.is_set() or not self._machine.can_advance(ChildState.KILLED):
            return True
        return os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def terminate(self) -> None:
        """Send SIGTERM, on which the process drains and exits. Does not wait."""
        if self._machine.can_advance(ChildState.DRAINING):
            self._machine.advance(ChildState.DRAINING)
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the process, and to its group if it leads one. Does not wait."""
        if self._machine.can_advance(ChildState.KILLED):
            self._machine.advance(ChildState.KILLED)
            self._kill_group()
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def release_memory(self) -> None:
        """Release the memory of the process, which was killed, faster than the kernel does alone."""
        await trio.to_thread.run_sync(release_memory, self._pidfd)

    def _start_message(self) -> StartMessage:
        spec = self.spec
        return StartMessage(
            parent=os.getpid(),
            target=spec.target,
            preload=spec.preload,
            orphan=spec.orphan,
            blocked_signals=spec.blocked_signals,
            limits=spec.limits,
            sandbox=spec.sandbox,
            environment=tuple(spec.environment),
            python_path=spec.environment.get("PYTHONPATH"),
            settings=msgspec.Raw(spec.settings),
        )

    async def _read_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n") and len(line) <= MAX_LINE:
            if not (data := await self.stdout.receive_some(65536)):
                break
            line += data
        return line

    async def _decode_ready(self, line: bytes) -> ReadyMessage:
        if not line.strip():
            raise self._start_failure(f"its process {await self.describe_exit()}")
        try:
            answer = decode_ready(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._start_failure(f"it wrote no ready line but {line[:QUOTED_BYTES]!r}") from None
        if not answer.ready:
            raise self._start_failure(answer.reason)
        if self._machine.can_advance(ChildState.READY):  # a drain may have begun meanwhile
            self._machine.advance(ChildState.READY)
        return answer

    def _start_failure(self, reason: str) -> ChildStartFailed:
        return ChildStartFailed(self.name, reason)

    async def _reap_on_exit(self) -> None:
        await trio.lowlevel.wait_readable(self._pidfd)
        self._reap()

    def _reap(self) -> None:
        """Collect the status of an ended process. Its group is killed first, while its id cannot be reused."""
        if self._machine.can_advance(ChildState.REAPED):
            self._kill_group()
            self._process.wait()  # already ended: does not block
            self._machine.advance(ChildState.REAPED)
            self._exited.set()

    def _kill_group(self) -> None:
        if self.spec.own_group:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _close(self) -> None:
        """Kill and reap the process and close every descriptor. `_reap_on_exit` must have ended."""
        try:
            self.kill()
            if not self._exited.is_set():
                with trio.move_on_after(REAP_TIMEOUT, shield=True) as reaping:
                    await trio.lowlevel.wait_readable(self._pidfd)
                    self._reap()
                if reaping.cancelled_caught:
                    logger.error("%s (process %d) was killed and has not ended yet", self.name, self.pid)
        finally:
            os.close(self._pidfd)
            for stream in (self.stdin, self.stdout, self._stderr):
                if stream is not None:
                    stream.close()


@asynccontextmanager
async def open_child(spec: ChildSpec, *, log: logging.Logger = logger) -> AsyncIterator[Child]:
    """Start a child process. At the end of the block, also by an error or a cancellation, the process is killed and
    reaped and its descriptors are closed.

    Must be entered in a thread that lives at least as long as the child (see `launch`). Lines of the child's standard
    error are written to `log`. Raises OSError if no process can be started.
    """
    child = Child(spec, launch(spec), log)
    try:
        async with open_background() as nursery:
            nursery.start_soon(child._reap_on_exit)
            if child._stderr is not None:
                nursery.start_soon(child.log.follow, child._stderr)
            try:
                yield child
            finally:
                child.kill()
    finally:
        await child._close()
