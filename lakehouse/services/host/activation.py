"""Socket activation of the services process, in its parent: the socket, the start, restarts, the drain.

    listening socket ──readable──> start the process, which inherits the socket and accepts the connections
                     ──the process ends──> wait for the back-off, then for the next connection

A connection waits in the backlog of the socket while the process starts or is restarted, so a client sees a delay and
no refusal. While starts keep failing, this process answers in its place: 503 with the reason (`substitute`).

The parent decides when the process ends: the end of its standard input drains it, and it is killed with its parent.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import trio

from lakehouse.config import Config
from lakehouse.config.document import encode_config
from lakehouse.config.query_engine_tables import list_engines
from lakehouse.process.child import Child, open_child
from lakehouse.process.environment import select_variables
from lakehouse.process.errors import ChildStartFailed
from lakehouse.process.spec import ChildSpec, RestartPolicy
from lakehouse.process.supervision.backoff import Backoff
from lakehouse.process.tasks import open_background
from lakehouse.server.listening import listen_on_unix_socket
from lakehouse.services.engines.remote import secrets
from lakehouse.services.host.settings import HostSettings
from lakehouse.services.host.substitute import serve_unavailable
from lakehouse.services.lake.errors import LakeError
from lakehouse.services.vector_stores import keys
from lakehouse.services.warehouse import settings as warehouse_settings
from lakehouse.telemetry.worker_ipc import make_private_directory

logger = logging.getLogger("lakehouse.services")

TARGET = "lakehouse.services.host.process:run"
RESTART = RestartPolicy(initial_delay=0.1, max_delay=5.0, stable_after=5.0, stable_delay=0.0)

DRAIN_TIMEOUT = 5.0
"""Seconds for the process to end once no request is in it: engines are killed and the files are closed."""

ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "LH_FORCE_FULL_ENRICHMENT", "PATH", "TMPDIR", "TZ", "XDG_DATA_HOME")
"""The variables of the process, none of which holds a provider's key."""

SOCKET_NAME, REPORTS_NAME, RELAY_NAME, TRAFFIC_NAME = "services", "reports", "providers", "traffic"
"""The names of the sockets in their directory; those of workers end in `.sock`."""


def list_variables(config: Config) -> tuple[str, ...]:
    """The variables of the process for a configuration: with the credentials of warehouse, stores and SQL engines."""
    warehouse = warehouse_settings.VARIABLES if config.lake.warehouse else ()
    engines = (name for engine in list_engines(config.queryd) for name in secrets.VARIABLES.get(engine, ()) if name)
    has_store = config.vectord.store or config.pathwayd.store or config.observerd.store
    stores = ("PGPASSWORD", *keys.VARIABLES) if has_store else ()
    return (*ENVIRONMENT, *warehouse, *engines, *stores)


