"""`lakehouse search`."""

from __future__ import annotations

import argparse

from lakehouse.cli.lake_options import add_lake_options
from lakehouse.cli.registry import Command, import_late


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the index, the text, and what is shown."""
    add_lake_options(parser)
    parser.add_argument("--index", metavar="NAME", help="the index to search; not needed if the lake has only one")
    parser.add_argument("-k", type=int, metavar="N", help="results at most (10)")
    parser.add_argument("--mode", choices=("vector", "keyword", "hybrid"), help="by meaning, by word, or both (hybrid)")
    parser.add_argument("--filter", metavar="JSON", help="only items with this metadata, such as '{\"year\": 2026}'")
    parser.add_argument("--json", action="store_true", help="print the JSON of the answer")
    parser.add_argument("text", nargs="*", metavar="TEXT", help="what to look for; standard input when absent or `-`")


COMMAND = Command(
    name="search",
    help="search an index of the lake, with a running service or without one",
    add_options=add_options,
    run=import_late("lakehouse.cli.lake.search"),
)
