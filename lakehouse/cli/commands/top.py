"""`lakehouse top`."""

from __future__ import annotations

import argparse

from lakehouse.cli.registry import Command, add_config_option, import_late
from lakehouse.config import values


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the service's URL and the interval of the display."""
    add_config_option(parser)
    parser.add_argument("url", nargs="?", metavar="URL", help="the service; by default the one of the configuration")
    parser.add_argument("--interval", type=_seconds, default=1.0, metavar="SECONDS", help="between two updates")
    parser.add_argument("--once", action="store_true", help="print one table, as for an output that is no terminal")


def _seconds(text: str) -> float:
    try:
        return values.positive_duration(float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above zero (got {text!r})") from None


COMMAND = Command(
    name="top",
    help="the requests in flight in a running service, live",
    add_options=add_options,
    run=import_late("lakehouse.cli.top"),
)