class ServicesProcess:
    """The services process and its successors. `socket_path` is where it answers HTTP.

    `reports_path` is where it reports gauges and phases while it runs (`telemetry.process_reports`), `traffic_path`
    where it receives rows of the system tables (`telemetry.traffic_ipc`).
    """

    def __init__(
        self, config: Config, directory: Path, listener: socket.socket, *, target: str = TARGET, service: str = ""
    ) -> None:
        self.socket_path = str(directory / SOCKET_NAME)
        self.reports_path = str(directory / REPORTS_NAME)
        self.traffic_path = str(directory / TRAFFIC_NAME)
        self.pid: int | None = None
        """The number of the process; None while none is ready."""
        self._eager = config.lake.start == "eager"
        self._listener = listener
        self._backoff = Backoff(RESTART)
        self._child: Child | None = None
        self._draining = False
        self._ended = trio.Event()
        settings = HostSettings(
            config=msgspec.Raw(encode_config(config)),
            descriptor=listener.fileno(),
            socket=self.socket_path,
            reports=self.reports_path,
            service=service,
            relay=str(directory / RELAY_NAME),
            traffic=self.traffic_path,
        )
        self._spec = ChildSpec(
            name="the services process",
            target=target,
            settings=msgspec.json.encode(settings),
            environment=select_variables(list_variables(config)),
            pass_fds=(listener.fileno(),),
            capture_log=False,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start the process when it is needed, until `drain` or cancellation. No process is left afterwards.

        `task_status` is started at once, or, with `[lake] start` "eager", when the first process is ready; then a first
        start that fails raises LakeError.
        """
        first = self._eager
        if not first:
            task_status.started()
        try:
            while not self._draining:
                if not self._eager:
                    await trio.lowlevel.wait_readable(self._listener)
                try:
                    ended = await self._run_child(task_status if first else trio.TASK_STATUS_IGNORED)
                except ChildStartFailed as failure:
                    if first:
                        raise LakeError(failure.reason) from None
                    await self._refuse_requests(failure)
                else:
                    first = False
                    await self._wait_for_restart(*ended)
        finally:
            self._ended.set()

    async def drain(self) -> None:
        """End the process once its requests have ended, within `DRAIN_TIMEOUT` seconds. It is not started again."""
        self._draining = True
        if self._child is not None and self.pid is not None:
            await self._child.stdin.aclose()
            with trio.move_on_after(DRAIN_TIMEOUT):
                await self._ended.wait()

    async def _run_child(self, task_status: trio.TaskStatus[None]) -> tuple[float, str]:
        """Run one process from its start to its end. Returns the seconds it served, and a description of its end.

        Raises ChildStartFailed.
        """
        try:
            async with open_child(self._spec, log=logger) as child:
                self._child = child
                await child.wait_ready()
                self.pid, began = child.pid, trio.current_time()
                task_status.started()
                await child.wait_exit()
                return trio.current_time() - began, await child.describe_exit()
        except OSError as error:  # too many processes or open files
            raise ChildStartFailed(self._spec.name, f"no process can be started: {error}") from error
        finally:
            self.pid = self._child = None

    async def _wait_for_restart(self, served: float, ending: str) -> None:
        if not self._draining:
            delay = self._backoff.delay_after(served)
            logger.error("the services process ended: its process %s; it can start again in %g s", ending, delay)
            await trio.sleep(delay)

    async def _refuse_requests(self, failure: ChildStartFailed) -> None:
        delay = self._backoff.delay_after(None)
        logger.error("%s; the next attempt follows in %g s", failure, delay)
        await serve_unavailable(self._listener, failure.reason, seconds=delay)


@asynccontextmanager
async def open_services_process(
    config: Config,
    *,
    directory: Path | None = None,
    target: str = TARGET,
    service: str = "",
    get_config: Callable[[], Config] | None = None,
) -> AsyncIterator[ServicesProcess]:
    """The services process for the length of the block, and drained at its end; killed if the block is cancelled.

    Its sockets are in `directory`, which only this user may enter; by default in a new one. `target` is the function
    that the process runs (`process.spec.ChildSpec`). `service` is the URL of the service that has the process, for
    others who look for the holder of the lake. `get_config` returns the configuration in force, for the keys of
    providers; by default `config`. Raises LakeError if `[lake] start` is "eager" and the process
    cannot start.
    """
    with ExitStack() as stack:
        place = stack.enter_context(make_private_directory()) if directory is None else directory
        listener = stack.enter_context(listen_on_unix_socket(str(place / SOCKET_NAME)))
        relay = stack.enter_context(listen_on_unix_socket(str(place / RELAY_NAME)))
        process = ServicesProcess(config, place, listener, target=target, service=service)
        async with open_background() as nursery:
            nursery.start_soon(_serve_relay, relay, get_config or (lambda: config))
            await nursery.start(process.run)
            yield process
            await process.drain()


async def _serve_relay(listener: socket.socket, get_config: Callable[[], Config]) -> None:
    """Serve the relay to providers, from the first connection of the services process on."""
    await trio.lowlevel.wait_readable(listener)
    from lakehouse.services.host.provider_relay import serve_relay  # the providers: much code, for few lakes

    await serve_relay(listener.dup(), get_config, os.environ)
