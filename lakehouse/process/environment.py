"""The environment variables of a child: only those that are selected."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

INTERPRETER_VARIABLES = ("LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
"""Variables without which an interpreter may fail to start, or write bytecode files to forbidden places."""


def select_variables(names: Iterable[str], source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Select the variables of `names` that are set."""
    return {name: source[name] for name in names if name in source}


def select_by_prefix(prefixes: tuple[str, ...], source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Select the variables whose names begin with one of the prefixes."""
    return {name: value for name, value in source.items() if name.startswith(prefixes)}


def interpreter_environment() -> dict[str, str]:
    """Return the variables with which an interpreter finds the same modules in a child as in this process."""
    return select_variables(INTERPRETER_VARIABLES) | {
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    }
