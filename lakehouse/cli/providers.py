"""The work of `lakehouse providers`: lists the providers, their keys, and whether they answer.

Exit status 0 when every registered provider answers, 1 when one does not or none is registered.
"""

from __future__ import annotations

import argparse
import os
import sys

import msgspec
import trio

from lakehouse.chat.dispatch.open_dispatcher import open_dispatcher
from lakehouse.cli.configuration import load_configuration
from lakehouse.cli.output import write_diagnostic, write_output
from lakehouse.cli.style import Style
from lakehouse.config import Config
from lakehouse.runtime.dependency_status import ProviderStatus, describe_ready, probe_providers


def run(arguments: argparse.Namespace) -> int:
    """Probe all providers at the same time and print the results."""
    config = load_configuration(arguments).config
    if sys.stderr.isatty():
        write_diagnostic("asking the providers …", end="\r")
    providers = trio.run(_probe, config)
    if sys.stderr.isatty():
        write_diagnostic("\x1b[2K", end="")
    if arguments.json:
        write_output(msgspec.json.format(msgspec.json.encode([_document(provider) for provider in providers])).decode())
    else:
        style = Style(sys.stdout)
        for provider in providers:
            write_output(_format_line(provider, style))
        if ready := describe_ready(config, os.environ):
            write_output(style.dim(f"  {ready}"))
    probes = [provider.probed for provider in providers if provider.probed is not None]
    return 0 if probes and all(probe.answers for probe in probes) else 1


async def _probe(config: Config) -> list[ProviderStatus]:
    async with open_dispatcher(config) as dispatcher:
        return await probe_providers(config, os.environ, dispatcher)


def _document(provider: ProviderStatus) -> dict[str, object]:
    probed = provider.probed
    replica = {"replica": provider.replica} if provider.replica else {}
    return {
        "name": provider.name,
        **replica,
        "registered": provider.registered,
        "where": provider.where,
        "answers": None if probed is None else probed.answers,
        "detail": None if probed is None else probed.detail,
        "ms": None if probed is None else probed.ms,
    }


def _format_line(provider: ProviderStatus, style: Style) -> str:
    probed = provider.probed
    if probed is None:
        return f"{style.dim('·')} {provider.name:<13} {style.dim(provider.where)}"
    return f"{style.mark(probed.answers)} {provider.name:<13} {probed.detail} ({probed.ms:.0f} ms; {provider.where})"
