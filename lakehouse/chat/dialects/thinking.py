"""How much a model is to think: what the caller asks for, in the words of each form."""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.chat.dialects.base import Changes, Quirks
from lakehouse.chat.dialects.lenient_json import JsonObject
from lakehouse.chat.dialects.request_fields import extra_fields
from lakehouse.chat.model.request import OpenAIRequest, Request
from lakehouse.core.errors import ErrBadRequest

SHARES = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.95, "max": 0.95}
"""What of `max_tokens` may go into thinking at each level: the shares that OpenRouter uses where there are budgets
only."""

SMALLEST_BUDGET = 1024
"""Tokens. Anthropic refuses a smaller one."""

OLLAMA_LEVELS = {"minimal": "low", "xhigh": "max", "ultra": "max"}
"""The nearest of Ollama's levels (low, medium, high, max) to each of OpenAI's that it refuses. Ollama's own endpoint in
OpenAI's form does the same."""

RESPONSES_EFFORTS = {"max": "xhigh", "ultra": "xhigh"}
"""The nearest of OpenAI's efforts (minimal, low, medium, high, xhigh) to each level that it refuses."""

CLAUDE_EFFORTS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
    "ultra": "max",
}
"""What `output_config.effort` is at each level."""


def wanted(request: Request, quirks: Quirks) -> bool | str | None:
    """What is asked for: a switch, a level, or None for the model's own default. `none` is false."""
    think: object = request.think
    if think is None:
        think = extra_fields(request).get("think")
    if think is None:
        think = quirks.default_think
    if think is not None and not isinstance(think, bool | str):
        raise ErrBadRequest("`think` must be a boolean or a level", field="think")
    return False if think == "none" else think


def field_of(request: Request) -> str:
    """The name of the field in which the caller asked for it."""
    return "reasoning_effort" if isinstance(request, OpenAIRequest) and request.think is not None else "think"


def nearest(request: Request, quirks: Quirks, words: Mapping[str, str], changes: Changes) -> bool | str | None:
    """What is asked for, with the levels in `words` exchanged for what they stand for there."""
    think = wanted(request, quirks)
    if isinstance(think, str) and think in words:
        changes.adjust(field_of(request))
        return words[think]
    return think


def in_messages(request: Request, quirks: Quirks, *, limit: int, changes: Changes) -> JsonObject:
    """`thinking` and `output_config` of the messages form; `limit` is what is sent as `max_tokens`.

    A budget is part of `max_tokens` and must be less, so that one that is too small for the smallest budget is refused:
    raising it would spend more than the caller allowed. An effort has no such bound.
    """
    think, name = wanted(request, quirks), field_of(request)
    if think is None:
        return {}
    if think is False:
        if quirks.thinking != "always":
            return {"thinking": {"type": "disabled"}}
        changes.adjust(name)
        return _adaptive("low")
    level = think if isinstance(think, str) else None
    if quirks.thinking != "budget":
        effort = CLAUDE_EFFORTS.get(level) if level else None
        if level and effort is None:
            raise _no_level(name, level, CLAUDE_EFFORTS)
        if effort != level:
            changes.adjust(name)
        return _adaptive(effort)
    share = SHARES.get(level or "medium")
    if share is None:
        raise _no_level(name, str(level), SHARES)
    budget = max(SMALLEST_BUDGET, int(limit * share))
    if budget >= limit:
        message = f"`max_tokens` must be over {SMALLEST_BUDGET} for a model that is to think (got {limit})"
        raise ErrBadRequest(message, field="max_tokens")
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _adaptive(effort: str | None) -> JsonObject:
    return {"thinking": {"type": "adaptive"}, **({"output_config": {"effort": effort}} if effort else {})}


def _no_level(name: str, level: str, levels: Mapping[str, object]) -> ErrBadRequest:
    return ErrBadRequest(f"`{name}` must be a boolean or one of {', '.join(levels)} (got {level[:40]!r})", field=name)
