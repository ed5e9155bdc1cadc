"""`lakehouse run`."""

from __future__ import annotations

import argparse

from lakehouse.cli.registry import Command, add_config_option, import_late


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the names of the services."""
    add_config_option(parser)
    parser.add_argument("names", nargs="+", metavar="NAME", help="a data service, such as storaged or queryd")


COMMAND = Command(
    name="run",
    help="run data services as daemons, each at the `bind` of its table, until SIGTERM or Ctrl-C drains them",
    add_options=add_options,
    run=import_late("lakehouse.cli.run"),
)
