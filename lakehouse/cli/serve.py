"""`lakehouse serve`: run the service until a signal asks it to drain."""

from __future__ import annotations

import argparse
import signal
import sys

import trio

from lakehouse.cli.ask import ask
from lakehouse.cli.settings import settings, with_bind, with_model
from lakehouse.cli.welcome import welcome
from lakehouse.config import Config, ConfigError
from lakehouse.crew import serve_with_workers
from lakehouse.edge.server import Service
from lakehouse.edge.workers import WorkerFailed
from lakehouse.local import LocalModelError
from lakehouse.observe.log import Log, stdlib_to
from lakehouse.service import serve


def run(arguments: argparse.Namespace) -> int:
    """Serve; 0 after a clean drain."""
    loaded = settings(arguments)
    config = with_model(with_bind(loaded.config, arguments.bind), arguments.model, demo=arguments.demo)
    log = Log(config.observe.log)
    with stdlib_to(log):
        try:
            return trio.run(_Run(config, log, arguments).main)
        except BaseExceptionGroup as group:
            error = _only(group)
            if isinstance(error, ConfigError):
                raise error from None
            if not isinstance(error, LocalModelError | WorkerFailed | OSError):
                raise
        except (LocalModelError, WorkerFailed, OSError) as caught:
            error = caught
    print(f"lakehouse: cannot start: {error}", file=sys.stderr)
    return 1


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The exception in a group of one, however deep; nurseries wrap what comes out of them."""
    inner = group.exceptions[0] if len(group.exceptions) == 1 else group
    return _only(inner) if isinstance(inner, BaseExceptionGroup) and inner is not group else inner


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
            for url in service.urls:
                print(f"listening on {url}", flush=True)
            if self._question is None:
                nursery.start_soon(welcome, self._config, service.urls[0], service.stopping)
            else:
                nursery.start_soon(self._ask, service, self._question)
        return self._status

    async def _guarded(self, *, task_status: trio.TaskStatus[Service]) -> None:
        """The service and the signals that end it: the first one drains, the second one stops at once."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                started: list[Service] = []

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

    async def _serve(self, *, task_status: trio.TaskStatus[Service]) -> None:
        if self._workers == 1:
            await serve(self._config, log=self._log, task_status=task_status)
        elif not await serve_with_workers(self._config, self._workers, task_status=task_status):
            self._status = 1

    async def _ask(self, service: Service, question: str) -> None:
        if not await ask(self._config, service.urls[0], question):
            self._status = 1
        service.stop()
