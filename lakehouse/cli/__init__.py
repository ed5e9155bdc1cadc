"""The `lakehouse` program: arguments and exit status. Its commands are in `commands`, found by `registry`.

Exit status: 0 done, 1 failed, 2 the configuration or the arguments are wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence

from lakehouse._version import __version__
from lakehouse.cli.output import (
    OutputError,
    ensure_standard_streams,
    escape_unencodable_output,
    redirect_to_devnull,
    write_diagnostic,
)
from lakehouse.cli.registry import Command, find_commands
from lakehouse.config import ConfigError

DESCRIPTION = "A data lake, language-model gateway and reverse proxy in which everything a request starts ends with it."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    ensure_standard_streams()
    escape_unencodable_output()
    commands = find_commands()
    given, forwarded = split_forwarded(sys.argv[1:] if argv is None else argv, commands)
    arguments = build_parser(commands.values()).parse_args(given)
    arguments.forwarded = forwarded
    try:
        return commands[arguments.command].run(arguments)
    except (ConfigError, OutputError, BrokenPipeError, KeyboardInterrupt, BaseExceptionGroup) as error:
        from lakehouse.core.groups import unwrap_single  # imports trio, which `--version` and `check` can do without

        return _report(unwrap_single(error))


def split_forwarded(argv: Sequence[str], commands: Mapping[str, Command]) -> tuple[Sequence[str], Sequence[str]]:
    """The arguments of a command, and those behind the first `--` if the command forwards them to another program."""
    command = commands.get(argv[0]) if argv else None
    if command is None or not command.forwards or "--" not in argv:
        return argv, ()
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def build_parser(commands: Iterable[Command]) -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(prog="lakehouse", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"lakehouse {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in commands:
        description = f"{command.help[0].upper()}{command.help[1:]}."
        command.add_options(subparsers.add_parser(command.name, help=command.help, description=description))
    return parser


def _report(error: BaseException) -> int:
    """Print an expected error and return the exit status for it. Any other error is raised."""
    match error:
        case ConfigError():
            for problem in error.problems:
                write_diagnostic(problem)
            return 2
        case OutputError():
            write_diagnostic(f"lakehouse: {error}")
            redirect_to_devnull(1)
            return 1
        case BrokenPipeError():  # the reader of the output has closed the pipe
            redirect_to_devnull(1, 2)
            return 1
        case KeyboardInterrupt():
            return 130
    raise error
