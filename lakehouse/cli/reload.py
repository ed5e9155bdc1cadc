"""The work of `lakehouse reload`: has a running service read its configuration again."""

from __future__ import annotations

import argparse
from functools import partial

import msgspec

from lakehouse.cli.output import write_output
from lakehouse.cli.service_client import ServiceClient, run_with_service
from lakehouse.runtime.reload.endpoint import RELOAD_PATH
from lakehouse.runtime.reload.orders import RELOAD_TIMEOUT
from lakehouse.runtime.reload.reloader import ReloadReport


def run(arguments: argparse.Namespace) -> int:
    """Reload, and print what has changed. Returns 1, with every problem on standard error, if nothing has."""
    work = partial(_reload, arguments)
    return run_with_service("reload", arguments, work, response_timeout=2 * RELOAD_TIMEOUT)


async def _reload(arguments: argparse.Namespace, service: ServiceClient) -> int:
    body = await service.call("POST", RELOAD_PATH)
    report = msgspec.json.decode(body, type=ReloadReport)
    if arguments.json:
        write_output(body.decode())
        return 0
    for key in report.changed:
        write_output(f"changed        {key}")
    for key in report.needs_restart:
        write_output(f"needs restart  {key}")
    if not report.changed and not report.needs_restart:
        write_output("nothing has changed")
    return 0
