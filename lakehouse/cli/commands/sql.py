"""`lakehouse sql`."""

from __future__ import annotations

import argparse

from lakehouse.cli.lake_options import add_lake_options
from lakehouse.cli.registry import Command, import_late


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the statement and the format of the answer."""
    add_lake_options(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the JSON of the answer")
    form.add_argument("--csv", action="store_true", help="print all rows as CSV, as for an output that is no terminal")
    parser.add_argument("--max-rows", type=int, metavar="N", help="rows at most; on a terminal 200 without it")
    parser.add_argument(
        "--timeout", metavar="DURATION", help='such as 10 or "500ms"; it can only shorten [lake] query_timeout'
    )
    parser.add_argument("--engine", metavar="NAME", help="one that is configured; without it that of [queryd] engine")
    parser.add_argument("sql", nargs="*", metavar="SQL", help="one statement; standard input when absent or `-`")


COMMAND = Command(
    name="sql",
    help="query the tables of the lake, with a running service or without one",
    add_options=add_options,
    run=import_late("lakehouse.cli.lake.sql"),
)
