"""What the layers around the application have put into a request's scope. Under a bare server there is none of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from lakehouse.errors import LakehouseError
from lakehouse.observe.inflight import Flight

if TYPE_CHECKING:
    from quart import Request


def flight(request: Request) -> Flight | None:
    """The request's flight."""
    return cast("Flight | None", _scope(request).get("lakehouse"))


def request_id(known: Flight | None) -> str | None:
    """What `X-Request-Id` says of a flight."""
    return None if known is None else known.id


def lift_deadline(request: Request) -> Callable[[], None] | None:
    """What ends the caller's own deadline, to be called when the answer has begun."""
    return cast("Callable[[], None] | None", _scope(request).get("lakehouse.lift_deadline"))


def note(known: Flight | None, error: LakehouseError) -> None:
    """Write down in the flight what went wrong, unless a deeper room has."""
    if known is not None and known.error is None:
        known.error = error.error_class or error.code


def _scope(request: Request) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", request.scope)
