"""Requests of other forms than chat completions: what is checked and converted before any dialect encodes them."""

from __future__ import annotations

import msgspec

from lakehouse.chat.dialects.base import Form
from lakehouse.chat.dialects.encoding.extra_fields import build_unsupported_field_error
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_string, drop_nulls
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.model.request import Request, TranslatedRequest
from lakehouse.core.errors import ErrBadRequest


def prepare_translated(request: Request, *, form: Form, model: str, quirks: Quirks, changes: RequestChanges) -> Request:
    """Return `request` with the tools that the provider accepts; hints are recorded in `changes`. A request in the form
    of chat completions or in the native form is returned as it is.

    Raises `ErrBadRequest` naming what only a provider of the client's form can be sent.
    """
    if not isinstance(request, TranslatedRequest):
        return request
    own_fields = get_own_fields(request, form)
    for path in request.unmapped:
        if path.partition(".")[0] in own_fields:
            continue
        raise _build_unmapped_error(path, request, model=model, quirks=quirks)
    for path in request.hints:
        if path.partition(".")[0] in own_fields:
            continue
        changes.leave_out(path)
    if quirks.custom_tools or not request.custom_as_functions:
        return request
    return _convert_custom_tools(request)


def get_own_fields(request: Request, form: Form) -> JsonObject:
    """Return the fields that a provider of this form is sent as the client wrote them."""
    return request.own_fields if isinstance(request, TranslatedRequest) and request.form == form else {}


def _build_unmapped_error(path: str, request: TranslatedRequest, *, model: str, quirks: Quirks) -> ErrBadRequest:
    if path not in request.unmapped_types:
        return build_unsupported_field_error(path, model=model, quirks=quirks)
    kind = request.unmapped_types[path]
    message = f"`{path}` is {kind!r}: {quirks.provider} serves {model} in a form that has no such type"
    return ErrBadRequest(message, field=path)


def name_client_field(error: ErrBadRequest, request: Request) -> ErrBadRequest:
    """Return the error about a field of `request` under the field's name in the client's form."""
    if not isinstance(request, TranslatedRequest) or error.field is None or error.field in request.unmapped:
        return error
    known = [path for path in request.field_names if _begins_with(error.field, path)]
    if not known:
        return error
    longest = max(known, key=len)
    named = request.field_names[longest] + error.field.removeprefix(longest)
    return ErrBadRequest(error.message.replace(f"`{error.field}`", f"`{named}`"), field=named, details=error.details)


def _begins_with(field: str, path: str) -> bool:
    return field == path or field.startswith((f"{path}.", f"{path}["))


def _convert_custom_tools(request: TranslatedRequest) -> TranslatedRequest:
    tools = tuple(map(_convert_custom_tool, request.tools or ()))
    choice = request.tool_choice
    if isinstance(choice, dict):
        choice = _convert_custom_choice(choice)
    return msgspec.structs.replace(request, tools=tools or None, tool_choice=choice)


def _convert_custom_tool(tool: JsonObject) -> JsonObject:
    """Return a custom tool as a function; its grammar goes into the description."""
    if tool.get("type") != "custom":
        return tool
    custom = as_object(tool.get("custom"))
    grammar = as_object(as_object(custom.get("format")).get("grammar"))
    rules = (
        f"The input must match this {grammar.get('syntax')} grammar:\n{grammar.get('definition')}" if grammar else ""
    )
    description = "\n\n".join(filter(None, (as_string(custom.get("description")), rules)))
    parameters = {
        "type": "object",
        "properties": {"input": {"type": "string"}},
        "required": ["input"],
        "additionalProperties": False,
    }
    function = {"name": custom.get("name"), "description": description or None, "parameters": parameters}
    return {"type": "function", "function": drop_nulls(function)}


def _convert_custom_choice(choice: JsonObject) -> JsonObject:
    """Return a choice of a custom tool, or among several tools, as one of functions."""
    if choice.get("type") == "custom":
        return {"type": "function", "function": choice.get("custom")}
    inner = as_object(choice.get("allowed_tools"))
    if choice.get("type") != "allowed_tools" or not isinstance(inner.get("tools"), list):
        return choice
    tools = [_convert_custom_choice(as_object(tool)) for tool in inner["tools"]]
    return {**choice, "allowed_tools": {**inner, "tools": tools}}
