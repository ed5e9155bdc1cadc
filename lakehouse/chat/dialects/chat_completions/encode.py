"""Requests of chat completions. Unknown fields of OpenAI's request (`OpenAIRequest.extra`) are sent unchanged."""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.chat.dialects.chat_completions.conversation import encode_messages, is_replayable
from lakehouse.chat.dialects.chat_completions.request_fast_path import encode_text_only
from lakehouse.chat.dialects.encoding.body import encode_body, get_checked_options, get_extra_fields
from lakehouse.chat.dialects.encoding.extra_fields import record_unsent_fields, record_unsent_reasoning
from lakehouse.chat.dialects.encoding.thinking import get_think_field, resolve_level
from lakehouse.chat.dialects.encoding.tool_choice import excludes_thinking
from lakehouse.chat.dialects.encoding.tools import resolve_tools
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, drop_nulls
from lakehouse.chat.dialects.quirks import CompletionsThinking, JsonMode, Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.dialects.schema.structured_output import StructuredOutputPlan, build_plan, build_response_format
from lakehouse.chat.model.request import Request

SUPPORTED_JSON_MODES: tuple[JsonMode, ...] = ("native", "json_object", "tool", "prompt")

NEAREST_LEVELS: Mapping[CompletionsThinking, Mapping[str, str]] = {
    "openrouter": {"ultra": "max"},
    "moonshot": {"minimal": "low", "xhigh": "max", "ultra": "max"},
}
"""The nearest supported level to each one that the field which controls thinking does not have."""


def encode(request: Request, *, model: str, stream: bool, quirks: Quirks, changes: RequestChanges) -> bytes:
    """Return the body of a request, see `base.EncodeFunction`."""
    if (body := encode_text_only(request, model=model, stream=stream, quirks=quirks)) is not None:
        return body
    return encode_full(request, model=model, stream=stream, quirks=quirks, changes=changes)


def encode_full(request: Request, *, model: str, stream: bool, quirks: Quirks, changes: RequestChanges) -> bytes:
    """`encode` for any request."""
    record_unsent_fields(request, quirks, changes)
    record_unsent_reasoning(
        request,
        changes,
        plain=bool(quirks.reasoning_key),
        is_sent=lambda entry: quirks.reasoning_details and is_replayable(entry),
    )
    plan = build_plan(request, quirks, supported=SUPPORTED_JSON_MODES)
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
    extra = {name: value for name, value in get_extra_fields(request).items() if name != "think"}
    options = get_checked_options(request)
    return encode_body(quirks.extra_body, thinking, extra, options, tools, known)


def _encode_stream_options(request: Request, quirks: Quirks) -> JsonObject | None:
    """Return the caller's options. Usage is requested even if the caller does not request it."""
    usage = {"include_usage": True} if quirks.include_usage else {}
    given = get_extra_fields(request).get("stream_options") or get_checked_options(request).get("stream_options")
    return {**as_object(given), **usage} or None


def _encode_tools(
    request: Request, plan: StructuredOutputPlan | None, quirks: Quirks, changes: RequestChanges
) -> JsonObject | None:
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


def _encode_thinking(request: Request, quirks: Quirks, changes: RequestChanges) -> JsonObject | None:
    """Return the field that controls thinking."""
    think = resolve_level(request, quirks, NEAREST_LEVELS.get(quirks.completions_thinking, {}), changes)
    if think is None:
        return None
    level = think if isinstance(think, str) else None
    match quirks.completions_thinking:
        case "none":
            changes.leave_out(get_think_field(request))
            return None
        case "template":
            if level:
                changes.adjust(get_think_field(request))  # the template has no levels
            return {"chat_template_kwargs": {"enable_thinking": think is not False}}
        case "openrouter":
            return {"reasoning": {"enabled": True} if think is True else {"effort": level or "none"}}
        case "moonshot" if think is not False and excludes_thinking(request, quirks):
            changes.leave_out(get_think_field(request))
            return {"thinking": {"type": "disabled"}}
        case "moonshot":
            effort = {"effort": level} if level else {}
            return {"thinking": {"type": "disabled" if think is False else "enabled", **effort}}
        case "effort":
            if think is True:  # the field has levels only; each model's default is one of them
                changes.leave_out(get_think_field(request))
                return None
            return {"reasoning_effort": level or "none"}
