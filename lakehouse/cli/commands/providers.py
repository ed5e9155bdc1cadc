"""`lakehouse providers`."""

from __future__ import annotations

import argparse

from lakehouse.cli.registry import Command, add_config_option, import_late


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the configuration and the output format."""
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="for scripts")


COMMAND = Command(
    name="providers",
    help="the providers: is their key found, do they answer",
    add_options=add_options,
    run=import_late("lakehouse.cli.providers"),
)
