"""The environment of a child: only what is named."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

INTERPRETER_VARIABLES = ("LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
"""Without these an interpreter may not start, or would write files where it must not."""


def select_variables(names: Iterable[str], source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Those variables of `names` that are set."""
    return {name: source[name] for name in names if name in source}


def select_by_prefix(prefixes: tuple[str, ...], source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Those variables whose names begin with one of the prefixes."""
    return {name: value for name, value in source.items() if name.startswith(prefixes)}


def interpreter_environment() -> dict[str, str]:
    """What our interpreter needs to find the same modules in a child as here."""
    return select_variables(INTERPRETER_VARIABLES) | {
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    }
