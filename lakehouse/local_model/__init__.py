"""The embedded model: llama.cpp in a child process, with OpenAI's API (`open_engine`).

The names are imported on first use: the child process imports this package too, and does not need trio.
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
