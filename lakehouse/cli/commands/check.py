"""`lakehouse check`."""

from __future__ import annotations

import argparse

from lakehouse.cli.registry import Command, add_config_option, import_late


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the configuration and the output format."""
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="for scripts")


COMMAND = Command(
    name="check",
    help="validate the configuration and show what would run",
    add_options=add_options,
    run=import_late("lakehouse.cli.check"),
)
