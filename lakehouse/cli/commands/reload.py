"""`lakehouse reload`."""

from __future__ import annotations

import argparse

from lakehouse.cli.registry import Command, add_config_option, import_late


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the service's URL."""
    add_config_option(parser)
    parser.add_argument("url", nargs="?", metavar="URL", help="the service; by default the one of the configuration")
    parser.add_argument("--json", action="store_true", help="for scripts")


COMMAND = Command(
    name="reload",
    help="make a running service read its configuration again, without losing a request",
    add_options=add_options,
    run=import_late("lakehouse.cli.reload"),
)
