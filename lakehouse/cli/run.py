"""The work of `lakehouse run`: data services as daemons of their own."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial

import trio

from lakehouse.cli.configuration import load_configuration
from lakehouse.cli.output import write_diagnostic, write_output
from lakehouse.cli.until_signal import run_until_signal
from lakehouse.config import Config, ConfigError
from lakehouse.core.groups import unwrap_single
from lakehouse.runtime.daemons import run_daemons
from lakehouse.server.server import Service
from lakehouse.services.host.names import SERVICES
from lakehouse.services.lake.errors import LakeError
from lakehouse.telemetry.log import Log, redirect_stdlib


def run(arguments: argparse.Namespace) -> int:
    """Run the daemons. Returns 0 after a clean drain."""
    names = tuple(dict.fromkeys(arguments.names))
    check_names(names)
    config = load_configuration(arguments).config
    log = Log(config.observe.log)
    with redirect_stdlib(log):
        try:
            return trio.run(_run, config, names, log)
        except (BaseExceptionGroup, LakeError, OSError) as caught:
            error = unwrap_single(caught)
            if isinstance(error, BrokenPipeError) or not isinstance(error, LakeError | OSError):
                raise
    write_diagnostic(f"lakehouse: cannot start: {error}")
    return 1


def check_names(names: Sequence[str]) -> None:
    """Raises ConfigError for a name that is no service."""
    problems = [f"{name}: the services are {', '.join(SERVICES)}" for name in names if name not in SERVICES]
    if problems:
        raise ConfigError(problems)


async def _run(config: Config, names: Sequence[str], log: Log) -> int:
    def announce(service: Service) -> None:
        for name, url in zip(names, service.urls, strict=False):  # the last URL is the private socket
            write_output(f"{name} listening on {url}")

    return await run_until_signal(partial(run_daemons, config, names, env=os.environ, log=log), announce)
