"""The body of a request: layers of fields, and the fields that this service passes through."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from lakehouse.chat.dialects.lenient_json import JsonObject
from lakehouse.chat.model.request import OpenAIRequest, Request
from lakehouse.core.errors import ErrBadRequest

RESERVED_FIELDS = ("model", "messages", "stream")
"""Fields that `options` may not set: they decide which provider answers and how its answer is parsed."""


def encode_body(*layers: Mapping[str, object] | None) -> bytes:
    """Return the JSON body of several layers of fields, see `merge_layers`."""
    return msgspec.json.encode(merge_layers(*layers))


def merge_layers(*layers: Mapping[str, object] | None) -> JsonObject:
    """Return the fields of several layers. A later layer overrides an earlier one; None is not sent."""
    body: JsonObject = {}
    for layer in layers:
        if layer:
            for name, value in layer.items():
                if value is not None:
                    body[name] = value
    return body


def get_checked_options(request: Request) -> JsonObject:
    """Return `options`, which are sent unchanged; raises `ErrBadRequest` if they set a reserved field."""
    options = request.options
    if not options:
        return {}
    for name in RESERVED_FIELDS:
        if name in options:
            field = f"options.{name}"
            raise ErrBadRequest(f"`{field}` cannot be set: it is a field of the request itself", field=field)
    return options


def get_extra_fields(request: Request) -> JsonObject:
    """Return the fields of an OpenAI request that `Request` does not have."""
    return request.extra if isinstance(request, OpenAIRequest) else {}
