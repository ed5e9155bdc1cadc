"""`lakehouse serve`: run the service until a signal asks it to drain."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from contextlib import suppress

import trio

from lakehouse.cli.configuration import settings, with_bind, with_model
from lakehouse.cli.output import OutputError, redirect_to_devnull, say
from lakehouse.cli.smoke_request import smoke_request
from lakehouse.cli.startup_report import startup_report
from lakehouse.config import Config
from lakehouse.core.groups import unwrap_single
from lakehouse.local_model import LocalModelError
from lakehouse.process.errors import ChildStartFailed
from lakehouse.runtime.service import run_service
from lakehouse.server.server import Service
from lakehouse.telemetry.log import Log, redirect_stdlib

logger = logging.getLogger("lakehouse.serve")

START_FAILURES = (LocalModelError, ChildStartFailed, OSError)


def run(arguments: argparse.Namespace) -> int:
    """Serve; 0 after a clean drain."""
    loaded = settings(arguments)
    config = with_model(with_bind(loaded.config, arguments.bind), arguments.model, demo=arguments.demo)
    log = Log(config.observe.log)
    with redirect_stdlib(log):
        try:
            return trio.run(_Run(config, log, arguments).main)
        except BaseExceptionGroup as group:
            error = unwrap_single(group)
            if isinstance(error, BrokenPipeError) or not isinstance(
                error, LocalModelError | ChildStartFailed | OSError
            ):
                raise
        except START_FAILURES as caught:
            error = caught
    print(f"lakehouse: cannot start: {error}", file=sys.stderr)
    return 1


class _Run:
    """The service from the first line to the exit status."""

    def __init__(self, config: Config, log: Log, arguments: argparse.Namespace) -> None:
        self._config = config
        self._log = log
        self._workers: int = arguments.workers
        self._question: str | None = arguments.ask
        self._status = 0

    async def main(self) -> int:
        async with trio.open_nursery() as nursery:
            service = await nursery.start(self._guarded)
            if service is None:
                return self._status
            for url in service.urls:
                self._announce(f"listening on {url}")
            if self._question is None:
                nursery.start_soon(startup_report, self._config, service.urls[0], service.stopping, self._tell)
            else:
                nursery.start_soon(self._ask, service, self._question)
        return self._status

    def _announce(self, text: str) -> None:
        """To standard output, which may be full or have no reader: that is no reason to stop serving."""
        try:
            say(text)
        except (OutputError, BrokenPipeError) as error:
            redirect_to_devnull(1)
            logger.warning("%s; this was to be said there: %s", error, text)

    def _tell(self, line: str) -> None:
        """To standard error, among the lines of the log and in their form."""
        if self._log.form != "console":
            logger.info("%s", " ".join(line.split()))  # the spaces line up on a terminal
            return
        with suppress(OSError):  # the terminal is gone
            print(line, file=sys.stderr)

    async def _guarded(self, *, task_status: trio.TaskStatus[Service | None]) -> None:
        """The service and the signals that end it: the first one drains, the second one stops at once.

        One that comes while it starts stops it at once, and there is no service.
        """
        started: list[Service] = []
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:

                async def obey() -> None:
                    async for number in signals:
                        if started and not started[0].stopping.is_set():
                            started[0].stop()
                        else:
                            self._status = 128 + number
                            nursery.cancel_scope.cancel(reason="a second signal")

                nursery.start_soon(obey)
                async with trio.open_nursery() as serving:
                    started.append(await serving.start(self._serve))
                    task_status.started(started[0])
                nursery.cancel_scope.cancel(reason="drained")
        if not started:
            task_status.started(None)

    async def _serve(self, *, task_status: trio.TaskStatus[Service]) -> None:
        if self._workers == 1:
            await run_service(self._config, log=self._log, task_status=task_status)
            return
        from lakehouse.runtime.multiprocess import serve_multiprocess  # what supervises processes

        if not await serve_multiprocess(self._config, self._workers, task_status=task_status):
            self._status = 1

    async def _ask(self, service: Service, question: str) -> None:
        if not await smoke_request(self._config, service.urls[0], question):
            self._status = 1
        service.stop()
