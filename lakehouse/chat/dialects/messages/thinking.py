"""Thinking in requests of the messages dialect."""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.chat.dialects.encoding.thinking import get_think_field, resolve_think
from lakehouse.chat.dialects.encoding.tool_choice import excludes_thinking
from lakehouse.chat.dialects.lenient_json import JsonObject
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.model.request import Request
from lakehouse.core.errors import ErrBadRequest

BUDGET_SHARES = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.95, "max": 0.95, "ultra": 0.95}
"""Share of `max_tokens` that may be spent on thinking at each level: the shares of OpenRouter for providers with
budgets only."""

MIN_BUDGET = 1024
"""Tokens. Anthropic rejects a smaller budget."""

EFFORTS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
    "ultra": "max",
}
"""`output_config.effort` at each level."""


def encode_thinking(request: Request, quirks: Quirks, *, limit: int, changes: RequestChanges) -> JsonObject:
    """Return `thinking` and `output_config`. `limit` is the `max_tokens` that is sent.

    A budget must be less than `max_tokens`. A limit that is too small for the smallest budget is rejected: a larger one
    would spend more than the caller allowed. An effort has no such constraint. Thinking is turned off where the
    provider rejects it together with the forced call of a tool.
    """
    think, field = resolve_think(request, quirks), get_think_field(request)
    if think is None:
        return {}
    if think is not False and quirks.messages_thinking != "always" and excludes_thinking(request, quirks):
        changes.leave_out(field)
        return {"thinking": {"type": "disabled"}}
    if think is False:
        if quirks.messages_thinking != "always":
            return {"thinking": {"type": "disabled"}}
        changes.adjust(field)
        return _build_adaptive("low")
    level = think if isinstance(think, str) else None
    if quirks.messages_thinking == "budget":
        return _build_budget(level, field, limit)
    effort = EFFORTS.get(level) if level else None
    if level and effort is None:
        raise _build_level_error(field, level, EFFORTS)
    if effort != level:
        changes.adjust(field)
    return _build_adaptive(effort)


def _build_budget(level: str | None, field: str, limit: int) -> JsonObject:
    share = BUDGET_SHARES.get(level or "medium")
    if share is None:
        raise _build_level_error(field, str(level), BUDGET_SHARES)
    budget = max(MIN_BUDGET, int(limit * share))
    if budget >= limit:
        message = f"`max_tokens` must be over {MIN_BUDGET} for a model that is to think (got {limit})"
        raise ErrBadRequest(message, field="max_tokens")
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _build_adaptive(effort: str | None) -> JsonObject:
    return {"thinking": {"type": "adaptive"}, **({"output_config": {"effort": effort}} if effort else {})}


def _build_level_error(field: str, level: str, levels: Mapping[str, object]) -> ErrBadRequest:
    message = f"`{field}` must be a boolean or one of {', '.join(levels)} (got {level[:40]!r})"
    return ErrBadRequest(message, field=field)
