"""What the layers around the application have put into a request's scope. Under a bare server there is none of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from lakehouse.asgi.types import StreamBegins
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError

if TYPE_CHECKING:
    from quart import Request


def context(request: Request) -> RequestContext | None:
    """The request's flight."""
    return cast("RequestContext | None", _scope(request).get("lakehouse"))


def request_id(known: RequestContext | None) -> str | None:
    """What `X-Request-Id` says of a flight."""
    return None if known is None else known.id


def stream_begins(request: Request) -> StreamBegins | None:
    """What a lifeline is to be told when the answer has begun and may go on for long."""
    return cast("StreamBegins | None", _scope(request).get("lakehouse.stream_begins"))


def record_error(known: RequestContext | None, error: LakehouseError) -> None:
    """Write down in the flight what went wrong, unless a deeper room has."""
    if known is not None and known.error is None:
        known.error = error.error_class or error.code


def _scope(request: Request) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", request.scope)
