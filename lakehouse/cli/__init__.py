"""The `lakehouse` program: arguments and exit status.

Each command is a module beside this one, imported when asked for: `lakehouse check` does not wait for a web framework.

Exit status: 0 done, 1 failed, 2 the configuration or the arguments are wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from lakehouse._version import __version__
from lakehouse.cli.output import (
    OutputError,
    ensure_standard_streams,
    redirect_to_devnull,
    write_whatever_comes,
)
from lakehouse.config import ConfigError, values
from lakehouse.runtime.gc_tuning import tune_gc

DESCRIPTION = "A language-model gateway and reverse proxy in which everything a request starts ends with it."


class Command(Protocol):
    """What a command's module offers: its work, returning the exit status."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it. May raise ConfigError."""


def parser() -> argparse.ArgumentParser:
    """The command line, as the contract has it."""
    top = argparse.ArgumentParser(prog="lakehouse", description=DESCRIPTION)
    top.add_argument("--version", action="version", version=f"lakehouse {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (about, options) in _COMMANDS.items():
        options(commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}."))
    return top


def _config_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help="configuration (TOML); by default $LAKEHOUSE_CONFIG, ./lakehouse.toml or /etc/lakehouse/lakehouse.toml",
    )


def _serve(command: argparse.ArgumentParser) -> None:
    _config_option(command)
    command.add_argument("--bind", metavar="HOST:PORT", help="instead of [gateway] bind; port 0 takes a free one")
    command.add_argument("--workers", type=_count, default=1, metavar="N", help="processes on one listening socket")
    model = command.add_mutually_exclusive_group()
    model.add_argument("--model", metavar="FILE.gguf", help="serve this model as provider `local` and by default")
    model.add_argument("--demo", action="store_true", help="serve a tiny model of random weights (noise, but real)")
    command.add_argument("--ask", metavar="TEXT", help="ask the running service once, print the exchange, and stop")


def _check(command: argparse.ArgumentParser) -> None:
    _config_option(command)
    command.add_argument("--json", action="store_true", help="for scripts")


def _chat(command: argparse.ArgumentParser) -> None:
    _config_option(command)
    command.add_argument("-m", "--model", help="model or tier; by default the first tier, else the first that is found")
    command.add_argument("--demo", action="store_true", help="ask a tiny model of random weights (noise, but real)")
    command.add_argument("--system", metavar="TEXT", help="a system message before the prompt")
    command.add_argument("--json", action="store_true", help="print the whole answer as JSON instead of streaming it")
    command.add_argument("prompt", nargs="*", metavar="PROMPT", help="read from standard input when absent or `-`")


def _providers(command: argparse.ArgumentParser) -> None:
    _config_option(command)
    command.add_argument("--json", action="store_true", help="for scripts")


def _top(command: argparse.ArgumentParser) -> None:
    _config_option(command)
    command.add_argument("url", nargs="?", metavar="URL", help="the service; by default the one of the configuration")
    command.add_argument("--interval", type=_seconds, default=1.0, metavar="SECONDS", help="between two looks")
    command.add_argument("--once", action="store_true", help="look once; so does an output that is no terminal")


def _seconds(text: str) -> float:
    try:
        return values.positive_duration(float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above zero (got {text!r})") from None


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 512:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to 512 (got {text!r})")
    return int(text)


_COMMANDS = {
    "serve": ("run the service until SIGTERM or Ctrl-C drains it; a second one stops it at once", _serve),
    "check": ("validate the configuration and show what would run", _check),
    "chat": ("one chat from the terminal; needs no server", _chat),
    "providers": ("the providers: is their key found, do they answer", _providers),
    "top": ("the requests in flight in a running service, live", _top),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    ensure_standard_streams()
    write_whatever_comes()
    arguments = parser().parse_args(argv)
    try:
        return _command(arguments.command).run(arguments)
    except (ConfigError, OutputError, BrokenPipeError, KeyboardInterrupt, BaseExceptionGroup) as error:
        from lakehouse.core.groups import unwrap_single  # imports trio, which `--version` and `check` can do without

        return _ended_by(unwrap_single(error))


def _command(name: str) -> Command:
    gc.disable()  # what is imported stays: looking for garbage in it takes a tenth of the time to start
    command = cast("Command", import_module(f"lakehouse.cli.{name}"))
    tune_gc()
    return command


def _ended_by(error: BaseException) -> int:
    match error:
        case ConfigError():
            for problem in error.problems:
                print(problem, file=sys.stderr)
            return 2
        case OutputError():
            print(f"lakehouse: {error}", file=sys.stderr)
            redirect_to_devnull(1)
            return 1
        case BrokenPipeError():  # whoever read our output has seen enough
            redirect_to_devnull(1, 2)
            return 1
        case KeyboardInterrupt():
            return 130
    raise error
