"""Whether the embedded model is served: known by the process that supervises it, and told to the workers.

The supervisor sees the start and the end of the model's process, so nobody has to find out by failing. A request waits
for the model while its process starts, and fails at once when starts keep failing.

    supervisor:  Engine ──sets──> Readiness ──published──> Unix socket in the workers' private directory
    worker:                                   ──followed──> Readiness <──waits── a chat

The socket carries a line of JSON for each state. A worker that reads late skips states and gets the last one.
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

NOTICE = 0.5
"""Seconds within which the end of a process is known after a connection to it broke: the supervisor has to be
scheduled once, and a worker after it. A connection that breaks for another reason costs its request this wait."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is known. `life` numbers the processes that have served, from 1; `retry_after` is how many seconds pass
    before the next start of one that failed."""

    phase: Literal["starting", "serving", "failed"] = "starting"
    life: int = 0
    retry_after: float = 0.0


class Readiness:
    """The state of the model's process, for those who wait for it."""

    def __init__(self) -> None:
        self.state = State()
        self._changed = trio.Event()

    def set(self, state: State) -> None:
        """This is the state from now on."""
        self.state = state
        self._changed.set()
        self._changed = trio.Event()

    def starting(self) -> None:
        """No process serves, and one is being started or about to be."""
        self.set(State(phase="starting", life=self.state.life))

    def serving(self) -> None:
        """The next life has begun."""
        self.set(State(phase="serving", life=self.state.life + 1))

    def failed(self, retry_after: float) -> None:
        """Starts keep failing; the next one is so many seconds away."""
        self.set(State(phase="failed", life=self.state.life, retry_after=retry_after))

    async def changed(self, seen: State) -> State:
        """Wait for another state than `seen`."""
        while self.state is seen:
            await self._changed.wait()
        return self.state

    async def served(self, *, lost: int = 0) -> int:
        """Wait until the model is served, for as long as it is being started; gives the number of that life.

        `lost` is a life to which a connection broke: its end, if it has ended, becomes known first. Raises
        ErrUnavailable when the model cannot be started.
        """
        if (seen := self.state).phase == "serving" and seen.life == lost:
            with trio.move_on_after(NOTICE):
                await self.changed(seen)
        while (state := self.state).phase != "serving":
            if state.phase == "failed":
                message = "the embedded model cannot be started; the log of the service says why"
                raise ErrUnavailable(message, provider="local", retryable=True, retry_after=state.retry_after)
            await self.changed(state)
        return state.life


@asynccontextmanager
async def published(readiness: Readiness, path: Path) -> AsyncIterator[None]:
    """Tell everybody who connects to the Unix socket at `path` each state, for as long as the block runs."""

    async def tell(stream: trio.SocketStream) -> None:
        state = readiness.state
        try:
            while True:
                await stream.send_all(msgspec.json.encode(state) + b"\n")
                state = await readiness.changed(state)
        except trio.BrokenResourceError:
            return  # the worker is gone

    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM) as sock:
        await sock.bind(str(path))
        sock.listen(128)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, tell, [trio.SocketListener(sock)])
            yield
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def followed(path: Path) -> AsyncIterator[Readiness]:
    """The readiness that is published at `path`, for as long as the block runs. Raises OSError if nobody publishes.

    When the publisher ends, its last state stays: a worker without its supervisor drains.
    """
    readiness = Readiness()
    async with trio.open_nursery() as nursery:
        await nursery.start(_follow, readiness, path)
        yield readiness
        nursery.cancel_scope.cancel()


async def _follow(readiness: Readiness, path: Path, *, task_status: trio.TaskStatus[None]) -> None:
    line, told = b"", False
    async with await trio.open_unix_socket(str(path)) as stream:
        try:
            async for received in stream:
                *lines, line = (line + received).split(b"\n")
                if not lines:
                    continue
                readiness.set(msgspec.json.decode(lines[-1], type=State))
                if not told:
                    told = True
                    task_status.started()
        except trio.BrokenResourceError:
            pass  # the supervisor was killed
    if not told:
        raise ConnectionResetError("the supervisor ended before it said how the embedded model is")
