"""Requests of the messages dialect: the body and its tools."""

from __future__ import annotations

from lakehouse.chat.dialects.encoding.anthropic_form import sends_own_document
from lakehouse.chat.dialects.encoding.body import encode_body, get_checked_options, get_extra_fields
from lakehouse.chat.dialects.encoding.capabilities import get_cache_control
from lakehouse.chat.dialects.encoding.thinking import resolve_think
from lakehouse.chat.dialects.encoding.tool_choice import ToolChoice
from lakehouse.chat.dialects.encoding.tools import resolve_tools
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, drop_nulls
from lakehouse.chat.dialects.messages.cache_control import build_hint
from lakehouse.chat.dialects.messages.conversation import encode_conversation
from lakehouse.chat.dialects.messages.own_document import encode_own_document
from lakehouse.chat.dialects.messages.parameters import encode_parameters, encode_web_search
from lakehouse.chat.dialects.quirks import JsonMode, Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.dialects.schema.structured_output import StructuredOutputPlan, build_plan
from lakehouse.chat.model.request import AnthropicRequest, Request

SUPPORTED_JSON_MODES: tuple[JsonMode, ...] = ("tool", "prompt")

_CHOICE_TYPES = {"none": "none", "auto": "auto", "required": "any"}


def encode(request: Request, *, model: str, stream: bool, quirks: Quirks, changes: RequestChanges) -> bytes:
    """Return the body of a request, see `base.EncodeFunction`."""
    if isinstance(request, AnthropicRequest) and sends_own_document(request, "messages"):
        return encode_own_document(request, model=model, stream=stream, quirks=quirks, changes=changes)
    parameters = encode_parameters(request, model=model, quirks=quirks, changes=changes)
    plan = build_plan(request, quirks, supported=SUPPORTED_JSON_MODES)
    web_search = encode_web_search(request, model=model, quirks=quirks, changes=changes)
    tools = _encode_tools(request, plan, web_search, quirks, changes)
    known = {"model": model, **encode_conversation(request, plan, quirks, changes), "stream": stream}
    return encode_body(quirks.extra_body, get_checked_options(request), parameters, tools, known)


def _encode_tools(
    request: Request,
    plan: StructuredOutputPlan | None,
    web_search: list[JsonObject],
    quirks: Quirks,
    changes: RequestChanges,
) -> JsonObject:
    """Return `tools` and `tool_choice`, including web search and the answer tool. Parallel calls are disabled inside
    the choice, which is `auto` if the caller made none."""
    tools, requested = resolve_tools(request, quirks)
    tools = requested.select(tools)
    requested_choice = choice = _encode_choice(requested)
    if plan is not None and plan.tool is not None:
        forced = {"type": "any"} if tools else {"type": "tool", "name": plan.tool["function"]["name"]}
        thinks = resolve_think(request, quirks) or quirks.messages_thinking == "always"
        choice = {"type": "auto"} if thinks else forced
        tools = [*tools, plan.tool]
    elif requested.forces_call and quirks.messages_thinking == "always" and not quirks.forced_tools_while_thinking:
        choice = {"type": "auto"}
    parallel = get_extra_fields(request).get("parallel_tool_calls")
    encoded = [*map(_encode_tool, tools), *web_search]
    if not encoded:
        changes.leave_out("tool_choice", request.tool_choice)
        changes.leave_out("parallel_tool_calls", parallel)
        return {}
    if requested_choice is not None and requested_choice != choice:
        changes.adjust("tool_choice")
    if parallel is False and choice != {"type": "none"}:
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return drop_nulls({"tools": encoded, "tool_choice": choice})


def _encode_choice(choice: ToolChoice) -> JsonObject | None:
    if choice.name:
        return {"type": "tool", "name": choice.name}
    return {"type": _CHOICE_TYPES[choice.mode]} if choice.mode else None


def _encode_tool(tool: JsonObject) -> JsonObject:
    function = as_object(tool["function"])
    parameters = as_object(function.get("parameters")) or {"type": "object", "properties": {}}
    description = drop_nulls({"description": function.get("description")})
    hint = build_hint(get_cache_control(tool))
    return {"name": function["name"], **description, "input_schema": parameters, **hint}
