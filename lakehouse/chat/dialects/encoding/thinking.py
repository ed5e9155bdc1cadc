"""The caller's `think` or `reasoning_effort`, mapped to the levels of each dialect."""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.chat.dialects.encoding.body import get_extra_fields
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.model.request import OllamaRequest, OpenAIRequest, Request
from lakehouse.core.errors import ErrBadRequest


def resolve_think(request: Request, quirks: Quirks) -> bool | str | None:
    """Return the requested thinking: on or off, a level, or None for the model's default. `none` is False."""
    think: object = request.think
    if think is None:
        think = get_extra_fields(request).get("think")
    if think is None:
        think = quirks.default_think
    if think is not None and not isinstance(think, bool | str):
        raise ErrBadRequest("`think` must be a boolean or a level", field="think")
    return False if think == "none" else think


def get_think_field(request: Request) -> str:
    """Return the name of the field in which the caller requested thinking."""
    if isinstance(request, OllamaRequest) or request.think is None:
        return "think"
    return "reasoning_effort" if isinstance(request, OpenAIRequest) else "think"


def resolve_level(
    request: Request, quirks: Quirks, nearest: Mapping[str, str], changes: RequestChanges
) -> bool | str | None:
    """Return the requested thinking with unsupported levels replaced by the nearest supported one."""
    think = resolve_think(request, quirks)
    if isinstance(think, str) and think in nearest:
        changes.adjust(get_think_field(request))
        return nearest[think]
    return think
