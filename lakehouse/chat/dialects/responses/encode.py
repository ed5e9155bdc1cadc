"""Requests of the responses dialect: the body and its tools."""

from __future__ import annotations

from lakehouse.chat.dialects.encoding.body import encode_body, get_checked_options
from lakehouse.chat.dialects.encoding.extra_fields import (
    build_unsupported_field_error,
    record_unsent_reasoning,
    record_unsent_tool_fields,
)
from lakehouse.chat.dialects.encoding.thinking import resolve_think
from lakehouse.chat.dialects.encoding.tool_choice import ToolChoice, get_tool_name
from lakehouse.chat.dialects.encoding.tools import resolve_tools
from lakehouse.chat.dialects.encoding.translated import get_own_fields
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, drop_nulls
from lakehouse.chat.dialects.quirks import JsonMode, Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.dialects.responses.conversation import encode_input, is_replayable
from lakehouse.chat.dialects.responses.parameters import encode_parameters, encode_web_search, merge_own_fields
from lakehouse.chat.dialects.schema.structured_output import StructuredOutputPlan, build_plan, label_schema
from lakehouse.chat.model.request import Request

SUPPORTED_JSON_MODES: tuple[JsonMode, ...] = ("native", "json_object", "tool", "prompt")


def encode(request: Request, *, model: str, stream: bool, quirks: Quirks, changes: RequestChanges) -> bytes:
    """Return the body of a request, see `base.EncodeFunction`."""
    if request.stop is not None:
        raise build_unsupported_field_error("stop", model=model, quirks=quirks)
    plan = build_plan(request, quirks, supported=SUPPORTED_JSON_MODES)
    parameters = encode_parameters(request, model=model, quirks=quirks, changes=changes)
    if plan and plan.uses_provider_mode:
        text = {**as_object(get_checked_options(request).get("text")), **as_object(parameters.get("text"))}
        parameters["text"] = {**text, "format": _encode_format(plan)}
    tools = _encode_tools(request, plan, quirks, changes)
    record_unsent_tool_fields(request, changes, function=False)
    record_unsent_reasoning(
        request, changes, plain=False, is_sent=lambda entry: quirks.reasoning_details and is_replayable(entry)
    )
    own_fields = merge_own_fields(get_own_fields(request, "responses"), parameters)
    known = {"model": model, "input": encode_input(request, plan, quirks), "stream": stream}
    return encode_body(quirks.extra_body, get_checked_options(request), parameters, own_fields, tools, known)


def _encode_format(plan: StructuredOutputPlan) -> JsonObject:
    if plan.schema is None or plan.json_mode == "json_object":
        return {"type": "json_object"}
    return {"type": "json_schema", **label_schema(plan.schema, plan.label)}


def _encode_tools(
    request: Request, plan: StructuredOutputPlan | None, quirks: Quirks, changes: RequestChanges
) -> JsonObject:
    """Return `tools` and `tool_choice`, including web search and the answer tool."""
    tools, requested = resolve_tools(request, quirks)
    requested_choice = choice = _encode_choice(tools, requested)
    if plan is not None and plan.tool is not None:
        tools = requested.select(tools)
        forced = "required" if tools else {"type": "function", "name": plan.tool["function"]["name"]}
        choice = "auto" if resolve_think(request, quirks) else forced
        tools = [*tools, plan.tool]
    encoded = [*map(_encode_tool, tools), *encode_web_search(request)]
    if not encoded:
        changes.leave_out("tool_choice", request.tool_choice)
    elif requested_choice is not None and requested_choice != choice:
        changes.adjust("tool_choice")
    return drop_nulls({"tools": encoded or None, "tool_choice": choice if encoded else None})


def _encode_choice(tools: list[JsonObject], choice: ToolChoice) -> object:
    if choice.allowed is not None:
        allowed = [{"type": tool.get("type", "function"), "name": get_tool_name(tool)} for tool in choice.select(tools)]
        return {"type": "allowed_tools", "mode": choice.mode, "tools": allowed}
    kind = "custom" if choice.custom else "function"
    return {"type": kind, "name": choice.name} if choice.name else choice.mode


def _encode_tool(tool: JsonObject) -> JsonObject:
    """Return a function or custom tool. `strict` is always sent: this dialect alone defaults to true."""
    if tool.get("type") == "custom":
        custom = as_object(tool["custom"])
        grammar = as_object(as_object(custom.get("format")).get("grammar"))
        custom_format = {"format": {"type": "grammar", **grammar}} if grammar else {}
        return {"type": "custom", **custom, **custom_format}
    function = as_object(tool["function"])
    parameters = as_object(function.get("parameters")) or {"type": "object", "properties": {}}
    return {"type": "function", **function, "parameters": parameters, "strict": function.get("strict") is True}
