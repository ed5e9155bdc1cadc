"""`lakehouse tables`."""

from __future__ import annotations

import argparse

from lakehouse.cli.lake_options import add_lake_options
from lakehouse.cli.registry import Command, import_late


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the name of a table and the output format."""
    add_lake_options(parser)
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("name", nargs="?", metavar="NAME", help="show the columns of this table")


COMMAND = Command(
    name="tables",
    help="list the tables of the lake, or the columns of one",
    add_options=add_options,
    run=import_late("lakehouse.cli.lake.tables"),
)
