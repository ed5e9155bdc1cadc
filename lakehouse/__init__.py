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
    from lakehouse.chat.dispatcher import Dispatcher, open_dispatcher
    from lakehouse.chat.request import (
        Answer,
        ContentPiece,
        CustomToolCall,
        DetailedContentPiece,
        Done,
        Message,
        Piece,
        ReasoningPiece,
        Request,
        SupplementPiece,
        ToolCall,
        ToolCallPiece,
    )
    from lakehouse.config import Config, ConfigError, load, parse
    from lakehouse.edge.server import Service
    from lakehouse.errors import (
        Attempt,
        ErrBadRequest,
        ErrForbidden,
        ErrMethodNotAllowed,
        ErrNotFound,
        ErrProviderNotFound,
        ErrRateLimited,
        ErrTimeout,
        ErrTooLarge,
        ErrUnauthorized,
        ErrUnavailable,
        ErrUpstream,
        LakehouseError,
    )
    from lakehouse.local import LocalModelError
    from lakehouse.service import create_app, open_local_server, serve

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
    "ErrForbidden",
    "ErrMethodNotAllowed",
    "ErrNotFound",
    "ErrProviderNotFound",
    "ErrRateLimited",
    "ErrTimeout",
    "ErrTooLarge",
    "ErrUnauthorized",
    "ErrUnavailable",
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
    "load",
    "open_dispatcher",
    "open_local_server",
    "parse",
    "serve",
]

_ROOMS = {
    "lakehouse.chat.dispatcher": ("Dispatcher", "open_dispatcher"),
    "lakehouse.chat.request": (
        "Answer",
        "ContentPiece",
        "CustomToolCall",
        "DetailedContentPiece",
        "Done",
        "Message",
        "Piece",
        "ReasoningPiece",
        "Request",
        "SupplementPiece",
        "ToolCall",
        "ToolCallPiece",
    ),
    "lakehouse.config": ("Config", "ConfigError", "load", "parse"),
    "lakehouse.edge.server": ("Service",),
    "lakehouse.errors": ("Attempt", "LakehouseError", *(name for name in __all__ if name.startswith("Err"))),
    "lakehouse.local": ("LocalModelError",),
    "lakehouse.service": ("create_app", "open_local_server", "serve"),
}


def __getattr__(name: str) -> object:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(room), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
