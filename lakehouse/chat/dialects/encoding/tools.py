"""The caller's tools: checked, and reduced to the JSON Schema that the provider supports."""

from __future__ import annotations

from lakehouse.chat.dialects.encoding.tool_choice import ToolChoice, parse_tool_choice
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, drop_nulls
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.schema.answer_tool import ANSWER_TOOL, WRAPPED_ANSWER_TOOL
from lakehouse.chat.dialects.schema.moonshot import rewrite_for_moonshot
from lakehouse.chat.dialects.schema.validate import compile_schema
from lakehouse.chat.model.request import Request
from lakehouse.core.errors import ErrBadRequest


def resolve_tools(request: Request, quirks: Quirks) -> tuple[list[JsonObject], ToolChoice]:
    """Return the caller's tools and the choice among them, ready to be encoded. Raises `ErrBadRequest` naming the first
    field that cannot be sent."""
    return _fit_to_subset(check_tools(request, quirks), quirks), parse_tool_choice(request, quirks)


def check_tools(request: Request, quirks: Quirks) -> list[JsonObject]:
    """Return the caller's tools in OpenAI's shape. Raises `ErrBadRequest` naming the field of a malformed tool, or of
    one whose type the upstream does not support."""
    tools = request.tools or ()
    for position, tool in enumerate(tools):
        _check_tool(tool, position, quirks)
    return list(map(_drop_null_members, tools))


def _check_tool(tool: JsonObject, position: int, quirks: Quirks) -> None:
    kind = tool.get("type", "function")
    supported = quirks.custom_tools if kind == "custom" else quirks.server_tools
    if kind not in ("function", "custom") and supported and isinstance(kind, str) and kind:
        return
    if kind != "function" and not supported and isinstance(kind, str) and kind:
        message = f"`tools[{position}].type` is {kind[:40]!r}: {quirks.provider} takes functions only"
        raise ErrBadRequest(message, field=f"tools[{position}].type")
    name = as_object(tool.get(kind)).get("name") if isinstance(kind, str) else None
    if not isinstance(name, str) or not name:
        message = f'`tools[{position}]` must be {{"type": "function", "function": {{"name": …}}}}'
        raise ErrBadRequest(message, field=f"tools[{position}]")
    if name in (ANSWER_TOOL, WRAPPED_ANSWER_TOOL):
        field = f"tools[{position}].function.name"
        raise ErrBadRequest(f"`{field}` is reserved (got {name!r})", field=field)


def _drop_null_members(tool: JsonObject) -> JsonObject:
    """Return a tool without null members, which SDKs write for absent ones and not every upstream accepts."""
    written = tool if None not in tool.values() else drop_nulls(tool)
    for kind in ("function", "custom"):
        if kind in written and None in as_object(written[kind]).values():
            written = {**written, kind: drop_nulls(as_object(written[kind]))}
    return written


def _fit_to_subset(tools: list[JsonObject], quirks: Quirks) -> list[JsonObject]:
    """Return the tools with their parameters in the JSON Schema subset of the provider."""
    if quirks.schema_subset == "full":
        return tools
    return [
        _fit_function(tool, f"tools[{position}].function.parameters") if "function" in tool else tool
        for position, tool in enumerate(tools)
    ]


def _fit_function(tool: JsonObject, field: str) -> JsonObject:
    function = as_object(tool["function"])
    parameters = as_object(function.get("parameters"))
    compile_schema(parameters, field=field)
    rewritten = {"parameters": rewrite_for_moonshot(parameters)} if parameters else {}
    return {**tool, "function": {**drop_nulls({**function, "strict": None}), **rewritten}}
