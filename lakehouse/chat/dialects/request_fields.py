"""What all dialects do with a request: its fields put together."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from lakehouse.chat.dialects.lenient_json import JsonObject
from lakehouse.chat.model.request import OpenAIRequest, Request
from lakehouse.core.errors import ErrBadRequest

RESERVED_FIELDS = ("model", "messages", "stream")
"""Fields that `options` may not set: which provider answers, and how it is read, hangs on them."""


def body_of(*layers: Mapping[str, object] | None) -> bytes:
    """The JSON body of several layers of fields, the later ones over the earlier; those that are None are not sent."""
    body: JsonObject = {}
    for layer in layers:
        if layer:
            for name, value in layer.items():
                if value is not None:
                    body[name] = value
    return msgspec.json.encode(body)


def checked_options(request: Request) -> JsonObject:
    """`options`, which go to the provider as they are; raises `ErrBadRequest` for one that would undo the request."""
    options = request.options
    if not options:
        return {}
    for name in RESERVED_FIELDS:
        if name in options:
            raise ErrBadRequest(f"`options.{name}` cannot be set: it is a field of the request itself")
    return options


def extra_fields(request: Request) -> JsonObject:
    """Fields of OpenAI's form that this service does not know."""
    return request.extra if isinstance(request, OpenAIRequest) else {}
