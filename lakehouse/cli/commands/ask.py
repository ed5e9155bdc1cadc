"""`lakehouse ask`."""

from __future__ import annotations

import argparse

from lakehouse.cli.lake_options import add_lake_options
from lakehouse.cli.registry import Command, import_late


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add where to search, the model, and the question."""
    add_lake_options(parser)
    parser.add_argument("--corpora", metavar="A,B", help="indexes to search; by default all that hold texts")
    parser.add_argument("--tables", metavar="A,B", help="tables whose rows are searched by word, beside the corpora")
    parser.add_argument("-m", "--model", help="model or tier; by default the first tier, else the first that is found")
    parser.add_argument("-k", type=int, default=6, metavar="N", help="passages for the model at most; default: 6")
    parser.add_argument("--demo", action="store_true", help="ask a tiny model of random weights here (noise, but real)")
    parser.add_argument("--json", action="store_true", help="print the whole answer as JSON instead of streaming it")
    parser.add_argument("question", nargs="*", metavar="TEXT", help="read from standard input when absent or `-`")


COMMAND = Command(
    name="ask",
    help="answer a question from what is stored, with its sources: by the running service, or without one",
    add_options=add_options,
    run=import_late("lakehouse.cli.lake.ask"),
)
