"""`lakehouse providers`, and `lakehouse providers add`."""

from __future__ import annotations

import argparse

from lakehouse.cli.registry import Command, add_config_option, import_late

_list = import_late("lakehouse.cli.providers")
_add = import_late("lakehouse.cli.add_provider")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the configuration and the output format, and the arguments of `add`."""
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="for scripts")
    actions = parser.add_subparsers(dest="action", metavar="add")
    add = actions.add_parser("add", help="ask an endpoint what it speaks, and print the lines that declare it")
    add.add_argument("url", metavar="URL", help="its base URL, such as http://10.0.0.5:8000/v1")
    add.add_argument("--key-env", metavar="NAME", help="environment variable with the key, if it needs one")
    add.add_argument("--name", metavar="NAME", help="name of the provider; by default made from the URL")


def run(arguments: argparse.Namespace) -> int:
    """List the providers, or ask the endpoint that is to be added."""
    return _list(arguments) if arguments.action is None else _add(arguments)


COMMAND = Command(
    name="providers",
    help="the providers: is their key found, do they answer; `add URL` asks an endpoint what it speaks",
    add_options=add_options,
    run=run,
)
