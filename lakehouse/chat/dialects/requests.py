"""What all dialects do with a request: its fields put together, its tools and choices looked at."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from lakehouse.chat.dialects.base import Quirks
from lakehouse.chat.dialects.documents import JsonObject, mapping, string, without_nulls
from lakehouse.chat.dialects.flavours import moonshot
from lakehouse.chat.dialects.structured import prepared
from lakehouse.chat.dialects.tools import ANSWER_TOOL, WRAPPED_ANSWER_TOOL
from lakehouse.chat.request import OpenAIRequest, Request
from lakehouse.errors import ErrBadRequest

OURS = ("model", "messages", "stream")
"""Fields that `options` may not set: which provider answers, and how it is read, hangs on them."""


def body_of(*layers: Mapping[str, object] | None) -> bytes:
    """The JSON body of several layers of fields, the later ones over the earlier; those that are None are not sent."""
    body: JsonObject = {}
    for layer in layers:
        if layer:
            for name, value in layer.items():
                if value is not None:
                    body[name] = value
    return msgspec.json.encode(body)


def own_options(request: Request) -> JsonObject:
    """`options`, which go to the provider as they are; raises `ErrBadRequest` for one that would undo the request."""
    options = request.options
    if not options:
        return {}
    for name in OURS:
        if name in options:
            raise ErrBadRequest(f"`options.{name}` cannot be set: it is a field of the request itself")
    return options


def extra_fields(request: Request) -> JsonObject:
    """Fields of OpenAI's form that this service does not know."""
    return request.extra if isinstance(request, OpenAIRequest) else {}


def checked_tools(request: Request) -> list[JsonObject]:
    """The caller's tools in OpenAI's shape; raises `ErrBadRequest` naming the field of one that is none."""
    for position, tool in enumerate(request.tools or ()):
        name = mapping(tool.get("function")).get("name")
        if tool.get("type", "function") != "function" or not isinstance(name, str) or not name:
            raise ErrBadRequest(f'`tools[{position}]` must be {{"type": "function", "function": {{"name": …}}}}')
        if name in (ANSWER_TOOL, WRAPPED_ANSWER_TOOL):
            raise ErrBadRequest(f"`tools[{position}].function.name` is reserved (got {name!r})")
    return list(request.tools or ())


def flavoured_tools(request: Request, quirks: Quirks) -> list[JsonObject]:
    """The same, with their parameters in the flavour of JSON Schema that the provider takes."""
    tools = checked_tools(request)
    if quirks.schema_flavour == "full":
        return tools
    flavoured = []
    for position, tool in enumerate(tools):
        function = mapping(tool["function"])
        parameters = mapping(function.get("parameters"))
        prepared(parameters, field=f"tools[{position}].function.parameters")
        rewritten = {"parameters": moonshot(parameters)} if parameters else {}
        flavoured.append({**tool, "function": {**without_nulls({**function, "strict": None}), **rewritten}})
    return flavoured


def chosen_tool(choice: str | JsonObject | None) -> str | None:
    """The name of the one tool that `tool_choice` demands, if it does; raises `ErrBadRequest` for what is no choice."""
    if choice is None or choice in ("none", "auto", "required"):
        return None
    if isinstance(choice, str):
        raise ErrBadRequest(f"`tool_choice` must be none, auto, required or name a function (got {choice[:40]!r})")
    name = string(mapping(choice.get("function")).get("name")) or string(choice.get("name"))
    if not name:
        raise ErrBadRequest("`tool_choice` must be none, auto, required or name a function")
    return name
