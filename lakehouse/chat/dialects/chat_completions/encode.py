"""Requests of chat completions. Unknown fields of OpenAI's request (`OpenAIRequest.extra`) are sent unchanged."""

from __future__ import annotations

from lakehouse.chat.dialects.changes import Changes
from lakehouse.chat.dialects.chat_completions.conversation import encode_messages
from lakehouse.chat.dialects.encoding.body import encode_body, get_checked_options, get_extra_fields
from lakehouse.chat.dialects.encoding.extra_fields import record_unsent_fields
from lakehouse.chat.dialects.encoding.thinking import get_think_field
from lakehouse.chat.dialects.encoding.tools import resolve_tools
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, drop_nulls
from lakehouse.chat.dialects.quirks import Quirks, SchemaLevel
from lakehouse.chat.dialects.schema.structured_output import Plan, build_plan, build_response_format
from lakehouse.chat.model.request import Request

SCHEMA_LEVELS: tuple[SchemaLevel, ...] = ("native", "json_object", "tool", "prompt")


def encode(request: Request, *, model: str, stream: bool, quirks: Quirks, changes: Changes) -> bytes:
    """Return the body of a request, see `base.EncodeFunction`."""
    record_unsent_fields(request, quirks, changes)
    plan = build_plan(request, quirks, levels=SCHEMA_LEVELS)
    known = {
        "model": model,
        "messages": encode_messages(request, plan, quirks),
        "stream": stream,
        "stream_options": _encode_stream_options(request, quirks) if stream else None,
        "temperature": request.temperature if quirks.send_temperature else None,
        "top_p": request.top_p if quirks.send_temperature else None,
        quirks.max_tokens_field: request.max_tokens or quirks.default_max_tokens,
        "stop": request.stop,
        "seed": request.seed,
        "user": request.user if quirks.send_user else None,
        "response_format": build_response_format(plan) if plan and plan.uses_provider_mode else None,
    }
    thinking = _encode_thinking(request, quirks, changes)
    tools = _encode_tools(request, plan, quirks, changes)
    extra, options = get_extra_fields(request), get_checked_options(request)
    return encode_body(quirks.extra_body, thinking, extra, options, tools, known)


def _encode_stream_options(request: Request, quirks: Quirks) -> JsonObject | None:
    """Return the caller's options. Usage is requested whether or not the caller wants it."""
    usage = {"include_usage": True} if quirks.include_usage else {}
    return {**as_object(get_extra_fields(request).get("stream_options")), **usage} or None


def _encode_tools(request: Request, plan: Plan | None, quirks: Quirks, changes: Changes) -> JsonObject | None:
    """Return `tools` and `tool_choice`. The answer tool must be called, unless the caller has tools as well or requests
    thinking: some models reject a forced tool while thinking (Kimi)."""
    if plan is None and request.tools is None and request.tool_choice is None:
        return None
    tools, choice = resolve_tools(request, quirks)
    tools = choice.select(tools)
    if plan is None or plan.tool is None:
        if not tools:
            changes.leave_out("tool_choice", request.tool_choice)
        return drop_nulls({"tools": tools or None, "tool_choice": choice.encode_for_completions() if tools else None})
    forced: object = {"type": "function", "function": {"name": plan.tool["function"]["name"]}}
    if request.think:
        forced = "auto"
    elif tools:
        forced = "required"
    if choice.encode_for_completions() not in (None, forced):
        changes.adjust("tool_choice")
    return {"tools": [*tools, plan.tool], "tool_choice": forced}


def _encode_thinking(request: Request, quirks: Quirks, changes: Changes) -> JsonObject | None:
    """Return the field that controls thinking."""
    if quirks.completions_thinking == "none":
        changes.leave_out(get_think_field(request), request.think)
        return None
    think = quirks.default_think if request.think is None else request.think
    if think is None:
        return None
    level = think if isinstance(think, str) else None
    enabled = bool(think) and think != "none"
    match quirks.completions_thinking:
        case "template":
            if isinstance(request.think, str) and request.think != "none":
                changes.adjust(get_think_field(request))  # the template has no levels
            return {"chat_template_kwargs": {"enable_thinking": enabled}}
        case "openrouter":
            return {"reasoning": {"enabled": True} if think is True else {"effort": level or "none"}}
        case "moonshot":
            effort = {"effort": level} if level and enabled else {}
            return {"thinking": {"type": "enabled" if enabled else "disabled", **effort}}
        case "effort":
            return {} if think is True else {"reasoning_effort": level or "none"}
