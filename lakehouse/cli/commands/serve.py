"""`lakehouse serve`."""

from __future__ import annotations

import argparse

from lakehouse.cli.registry import Command, add_config_option, import_late

MAX_WORKERS = 512


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add listener, workers, embedded model and smoke request."""
    add_config_option(parser)
    parser.add_argument("--bind", metavar="HOST:PORT", help="instead of [gateway] bind; port 0 takes a free one")
    parser.add_argument(
        "--workers", type=_worker_count, default=1, metavar="N", help="processes on one listening socket"
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", metavar="FILE.gguf", help="serve this model as provider `local` and by default")
    model.add_argument(
        "--demo",
        action="store_true",
        help="serve a tiny model of random weights (noise, but real) and small tables",
    )
    parser.add_argument("--ask", metavar="TEXT", help="ask the running service once, print the exchange, and stop")


def _worker_count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {MAX_WORKERS} (got {text!r})")
    return int(text)


COMMAND = Command(
    name="serve",
    help="run the service until SIGTERM or Ctrl-C drains it; a second one stops it at once",
    add_options=add_options,
    run=import_late("lakehouse.cli.serve"),
)
