"""The commands of the `lakehouse` program.

A command is a module of `lakehouse.cli.commands` with a `COMMAND`. Adding the module adds the command: there is no list
of commands to extend.

The modules are imported to parse the command line, also for `lakehouse --version`. They must not import anything large
at the top; `import_late` defers the import of what does the work until the command runs.
"""

from __future__ import annotations

import argparse
import gc
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from lakehouse.cli import commands
from lakehouse.runtime.gc_tuning import tune_gc


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command: its name, one line of help, and its work.

    `add_options` adds its arguments to its parser. `run` does the work and returns the exit status; it may raise
    ConfigError, OutputError, BrokenPipeError and KeyboardInterrupt. With `forwards`, what stands behind `--` is not
    parsed: `run` finds it in `forwarded` and gives it to another program.
    """

    name: str
    help: str
    add_options: Callable[[argparse.ArgumentParser], object]
    run: Callable[[argparse.Namespace], int]
    forwards: bool = False


def find_commands() -> dict[str, Command]:
    """All commands by their names, in alphabetical order."""
    modules = sorted(module.name for module in pkgutil.iter_modules(commands.__path__, f"{commands.__name__}."))
    found: list[Command] = [import_module(module).COMMAND for module in modules]
    return {command.name: command for command in found}


def import_late(module: str) -> Callable[[argparse.Namespace], int]:
    """A `run` that imports `module` when it is called, and calls its `run`."""

    def run(arguments: argparse.Namespace) -> int:
        gc.disable()  # nothing that is imported is garbage: collecting takes a tenth of the time to start
        work: Callable[[argparse.Namespace], int] = import_module(module).run
        tune_gc()
        return work(arguments)

    return run


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Add `-c FILE`, which `cli.configuration.load_configuration` reads."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help="configuration (TOML); by default $LAKEHOUSE_CONFIG, ./lakehouse.toml or /etc/lakehouse/lakehouse.toml",
    )
