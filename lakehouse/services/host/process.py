"""The services process, a target of `process.bootstrap`: it serves the embedded services on an inherited socket.

It imports neither duckdb nor pyiceberg nor pyarrow: only its children do, which it starts with the first request that
needs them. It holds the lock of the lake's folder from its start to its end.

The end of its standard input drains it. Signals of a terminal or of systemd stay blocked: the parent drains first.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import trio

from lakehouse.config import Config
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.process.bootstrap import Startup
from lakehouse.process.scheduling import wake_without_preemption
from lakehouse.process.tasks import open_background, wait_end_of_input
from lakehouse.server.server import BoundApp, serve_listeners
from lakehouse.services.host.app import make_host_app
from lakehouse.services.host.composition import OpenServices, open_apps
from lakehouse.services.host.settings import HostSettings, decode_settings
from lakehouse.services.lake.directory import LakeDirectory, locate, open_lake_directory
from lakehouse.services.lake.errors import LakeError
from lakehouse.telemetry.gauges import GaugeRegistry
from lakehouse.telemetry.log import Log, redirect_stdlib
from lakehouse.telemetry.process_reports import serve_reports
from lakehouse.telemetry.service_gauges import process_gauges
from lakehouse.telemetry.traffic_ipc import serve_batches

NAME = "services"
"""What `/health` and the gauges call this process."""

OpenApps = Callable[[LakeDirectory, Config], AbstractAsyncContextManager[OpenServices]]


def run(startup: Startup) -> None:
    """The target of the services process."""
    run_host(startup, partial(open_apps, relay=decode_settings(startup.settings).relay))


def run_host(startup: Startup, open_services: OpenApps) -> None:
    """Serve what `open_services` opens until standard input ends. A folder that cannot be used is a failed start."""
    settings = decode_settings(startup.settings)
    config = settings.decode_config()
    log = Log(config.observe.log)
    _raise_file_limit()
    wake_without_preemption()
    with redirect_stdlib(log):
        try:
            folder = locate(config.lake.path, os.environ)
            with open_lake_directory(folder, socket=settings.socket, service=settings.service) as directory:
                trio.run(_serve, settings, config, directory, open_services, log, startup.report_ready)
        except LakeError as error:
            startup.report_failure(str(error))


def _raise_file_limit() -> None:
    """Use as many descriptors as are permitted: every worker may have `max_connections` to every service."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(
    settings: HostSettings,
    config: Config,
    directory: LakeDirectory,
    open_services: OpenApps,
    log: Log,
    report_ready: Callable[[], None],
) -> None:
    active, stopping = ActiveRequests(), trio.Event()
    async with open_background() as background:
        background.start_soon(log.sink.run)
        async with open_services(directory, config) as services:
            app = make_host_app(services.apps, name=NAME, active_requests=active)
            gauges = GaugeRegistry()
            gauges.register(*process_gauges(NAME), *services.gauges)
            await background.start(serve_reports, Path(settings.reports), gauges, active)
            if services.system_tables is not None and settings.traffic:
                services.system_tables.expect_batches()
                await background.start(serve_batches, Path(settings.traffic), services.system_tables.store.append)
            async with trio.open_nursery() as serving:
                await serving.start(
                    partial(
                        serve_listeners,
                        [BoundApp(app, socket.socket(fileno=settings.descriptor))],
                        stopping=stopping,
                        drain_timeout=config.server.drain_timeout,
                        abort_requests=app.drain,
                    )
                )
                background.start_soon(_stop_at_end_of_input, stopping)
                report_ready()


async def _stop_at_end_of_input(stopping: trio.Event) -> None:
    await wait_end_of_input()
    stopping.set()
