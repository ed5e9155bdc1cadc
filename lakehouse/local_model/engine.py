"""The embedded model: a base URL with OpenAI's API, for the duration of a block.

    async with open_engine(EngineConfig(demo=True)) as engine:
        ...  # POST {engine.base_url}/chat/completions with Authorization: Bearer {engine.api_key}

A child process runs llama.cpp. When it dies, it is restarted on the same port. Until then connections are refused, and
callers wait for `engine.readiness`.
"""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import trio

from lakehouse.local_model.checks import LocalModelError, check_model
from lakehouse.local_model.child import Settings
from lakehouse.local_model.readiness import Readiness
from lakehouse.process.child import Child
from lakehouse.process.environment import select_by_prefix, select_variables
from lakehouse.process.errors import ChildStartFailed
from lakehouse.process.spec import ChildSpec, RestartPolicy
from lakehouse.process.supervision.slot import Slot

log = logging.getLogger("lakehouse.local_model")

FIRST_RESTART_DELAY = 0.25  # seconds after a start that failed; doubles with each further one in a row
MAX_RESTART_DELAY = 30.0  # seconds; a model that cannot be started costs two attempts a minute
STABLE_AFTER = 1.0  # seconds of service after which the next process starts without a delay
MAX_FAILED_STARTS = 3  # failed starts in a row after which requests fail instead of waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """The model and its limits.

    `context` is in tokens, for each conversation. `parallel` conversations are answered at the same time, further ones
    wait; memory for `parallel` x `context` tokens is allocated at the start, so that a long conversation cannot take it
    from another. `start_timeout` is the time limit for loading the model, in seconds. With `embeddings` the model
    embeds texts of at most `context` tokens. `prepare` names a function that writes the file if it is missing, in the
    process of the model: "package.module:function".
    """

    model_path: Path | None = None
    demo: bool = False
    context: int = 4096
    parallel: int = 2
    start_timeout: float = 300.0
    embeddings: bool = False
    prepare: str = ""

    def __post_init__(self) -> None:
        if self.demo == (self.model_path is not None):
            raise ValueError("an engine serves either a `model_path` or the `demo` model")


HEALTH_TIMEOUT = 5.0  # seconds for the first response of a server that has reported ready

CHILD_TARGET = "lakehouse.local_model.child:run"
CAUSE_PATTERN = r"(?:gguf_init\w*|error loading model): (?P<cause>.+)"
"""The lines of llama.cpp's log with the cause of a failed load; the first match is the most exact."""

ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ", "XDG_CACHE_HOME")
ENVIRONMENT_PREFIXES = (
    "CUDA_", "GGML_", "GOMP_", "HIP_", "HSA_", "KMP_", "MESA_", "NVIDIA_", "OMP_", "ONEAPI_", "ROCM_", "ROCR_", "SYCL_",
    "VK_", "ZE_",
)  # fmt: skip
"""The variables that the child inherits: by name, and by prefix those of compute libraries. None of them holds a
provider's key."""


class Engine:
    """The running model. A restart changes `pid` and `readiness` only.

    Clients should request streams, and collect complete answers from them: closing the connection of a stream ends its
    generation at the next token. For a complete answer, llama.cpp checks the connection only when no other answer has
    had a token for a second. It closes idle connections after five seconds.
    """

    def __init__(self, config: EngineConfig, port: int) -> None:
        self.name = "demo" if config.model_path is None else config.model_path.stem
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.api_key = secrets.token_urlsafe()
        self.pid: int | None = None
        self.readiness = Readiness()
        self._port = port
        # After a process that has served, the next one can be expected to serve, so requests wait for it.
        restart = RestartPolicy(
            initial_delay=FIRST_RESTART_DELAY,
            max_delay=MAX_RESTART_DELAY,
            stable_after=STABLE_AFTER,
            stable_delay=0.0,
            short_run_is_failure=False,
        )
        self._slot = Slot(
            self._child_spec(config), restart=restart, check=self._probe, listener=self, log=log, level=logging.WARNING
        )

    def _child_spec(self, config: EngineConfig) -> ChildSpec:
        settings = Settings(
            port=self._port,
            api_key=self.api_key,
            name=self.name,
            model=None if config.model_path is None else str(config.model_path),
            context=config.context,
            parallel=config.parallel,
            embeddings=config.embeddings,
            prepare=config.prepare,
        )
        environment = select_variables(ENVIRONMENT) | select_by_prefix(ENVIRONMENT_PREFIXES)
        return ChildSpec(
            name="the embedded model",
            target=CHILD_TARGET,
            settings=msgspec.json.encode(settings),
            # Without GGML_NO_BACKTRACE, an abort starts a debugger first and takes seconds.
            environment=environment | {"GGML_NO_BACKTRACE": "1"},
            start_timeout=config.start_timeout,
            cause=CAUSE_PATTERN,
        )

    @property
    def available(self) -> bool:
        """Whether the model answers; false from the end of its process until the restart has succeeded."""
        return self.pid is not None

    def child_ready(self, child: Child) -> None:
        """The process serves (`SlotListener`)."""
        self.pid = child.pid
        self.readiness.set_serving()

    def child_exited(self) -> None:
        """The process has ended (`SlotListener`)."""
        self.pid = None
        self.readiness.set_starting()

    def restart_delayed(self, delay: float, failures: int) -> None:
        """A start failed (`SlotListener`)."""
        if failures >= MAX_FAILED_STARTS:
            self.readiness.set_failed(retry_after=delay)

    async def _probe(self, _: Child) -> str | None:
        """Request /health as a client. Returns the problem, or None."""
        with trio.move_on_after(HEALTH_TIMEOUT):
            try:
                async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
                    await stream.send_all(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                    head = await stream.receive_some(1024)
            except (OSError, trio.BrokenResourceError) as error:
                return f"its port {self._port} does not answer: {error}"
            return None if head.startswith(b"HTTP/1.1 200 ") else f"its port {self._port} answers {head[:40]!r}"
        return f"its port {self._port} did not answer within {HEALTH_TIMEOUT:g} s"


@contextmanager
def reserved_port() -> Iterator[int]:
    """A reserved loopback port, so that the base URL does not change with a restart.

    The socket is bound and never listens: connections are refused while no child listens on the port, and no other
    process is given it. The child needs SO_REUSEPORT and the same user.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@asynccontextmanager
async def open_engine(config: EngineConfig) -> AsyncIterator[Engine]:
    """Start the model, yield it when it answers, and end its process with the block.

    Raises LocalModelError when the model cannot be started. The function owns a nursery: other exceptions of the block
    are raised in an exception group. After a cancellation nothing is left. If this process is killed, or the thread
    that entered the block ends, the kernel kills the process of the model.
    """
    check = partial(check_model, config.model_path, prepared=bool(config.prepare))
    await trio.to_thread.run_sync(check)  # reads a file, which may be on a slow disk
    problem: str | None = None
    with reserved_port() as port:
        engine = Engine(config, port)
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(engine._slot.run)
            except ChildStartFailed as failure:
                problem = failure.reason
            else:
                yield engine
            nursery.cancel_scope.cancel()
    if problem is not None:
        raise LocalModelError(f"the model {config.model_path or 'for the demonstration'} cannot be served: {problem}")
