"""Tools of a request in Anthropic's form, in OpenAI's shapes.

A tool of the client has a schema. Any other is one of Anthropic's: a web search is optional and left out where a
provider has none; every other one is refused by name, except by providers of the same form.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2s
from typing import NamedTuple

from lakehouse.asgi.json_body import convert_json
from lakehouse.chat.api.anthropic.blocks import Unsent
from lakehouse.chat.api.anthropic.types import ToolChoiceParam, ToolParam
from lakehouse.chat.model.parts import JsonObject
from lakehouse.core.errors import ErrBadRequest

WEB_SEARCH = "web_search_"
"""How the types of all versions of the web search begin."""

TOOL_HINTS = ("allowed_callers", "defer_loading", "eager_input_streaming", "input_examples")
"""Fields of a tool that change how it is offered, and not what it is."""

MAX_NAME = 64
"""Characters of a tool's name in every other form; Anthropic allows twice as many."""

_MODES = {"auto": "auto", "any": "required", "none": "none"}


def shorten_name(name: str) -> str:
    """Return the name of a tool for other forms. A name that is too long ends in a digest of all of it."""
    if len(name) <= MAX_NAME:
        return name
    digest = blake2s(name.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return f"{name[: MAX_NAME - len(digest) - 1]}_{digest}"


def collect_long_names(tools: Iterable[JsonObject]) -> dict[str, str]:
    """The client's names of the tools that have a shorter one in other forms."""
    names = [tool["name"] for tool in tools]
    return {shorten_name(name): name for name in names if len(name) > MAX_NAME}


class ReadTool(NamedTuple):
    """A function, and the client's path of the tool."""

    function: JsonObject
    path: str


def read_tools(given: list[JsonObject], unsent: Unsent) -> tuple[list[ReadTool], JsonObject | None]:
    """Return the client's tools as functions, and the web search if there is one."""
    functions: list[ReadTool] = []
    web_search = None
    for place, tool in enumerate(given):
        where = f"tools[{place}]"
        param = convert_json(tool, ToolParam, where)
        if param.type in (None, "custom"):
            if param.input_schema is None:
                raise ErrBadRequest(f"`{where}.input_schema` is required", field=f"{where}.input_schema")
            unsent.add_unknown_fields(tool, ToolParam, "tools", hints=TOOL_HINTS)
            functions.append(ReadTool(_make_function(param, param.input_schema), where))
        elif param.type.startswith(WEB_SEARCH):
            web_search = tool
        else:
            unsent.unmapped.append(f"{where}.type")
    return functions, web_search


def _make_function(tool: ToolParam, parameters: JsonObject) -> JsonObject:
    function: JsonObject = {"name": shorten_name(tool.name), "parameters": parameters}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    hint = {"cache_control": tool.cache_control} if tool.cache_control else {}
    return {"type": "function", "function": function, **hint}


def read_tool_choice(choice: ToolChoiceParam | None) -> str | JsonObject | None:
    """Return the choice of a tool."""
    if choice is None or choice.type != "tool":
        return None if choice is None else _MODES[choice.type]
    if not choice.name:
        raise ErrBadRequest("`tool_choice.name` is required", field="tool_choice.name")
    return {"type": "function", "function": {"name": shorten_name(choice.name)}}
