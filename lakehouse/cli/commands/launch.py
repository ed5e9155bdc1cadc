"""`lakehouse launch`."""

from __future__ import annotations

import argparse

from lakehouse.cli.launch_clients import CLIENTS
from lakehouse.cli.registry import Command, add_config_option, import_late


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the client, the model, and the service's URL."""
    add_config_option(parser)
    parser.add_argument("client", choices=sorted(CLIENTS), help="the program to start, which has to be installed")
    parser.add_argument("-m", "--model", help="model or tier; by default the first that the service lists")
    parser.add_argument("--url", metavar="URL", help="the service; by default the one of the configuration")
    parser.epilog = "What stands behind `--` is given to the client."


COMMAND = Command(
    name="launch",
    help="start an installed client that is set up for a running service",
    add_options=add_options,
    run=import_late("lakehouse.cli.launch"),
    forwards=True,
)
