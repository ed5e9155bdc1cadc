"""The work of `lakehouse launch`: replaces this process by a client that is set up for a running service."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import uuid
from collections.abc import Mapping, Sequence

import msgspec

from lakehouse.cli.launch_clients import CLIENTS, LaunchSettings, LaunchTarget
from lakehouse.cli.output import write_diagnostic
from lakehouse.cli.service_client import ServiceClient, run_with_service

NO_TOKEN = "none"  # noqa: S105 - for clients that want a text where the service wants none


class _Model(msgspec.Struct, frozen=True):
    id: str


class _Models(msgspec.Struct, frozen=True):
    data: list[_Model]


def run(arguments: argparse.Namespace) -> int:
    """Start the client; does not return if that succeeds, so that terminal, signals and exit status are the client's.

    Returns 1 if the client is not installed or the service does not answer.
    """
    client = CLIENTS[arguments.client]
    program = shutil.which(client.program)
    if program is None:
        message = f"`{client.program}` is not installed, or in no directory of $PATH: {client.install}"
        write_diagnostic(f"lakehouse launch: {message}")
        return 1
    found: list[LaunchTarget] = []

    async def find_target(service: ServiceClient) -> int:
        listed = msgspec.json.decode(await service.call("GET", "/v1/models"), type=_Models).data
        models = tuple(model.id for model in listed)
        if not arguments.model and not models:
            write_diagnostic(f"lakehouse launch: {service.url} lists no model: name one with --model")
            return 1
        model = arguments.model or models[0]
        token = service.token or NO_TOKEN
        run = f"{arguments.client}-{uuid.uuid4()}"
        found.append(LaunchTarget(url=str(service.url).rstrip("/"), token=token, run=run, model=model, models=models))
        return 0

    if status := run_with_service("launch", arguments, find_target):
        return status
    (target,) = found
    write_diagnostic(f"lakehouse launch: {client.program} with {target.model} at {target.url}")
    return _replace_process(program, client.configure(target, os.environ), arguments.forwarded)


def _replace_process(program: str, settings: LaunchSettings, arguments: Sequence[str]) -> int:
    """Execute the client in place of this process. Returns 1 if it cannot be executed."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and a new program would go on to ignore
        signal.signal(number, signal.SIG_DFL)
    environment = _change(os.environ, settings.environment)
    try:
        os.execve(program, [program, *settings.arguments, *arguments], environment)  # noqa: S606 - no shell is wanted
    except OSError as error:
        write_diagnostic(f"lakehouse launch: {program}: {error.strerror}")
        return 1


def _change(env: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """The environment with the changes; a variable whose value is None is removed."""
    kept = {name: value for name, value in env.items() if name not in changes}
    return kept | {name: value for name, value in changes.items() if value is not None}
