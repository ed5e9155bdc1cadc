"""The embedded model as the service sees it: a base URL that speaks OpenAI's form, for as long as a block runs.

    async with open_engine(EngineConfig(demo=True)) as engine:
        ...  # POST {engine.base_url}/chat/completions with Authorization: Bearer {engine.api_key}

Behind it a child process runs llama.cpp. When that dies it is started again, on the same port. Until it is back
connections are refused, and `engine.readiness` is what a caller waits for.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from lakehouse.local_model.checks import LocalModelError, check_model
from lakehouse.local_model.child import Settings
from lakehouse.local_model.readiness import Readiness
from lakehouse.process.child import open_child

log = logging.getLogger("lakehouse.local_model")

FIRST_DELAY = 0.25  # seconds after a start that failed; doubles with each further one in a row
LONGEST_DELAY = 30.0  # seconds; a model that cannot be started is tried twice a minute, and costs nobody much
STABLE_AFTER = 1.0  # seconds of service after which a process is replaced without any delay
HOPELESS_AFTER = 3  # failed starts in a row; from then on nobody waits for the next


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Which model, and how large.

    `context` is in tokens and for each conversation; `parallel` conversations are answered at a time, the others wait
    their turn, and the memory for `parallel` x `context` tokens is taken at the start, so that one long conversation
    cannot take it from another. `start_timeout` is how many seconds loading the model may take.
    """

    model_path: Path | None = None
    demo: bool = False
    context: int = 4096
    parallel: int = 2
    start_timeout: float = 300.0

    def __post_init__(self) -> None:
        if self.demo == (self.model_path is not None):
            raise ValueError("an engine serves either a `model_path` or the `demo` model")


class Engine:
    """The running model. Every attribute but `pid` stays as it is through restarts; `poller` is told of each.

    Ask it for streams, and put whole answers together from them: closing the connection of a stream ends its generation
    at the next token, whereas llama.cpp looks after the client of a whole answer only when no other answer has had a
    token for a second, and till then generates for nobody. It closes idle connections after five seconds.
    """

    def __init__(self, config: EngineConfig, port: int) -> None:
        self.name = "demo" if config.model_path is None else config.model_path.stem
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.api_key = secrets.token_urlsafe()
        self.pid: int | None = None
        self.poller = Readiness()
        self._start_timeout = config.start_timeout
        self._settings = Settings(
            parent=os.getpid(),
            port=port,
            api_key=self.api_key,
            name=self.name,
            model=None if config.model_path is None else str(config.model_path),
            context=config.context,
            parallel=config.parallel,
        )

    @property
    def available(self) -> bool:
        """Whether the model answers; false from a death until the restart has succeeded."""
        return self.pid is not None

    async def _supervise(self, *, task_status: trio.TaskStatus[str | None]) -> None:
        """Keep a child alive until cancelled.

        Reports None when the first one answers. If that never happens, reports why and returns.
        """
        restarts = Restarts()
        answered = False
        while True:
            served, ending = await self._run_once(trio.TASK_STATUS_IGNORED if answered else task_status)
            if served is None and not answered:
                task_status.started(ending)
                return
            answered = True
            delay = restarts.delay_after(served)
            if restarts.hopeless:
                self.poller.failed(retry_after=delay)
            log.warning("the embedded model is gone: %s; starting it again in %g s", ending, delay)
            await trio.sleep(delay)

    async def _run_once(self, task_status: trio.TaskStatus[None]) -> tuple[float | None, str]:
        """From a child's start to its end: how many seconds it served (None: it never did), and how it ended."""
        try:
            async with open_child(self._settings) as child:
                problem = await child.ready(self._start_timeout)
                if problem is not None:
                    return None, problem
                self.pid, began = child.pid, trio.current_time()
                self.poller.serving()
                task_status.started(None)
                try:
                    await child.ended()
                finally:
                    self.pid = None
                    self.poller.starting()
                return trio.current_time() - began, f"its process {await child.exited()}"
        except OSError as error:  # too many processes or files
            return None, f"no process can be started: {error}"


class Restarts:
    """How long to wait before each restart.

    A process that has served is proof that the model can be, and callers wait for its successor: that starts at once,
    or after `FIRST_DELAY` where the process served for less than `STABLE_AFTER`. After a start that failed the delay
    doubles, up to `LONGEST_DELAY`.
    """

    def __init__(self) -> None:
        self._failed = 0

    @property
    def hopeless(self) -> bool:
        """Whether so many starts in a row have failed that the next one is not worth waiting for."""
        return self._failed >= HOPELESS_AFTER

    def delay_after(self, served: float | None) -> float:
        """Seconds until the next start, after a process that served for so many seconds; None: its start failed."""
        if served is not None:
            self._failed = 0
            return 0.0 if served >= STABLE_AFTER else FIRST_DELAY
        self._failed += 1
        return min(FIRST_DELAY * 2.0 ** min(self._failed - 1, 64), LONGEST_DELAY)


@contextmanager
def reserved_port() -> Iterator[int]:
    """A loopback port that stays ours, so that the base URL survives a restart.

    The socket is bound and never listens: connections are refused while no child listens on the same port (which takes
    SO_REUSEPORT on both sides and the same user), and nobody is given it meanwhile.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@asynccontextmanager
async def open_engine(config: EngineConfig) -> AsyncIterator[Engine]:
    """Start the model, yield it when it answers, and end its process with the block, whatever ends that.

    Owns a nursery, so an exception of the block leaves it in an exception group; LocalModelError, when the model cannot
    be started, comes by itself. When cancelled, nothing is left. Should this process be killed, the kernel ends the
    model's; the same happens when the thread that entered the block ends.
    """
    await trio.to_thread.run_sync(check_model, config.model_path)  # a file may be on a slow disk
    with reserved_port() as port:
        engine = Engine(config, port)
        async with trio.open_nursery() as nursery:
            problem = await nursery.start(engine._supervise)
            if problem is None:
                yield engine
            nursery.cancel_scope.cancel()
    if problem is not None:
        raise LocalModelError(f"the model {config.model_path or 'for the demonstration'} cannot be served: {problem}")
