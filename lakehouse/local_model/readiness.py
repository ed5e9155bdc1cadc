"""The readiness of the embedded model's process: set by its supervisor, published to the workers.

The supervisor detects the start and the end of the process, so that no request has to fail to detect them. A request
waits while the process starts, and fails at once when starts keep failing.

    supervisor:  Engine ──sets──> Readiness ──published──> Unix socket in the workers' private directory
    worker:                                   ──followed──> Readiness <──waits── a chat

The socket carries one line of JSON for each state. A worker that reads late skips states and gets the last one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec
import trio

from lakehouse.core.errors import ErrUnavailable

SOCKET = "engine"
"""The name of the Unix socket in the workers' directory."""

DETECTION_TIME = 0.5
"""Seconds after a broken connection within which the end of the process is known: the supervisor has to be scheduled
once, and a worker after it. A request whose connection broke for another reason waits this long."""


class ReadinessState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the process. `generation` numbers the processes that have served, from 1; `retry_after` is the time
    until the next start after a failed one, in seconds."""

    phase: Literal["starting", "serving", "failed"] = "starting"
    generation: int = 0
    retry_after: float = 0.0


class Readiness:
    """The state of the model's process, which requests wait for."""

    def __init__(self) -> None:
        self.state = ReadinessState()
        self._changed = trio.Event()

    def set_state(self, state: ReadinessState) -> None:
        """Set the state and wake all waiting tasks."""
        self.state = state
        self._changed.set()
        self._changed = trio.Event()

    def set_starting(self) -> None:
        """No process serves; one is being started or will be."""
        self.set_state(ReadinessState(phase="starting", generation=self.state.generation))

    def set_serving(self) -> None:
        """The next process serves."""
        self.set_state(ReadinessState(phase="serving", generation=self.state.generation + 1))

    def set_failed(self, retry_after: float) -> None:
        """Starts keep failing; the next one follows in `retry_after` seconds."""
        self.set_state(ReadinessState(phase="failed", generation=self.state.generation, retry_after=retry_after))

    async def wait_changed(self, seen: ReadinessState) -> ReadinessState:
        """Wait for another state than `seen`."""
        while self.state is seen:
            await self._changed.wait()
        return self.state

    async def wait_serving(self, *, failed_generation: int = 0) -> int:
        """Wait until a process serves the model. Returns its number (`ReadinessState.generation`).

        `failed_generation` is the number of a process to which a connection broke: if it has ended, that becomes known
        first. Raises ErrUnavailable when the process cannot be started.
        """
        if (seen := self.state).phase == "serving" and seen.generation == failed_generation:
            with trio.move_on_after(DETECTION_TIME):
                await self.wait_changed(seen)
        while (state := self.state).phase != "serving":
            if state.phase == "failed":
                message = "the embedded model cannot be started; the log of the service says why"
                raise ErrUnavailable(message, provider="local", retryable=True, retry_after=state.retry_after)
            await self.wait_changed(state)
        return state.generation


@asynccontextmanager
async def publish_readiness(readiness: Readiness, path: Path) -> AsyncIterator[None]:
    """Send each state to every client of the Unix socket at `path`, for the duration of the block."""

    async def send_states(stream: trio.SocketStream) -> None:
        state = readiness.state
        try:
            while True:
                await stream.send_all(msgspec.json.encode(state) + b"\n")
                state = await readiness.wait_changed(state)
        except trio.BrokenResourceError:
            return  # the worker has ended

    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM) as sock:
        await sock.bind(str(path))
        sock.listen(128)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, send_states, [trio.SocketListener(sock)])
            yield
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def follow_readiness(path: Path) -> AsyncIterator[Readiness]:
    """The readiness published at `path`, for the duration of the block. Raises OSError if none is published.

    After the publisher has ended, its last state stays: a worker without its supervisor drains.
    """
    readiness = Readiness()
    async with trio.open_nursery() as nursery:
        await nursery.start(_follow, readiness, path)
        yield readiness
        nursery.cancel_scope.cancel()


async def _follow(readiness: Readiness, path: Path, *, task_status: trio.TaskStatus[None]) -> None:
    line, started = b"", False
    async with await trio.open_unix_socket(str(path)) as stream:
        try:
            async for received in stream:
                *lines, line = (line + received).split(b"\n")
                if not lines:
                    continue
                readiness.set_state(msgspec.json.decode(lines[-1], type=ReadinessState))
                if not started:
                    started = True
                    task_status.started()
        except trio.BrokenResourceError:
            pass  # the supervisor was killed
    if not started:
        raise ConnectionResetError("the supervisor ended before it published the state of the embedded model")
