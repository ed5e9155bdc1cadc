"""Lakehouse: a language-model gateway and reverse proxy in which everything a request starts ends with it.

    async with lakehouse.open_dispatcher(config) as chat:
        answer = await chat(lakehouse.Request(model="ollama/qwen3:8b", messages=[{"role": "user", "content": "hi"}]))

    async with trio.open_nursery() as nursery:
        service = await nursery.start(lakehouse.serve, config)      # service.urls, service.stop()

Names are imported when they are first used, so that a program that only chats does not pay for a web framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakehouse.chat.dispatch.dispatcher import Dispatcher
    from lakehouse.chat.dispatch.open_dispatcher import open_dispatcher
    from lakehouse.chat.model.answer import Answer
    from lakehouse.chat.model.pieces import (
        ContentPiece,
        DetailedContentPiece,
        Done,
        Piece,
        ReasoningPiece,
        SupplementPiece,
        ToolCallPiece,
    )
    from lakehouse.chat.model.request import Message, Request
    from lakehouse.chat.model.tool_calls import CustomToolCall, ToolCall
    from lakehouse.config import Config, ConfigError, load_config, parse_config
    from lakehouse.core.errors import (
        Attempt,
        ErrBadRequest,
        ErrConflict,
        ErrForbidden,
        ErrMethodNotAllowed,
        ErrNotFound,
        ErrNotImplemented,
        ErrPreconditionFailed,
        ErrProviderNotFound,
        ErrRangeNotSatisfiable,
        ErrRateLimited,
        ErrTimeout,
        ErrTooLarge,
        ErrUnauthorized,
        ErrUnavailable,
        ErrUnprocessable,
        ErrUnsupportedMediaType,
        ErrUpstream,
        LakehouseError,
    )
    from lakehouse.local_model import LocalModelError
    from lakehouse.runtime.quart_app import ServiceApp
    from lakehouse.runtime.resources import open_local_server
    from lakehouse.runtime.service import serve
    from lakehouse.server.server import Service

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Attempt",
    "Config",
    "ConfigError",
    "ContentPiece",
    "CustomToolCall",
    "DetailedContentPiece",
    "Dispatcher",
    "Done",
    "ErrBadRequest",
    "ErrConflict",
    "ErrForbidden",
    "ErrMethodNotAllowed",
    "ErrNotFound",
    "ErrNotImplemented",
    "ErrPreconditionFailed",
    "ErrProviderNotFound",
    "ErrRangeNotSatisfiable",
    "ErrRateLimited",
    "ErrTimeout",
    "ErrTooLarge",
    "ErrUnauthorized",
    "ErrUnavailable",
    "ErrUnprocessable",
    "ErrUnsupportedMediaType",
    "ErrUpstream",
    "LakehouseError",
    "LocalModelError",
    "Message",
    "Piece",
    "ReasoningPiece",
    "Request",
    "Service",
    "SupplementPiece",
    "ToolCall",
    "ToolCallPiece",
    "create_app",
    "load_config",
    "open_dispatcher",
    "open_local_server",
    "parse_config",
    "serve",
]

_ROOMS = {
    "lakehouse.chat.dispatch.dispatcher": ("Dispatcher",),
    "lakehouse.chat.dispatch.open_dispatcher": ("open_dispatcher",),
    "lakehouse.chat.model.answer": ("Answer",),
    "lakehouse.chat.model.pieces": (
        "ContentPiece",
        "DetailedContentPiece",
        "Done",
        "Piece",
        "ReasoningPiece",
        "SupplementPiece",
        "ToolCallPiece",
    ),
    "lakehouse.chat.model.request": ("Message", "Request"),
    "lakehouse.chat.model.tool_calls": ("CustomToolCall", "ToolCall"),
    "lakehouse.config": ("Config", "ConfigError", "load_config", "parse_config"),
    "lakehouse.server.server": ("Service",),
    "lakehouse.core.errors": ("Attempt", "LakehouseError", *(name for name in __all__ if name.startswith("Err"))),
    "lakehouse.local_model": ("LocalModelError",),
    "lakehouse.runtime.resources": ("open_local_server",),
    "lakehouse.runtime.service": ("serve",),
}


def create_app(config: Config | None = None) -> ServiceApp:
    """The service as a Quart-Trio application, as in `hypercorn -k trio 'lakehouse:create_app()'`.

    Without `config` the configuration is found as `lakehouse serve` finds it. Raises ConfigError. A function of this
    module, not an imported name: Hypercorn looks into the module's namespace only.
    """
    made: ServiceApp = import_module("lakehouse.runtime.quart_app").create_app(config)
    return made


def __getattr__(name: str) -> object:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(room), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
