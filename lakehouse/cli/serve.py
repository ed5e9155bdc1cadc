"""The work of `lakehouse serve`: runs the service until a signal drains it."""

from __future__ import annotations

import argparse
import logging
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import trio

from lakehouse.cli.configuration import load_configuration, with_bind, with_model
from lakehouse.cli.lake.demo_lake import (
    DemoLakeError,
    NoDemoLake,
    curl_command,
    curl_search_command,
    demo_lake,
    fill_demo_lake,
    format_answer,
    query_demo_lake,
    search_demo_lake,
)
from lakehouse.cli.output import OutputError, redirect_to_devnull, write_diagnostic, write_output
from lakehouse.cli.smoke_request import smoke_request
from lakehouse.cli.startup_report import startup_report
from lakehouse.cli.until_signal import run_unless_stopping, run_until_signal
from lakehouse.config import Config, LakeTable, load_config
from lakehouse.core.groups import unwrap_single
from lakehouse.local_model import LocalModelError
from lakehouse.process.errors import ChildStartFailed
from lakehouse.runtime.reload.reloader import ReadConfig
from lakehouse.runtime.service import run_service
from lakehouse.server.server import Service
from lakehouse.services.lake.errors import LakeError
from lakehouse.telemetry.log import Log, redirect_stdlib

logger = logging.getLogger("lakehouse.serve")

START_FAILURES = (LocalModelError, LakeError, ChildStartFailed, OSError)


def run(arguments: argparse.Namespace) -> int:
    """Run the service. Returns 0 after a clean drain."""
    loaded = load_configuration(arguments)
    config = _apply_options(loaded.config, arguments)
    log = Log(config.observe.log)
    with redirect_stdlib(log), demo_lake(config) if arguments.demo else nullcontext(config) as config:
        read_config = partial(_read_again, arguments, loaded.path, config.lake if arguments.demo else None)
        try:
            return trio.run(_Run(config, log, arguments, read_config).main)
        except (*START_FAILURES, BaseExceptionGroup) as caught:
            error = unwrap_single(caught)
            if isinstance(error, BrokenPipeError) or not isinstance(error, START_FAILURES):
                raise
    write_diagnostic(f"lakehouse: cannot start: {error}")
    return 1


def _apply_options(config: Config, arguments: argparse.Namespace) -> Config:
    return with_model(with_bind(config, arguments.bind), arguments.model, demo=arguments.demo)


def _read_again(arguments: argparse.Namespace, path: Path | None, lake: LakeTable | None) -> Config:
    """The configuration for a reload, from the file of the start. `lake` is the demonstration's. Raises ConfigError."""
    loaded = load_config(arguments.config if path is None else path)
    for warning in loaded.warnings:
        logger.warning("%s", warning)
    config = _apply_options(loaded.config, arguments)
    return config if lake is None else replace(config, lake=lake)


class _Run:
    """One run of the service, from its start to the exit status."""

    def __init__(self, config: Config, log: Log, arguments: argparse.Namespace, read_config: ReadConfig) -> None:
        self._config = config
        self._read_config = read_config
        self._log = log
        self._workers: int = arguments.workers
        self._question: str | None = arguments.ask
        self._demo: bool = arguments.demo
        self._status = 0

    async def main(self) -> int:
        async with trio.open_nursery() as nursery:
            service = await nursery.start(self._run_until_signal)
            if service is None:
                return self._status
            for url in service.urls:
                self._announce(f"listening on {url}")
            if self._question is None:
                nursery.start_soon(startup_report, self._config, service.urls[0], service.stopping, self._report)
                if self._demo:
                    nursery.start_soon(self._fill_demo_lake, service)
            else:
                nursery.start_soon(self._send_smoke_requests, service, self._question)
        return self._status

    def _announce(self, text: str) -> None:
        """Write to standard output. If that fails, it is logged and the service goes on."""
        try:
            write_output(text)
        except (OutputError, BrokenPipeError) as error:
            redirect_to_devnull(1)
            logger.warning("%s; the line that could not be written: %s", error, text)

    def _report(self, line: str) -> None:
        """Write a line of the startup report to standard error, in the format of the log."""
        if self._log.log_format != "console":
            logger.info("%s", " ".join(line.split()))  # without the spaces that align columns on a terminal
            return
        with suppress(OSError):  # the terminal is gone
            write_diagnostic(line)

    async def _run_until_signal(self, *, task_status: trio.TaskStatus[Service | None]) -> None:
        """Run the service until a signal; None is reported as started if a signal stopped the start."""
        started: list[Service] = []

        def report_started(service: Service) -> None:
            started.append(service)
            task_status.started(service)

        self._status = await run_until_signal(self._serve, report_started) or self._status
        if not started:
            task_status.started(None)

    async def _serve(self, *, task_status: trio.TaskStatus[Service]) -> None:
        if self._workers == 1:
            await run_service(self._config, log=self._log, read_config=self._read_config, task_status=task_status)
            return
        from lakehouse.runtime.multiprocess import serve_multiprocess  # what supervises processes

        serve = partial(serve_multiprocess, read_config=self._read_config, log=self._log, task_status=task_status)
        if not await serve(self._config, self._workers):
            self._status = 1

    async def _fill_demo_lake(self, service: Service) -> None:
        """Make the demonstration tables, unless the service stops before."""

        async def fill() -> None:
            try:
                for line in await fill_demo_lake(self._config, service.urls[0]):
                    self._report(line)
            except DemoLakeError as error:
                self._report(str(error))

        await run_unless_stopping(fill, service.stopping)

    async def _send_smoke_requests(self, service: Service, question: str) -> None:
        """Print one chat and, with the demonstration data, one query and one search; then stop the service."""

        async def send() -> None:
            if not await smoke_request(self._config, service.urls[0], question):
                self._status = 1
            if self._demo:
                await self._send_smoke_query(service.urls[0])

        await run_unless_stopping(send, service.stopping)
        service.stop()

    async def _send_smoke_query(self, url: str) -> None:
        try:
            await fill_demo_lake(self._config, url)
            write_output(f"\n$ {curl_command(self._config, url)}")
            write_output(format_answer(await query_demo_lake(self._config, url)))
            write_output(f"\n$ {curl_search_command(self._config, url)}")
            write_output(msgspec.json.format(await search_demo_lake(self._config, url)).decode())
        except DemoLakeError as error:
            write_diagnostic(f"lakehouse: {error}")
            self._status = self._status if isinstance(error, NoDemoLake) else 1
