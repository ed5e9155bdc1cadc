"""`lakehouse providers`: which exist, whether their key was found, whether they answer.

Exit status 0 when every registered provider answers, 1 when one does not or none is registered.
"""

from __future__ import annotations

import argparse
import os
import sys

import msgspec
import trio

from lakehouse.chat.dispatch.open_dispatcher import open_dispatcher
from lakehouse.cli.configuration import settings
from lakehouse.cli.output import say
from lakehouse.cli.style import Style
from lakehouse.config import Config
from lakehouse.runtime.probe import ProviderStatus, probe_providers


def run(arguments: argparse.Namespace) -> int:
    """Ask them all at once and print what they said."""
    config = settings(arguments).config
    if sys.stderr.isatty():
        print("asking the providers …", end="\r", file=sys.stderr, flush=True)
    providers = trio.run(_ask, config)
    if sys.stderr.isatty():
        print("\x1b[2K", end="", file=sys.stderr, flush=True)
    if arguments.json:
        say(msgspec.json.format(msgspec.json.encode([_row(provider) for provider in providers])).decode())
    else:
        style = Style(sys.stdout)
        for provider in providers:
            say(_line(provider, style))
    asked = [provider.probed for provider in providers if provider.probed is not None]
    return 0 if asked and all(probed.answers for probed in asked) else 1


async def _ask(config: Config) -> list[ProviderStatus]:
    async with open_dispatcher(config) as dispatcher:
        return await probe_providers(config, os.environ, dispatcher)


def _row(provider: ProviderStatus) -> dict[str, object]:
    probed = provider.probed
    return {
        "name": provider.name,
        "registered": provider.registered,
        "where": provider.where,
        "answers": None if probed is None else probed.answers,
        "detail": None if probed is None else probed.detail,
        "ms": None if probed is None else probed.ms,
    }


def _line(provider: ProviderStatus, style: Style) -> str:
    probed = provider.probed
    if probed is None:
        return f"{style.dim('·')} {provider.name:<13} {style.dim(provider.where)}"
    return f"{style.mark(probed.answers)} {provider.name:<13} {probed.detail} ({probed.ms:.0f} ms; {provider.where})"
