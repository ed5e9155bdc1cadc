"""`lakehouse chat`."""

from __future__ import annotations

import argparse

from lakehouse.cli.registry import Command, add_config_option, import_late


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add model, system message, output format and prompt."""
    add_config_option(parser)
    parser.add_argument("-m", "--model", help="model or tier; by default the first tier, else the first that is found")
    parser.add_argument("--demo", action="store_true", help="ask a tiny model of random weights (noise, but real)")
    parser.add_argument("--system", metavar="TEXT", help="a system message before the prompt")
    parser.add_argument("--json", action="store_true", help="print the whole answer as JSON instead of streaming it")
    parser.add_argument("prompt", nargs="*", metavar="PROMPT", help="read from standard input when absent or `-`")


COMMAND = Command(
    name="chat",
    help="one chat from the terminal; needs no server",
    add_options=add_options,
    run=import_late("lakehouse.cli.chat"),
)
