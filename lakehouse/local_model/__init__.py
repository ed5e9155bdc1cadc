"""The embedded model: llama.cpp in a child process, spoken to in OpenAI's form (`open_engine`).

The names are imported when they are asked for: the child process imports this package too, and can do without trio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakehouse.local_model.checks import LocalModelError, check_model
    from lakehouse.local_model.engine import Engine, EngineConfig, open_engine

__all__ = ["Engine", "EngineConfig", "LocalModelError", "check_model", "open_engine"]

_CHECKS = {"LocalModelError", "check_model"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(
        import_module("lakehouse.local_model.checks" if name in _CHECKS else "lakehouse.local_model.engine"), name
    )
