"""The child of the retrieval engine: started with the first call, and again when it has ended and is needed."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

import msgspec
import trio

from lakehouse.core.errors import ErrUnavailable
from lakehouse.process.child import open_child
from lakehouse.process.errors import ChildStartFailed
from lakehouse.process.spec import ChildSpec, RestartPolicy, Sandbox, SandboxReport
from lakehouse.process.supervision.backoff import Backoff
from lakehouse.process.tasks import open_background
from lakehouse.services.retrieval.connection import Connection
from lakehouse.services.retrieval.messages import RetrievalSettings

logger = logging.getLogger("lakehouse.retrieval")

TARGET = "lakehouse.services.retrieval.child.main:run"
RESTART = RestartPolicy(initial_delay=0.1, max_delay=5.0, stable_after=5.0, stable_delay=0.0)
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""One thread for products: the engine has one processor's share, and requests are what runs side by side."""


class EngineProcess:
    """The child and its successors."""

    def __init__(self, settings: RetrievalSettings) -> None:
        self.started = 0
        """The number of children that became ready."""
        self.pid: int | None = None
        """The number of the process that is ready; None while none is."""
        self._settings = settings
        self._connection: Connection | None = None
        self._wanted = trio.Event()
        self._changed = trio.Event()
        self._failure: ErrUnavailable | None = None
        self._blocked_until = -inf
        self._sandbox: SandboxReport | None = None

    @property
    def waiting(self) -> int:
        """The number of calls under way."""
        return 0 if self._connection is None else self._connection.waiting

    def warm(self) -> None:
        """Start the child in the background if none runs."""
        if self._connection is None:
            self._wanted.set()

    async def call(self, body: bytes) -> bytes:
        """Send a call to the child, which is started if there is none. Raises ErrUnavailable."""
        connection = self._connection
        if connection is None:
            connection = await self._wait_connection()
        return await connection.call(body)

    def send(self, body: bytes) -> None:
        """Send a call that has no reply to the child, if there is one. Does not wait."""
        if self._connection is not None:
            self._connection.send(body)

    async def _wait_connection(self) -> Connection:
        remaining = self._blocked_until - trio.current_time()
        if self._failure is not None and remaining > 0:
            raise self._failure
        self._failure = None
        self._wanted.set()
        while self._connection is None:
            await self._changed.wait()
            if self._failure is not None:
                raise self._failure
        return self._connection

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def run(self) -> None:
        """Start children as they are needed, until cancellation. None is left afterwards."""
        backoff = Backoff(RESTART)
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()  # a call that comes while this child ends asks for the next one
            served: float | None = None
            reason = ""
            try:
                served, reason = await self._run_child()
            except ChildStartFailed as failure:
                reason = str(failure)
            except OSError as error:  # too many processes or open files
                reason = f"the retrieval engine did not start: {error}"
            delay = backoff.delay_after(served)
            logger.error("%s; it can start again in %g s", reason, delay)
            if served is None:
                self._wanted = trio.Event()
                self._failure = ErrUnavailable(reason, retry_after=max(delay, 1.0), retryable=True)
                self._blocked_until = trio.current_time() + delay
                self._notify()
            await trio.sleep(delay)

    async def _run_child(self) -> tuple[float, str]:
        """Run one child from start to exit. Returns the seconds it served, and a description of its end.

        Raises ChildStartFailed, OSError.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs:
            async with open_child(self._make_spec(theirs.fileno()), log=logger) as child:
                theirs.close()  # the child has it, and its end is seen here
                self._note_sandbox((await child.wait_ready()).sandbox)
                began = trio.current_time()
                await self._serve(Connection(ours), child.pid)
                child.kill()  # a child that has closed its socket is of no use
                served = trio.current_time() - began
                return served, f"the retrieval engine ended: its process {await child.describe_exit()}"

    async def _serve(self, connection: Connection, pid: int) -> None:
        self.started += 1
        self._wanted = trio.Event()  # here, and not at the end: calls come before the end of the process is known
        self.pid, self._connection = pid, connection
        self._notify()
        try:
            await connection.run()
        finally:
            self.pid = self._connection = None

    def _make_spec(self, descriptor: int) -> ChildSpec:
        settings = msgspec.structs.replace(self._settings, descriptor=descriptor)
        return ChildSpec(
            name="the retrieval engine",
            target=TARGET,
            settings=msgspec.json.encode(settings),
            environment=ENVIRONMENT,
            pass_fds=(descriptor,),
            sandbox=Sandbox(restrict_files=True, write_paths=(settings.directory,), network=False),
        )

    def _note_sandbox(self, report: SandboxReport) -> None:
        """Log each restriction that is not in force, once."""
        if self._sandbox != report:
            self._sandbox = report
            for what, result in (("files", report.files), ("network", report.network)):
                if result.startswith("not enforced"):
                    logger.warning("the retrieval engine: the sandbox's restriction of %s is %s", what, result)


@asynccontextmanager
async def open_process(settings: RetrievalSettings) -> AsyncIterator[EngineProcess]:
    """Make the child startable for the length of the block, at whose end it is killed."""
    process = EngineProcess(settings)
    async with open_background() as nursery:
        nursery.start_soon(process.run)
        yield process
