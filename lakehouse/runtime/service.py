"""Serving: sockets, resources, listeners, in the order in which they are opened.

    bind_addresses            an address that is taken is known before a model is loaded
      └─ open_runtime         the embedded model, the dispatcher, the gateway, telemetry
           └─ serve_listeners connections are accepted, no longer accepted, and drained at the end

`serve` does all of it in the caller's nursery. The same application without sockets of its own, for stock Hypercorn, is
in `runtime.quart_app`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import trio

from lakehouse.config import Config
from lakehouse.process.tasks import open_background
from lakehouse.runtime.preflight import preflight
from lakehouse.runtime.reload.reloader import ReadConfig
from lakehouse.runtime.reload.sighup import reload_at_sighup
from lakehouse.runtime.runtime import WorkerSlot, open_runtime
from lakehouse.server.listening import bind_socket
from lakehouse.server.server import BoundApp, Service, serve_listeners
from lakehouse.telemetry.log import Log


async def serve(
    config: Config | None = None,
    *,
    env: Mapping[str, str] | None = None,
    task_status: trio.TaskStatus[Service] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the service in the caller's nursery: `service = await nursery.start(serve, config)`, then `service.urls`.

    `env` is where keys and tokens are looked up, the process's environment by default. Signals are left to the caller.
    Returns after `service.stop()`, when every request has ended or `[server] drain_timeout` has passed. A start that
    fails raises from `nursery.start` with nothing bound: ConfigError, LocalModelError, LakeError, or AddressError (an
    OSError) for an address that cannot be bound. When cancelled, every request ends at once and everything is closed.
    """
    await run_service(config, env=env, task_status=task_status)


async def run_service(
    config: Config | None = None,
    *,
    env: Mapping[str, str] | None = None,
    log: Log | None = None,
    slot: WorkerSlot | None = None,
    read_config: ReadConfig | None = None,
    task_status: trio.TaskStatus[Service] = trio.TASK_STATUS_IGNORED,
) -> None:
    """`serve` with a log of the caller's (`log`), and in a worker's place under a supervisor (`slot`).

    `read_config` reads the configuration again, for `POST /v1/reload` and at SIGHUP: then this is the main thread of a
    program that owns its process.
    """
    config = Config() if config is None else config
    env = os.environ if env is None else env
    slot = WorkerSlot() if slot is None else slot
    checked = preflight(config, env)
    with bind_addresses(config, slot.sockets) as sockets:
        async with (
            open_runtime(config, checked, env=env, log=log, slot=slot, read_config=read_config) as runtime,
            open_background() as background,
        ):
            if read_config is not None:
                await background.start(reload_at_sighup, runtime.reloader.reload, runtime.stopping)
            apps = runtime.list_apps(config)
            bound = [
                BoundApp(app, sock, checked.tls, runtime.make_error_headers)
                for app, sock in zip(apps, sockets, strict=True)
            ]
            await serve_listeners(
                bound,
                stopping=runtime.stopping,
                drain_timeout=config.server.drain_timeout,
                abort_requests=runtime.abort_remaining,
                on_connection_counter=runtime.set_connection_counter,
                task_status=task_status,
            )


@contextmanager
def bind_addresses(config: Config, given: Sequence[socket.socket] | None = None) -> Iterator[Sequence[socket.socket]]:
    """A socket for each address, the gateway's first: those that were given, or new ones. Closed with the block."""
    binds = [bind for bind in (config.gateway.bind, config.chatd.bind, config.ollama.bind) if bind is not None]
    with ExitStack() as stack:
        if given is None:
            yield [stack.enter_context(bind_socket(*address)) for address in binds]
        else:
            yield [stack.enter_context(sock) for sock in given]
