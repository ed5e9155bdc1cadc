"""`lakehouse sessions`."""

from __future__ import annotations

import argparse

from lakehouse.cli.registry import Command, add_config_option, import_late


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what to do, the session, and the service's URL."""
    add_config_option(parser)
    parser.add_argument("action", nargs="?", choices=("list", "show", "stop"), default="list", help="by default list")
    parser.add_argument("id", nargs="?", metavar="ID", help="the session to show or to stop")
    parser.add_argument("--url", metavar="URL", help="the service; by default the one of the configuration")
    parser.add_argument("--agent", metavar="NAME", help="stop this agent and those below it, and no others")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="of a list; by default 100, at most 1000")
    parser.add_argument("--json", action="store_true", help="for scripts")


COMMAND = Command(
    name="sessions",
    help="list the runs of clients in a running service, show one, or stop it",
    add_options=add_options,
    run=import_late("lakehouse.cli.sessions"),
)
