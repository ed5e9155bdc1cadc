"""The chat group: a dispatcher that asks models (`open_dispatcher`), and the routes that offer it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakehouse.chat.dispatch.dispatcher import Dispatcher
    from lakehouse.chat.dispatch.open_dispatcher import LocalServer, open_dispatcher

_MODULES = {
    "Dispatcher": "lakehouse.chat.dispatch.dispatcher",
    "LocalServer": "lakehouse.chat.dispatch.open_dispatcher",
    "open_dispatcher": "lakehouse.chat.dispatch.open_dispatcher",
}

__all__ = ["Dispatcher", "LocalServer", "open_dispatcher"]


def __getattr__(name: str) -> object:
    """Import a public name on first use: the shapes in `model` need none of the dispatcher's dependencies."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
