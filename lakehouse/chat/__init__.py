"""The chat group: a dispatcher that asks models (`open_dispatcher`), and the routes that offer it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakehouse.chat.dispatch.dispatcher import Dispatcher, LocalServer, open_dispatcher

__all__ = ["Dispatcher", "LocalServer", "open_dispatcher"]


def __getattr__(name: str) -> object:
    """The names above, imported when they are asked for: the shapes in `request` need none of what they need."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("lakehouse.chat.dispatch.dispatcher"), name)
