"""What a model may or must call: the caller's tools, and `tool_choice` in OpenAI's words, looked at for every form.

`tool_choice` is `none`, `auto`, `required`, one tool by name, or `allowed_tools`: some of the tools, with `auto` or
`required`. A form without a word for the last gets only the tools that may be called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lakehouse.chat.dialects.base import Quirks
from lakehouse.chat.dialects.lenient_json import JsonObject, mapping, string, without_nulls
from lakehouse.chat.dialects.schema.subsets import moonshot
from lakehouse.chat.dialects.schema.validate import compile_schema
from lakehouse.chat.dialects.tools import ANSWER_TOOL, WRAPPED_ANSWER_TOOL
from lakehouse.chat.model.request import Request
from lakehouse.core.errors import ErrBadRequest

Mode = Literal["none", "auto", "required"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A `tool_choice`. `mode` is None where one tool must be called: the function, or the `custom` tool, that is called
    `name`, or a server tool, `server`; all three are None where the caller says nothing. `allowed` are the places in
    `tools` of those that may be called."""

    mode: Mode | None = None
    name: str | None = None
    custom: bool = False
    server: JsonObject | None = None
    allowed: tuple[int, ...] | None = None

    def of(self, tools: Sequence[JsonObject]) -> list[JsonObject]:
        """Those of the tools that may be called."""
        return list(tools) if self.allowed is None else [tools[place] for place in self.allowed]

    def in_completions(self) -> str | JsonObject | None:
        """`tool_choice` of chat completions, for `of(tools)`."""
        kind = "custom" if self.custom else "function"
        return {"type": kind, kind: {"name": self.name}} if self.name else self.server or self.mode


def checked_tools(request: Request, quirks: Quirks) -> list[JsonObject]:
    """The caller's tools in OpenAI's shape; raises `ErrBadRequest` naming the field of one that is none, or that is of
    a type that the upstream does not have."""
    tools = request.tools or ()
    for position, tool in enumerate(tools):
        kind = tool.get("type", "function")
        takes = quirks.custom_tools if kind == "custom" else quirks.server_tools
        if kind not in ("function", "custom") and takes and isinstance(kind, str) and kind:
            continue
        if kind != "function" and not takes and isinstance(kind, str) and kind:
            message = f"`tools[{position}].type` is {kind[:40]!r}: {quirks.provider} takes functions only"
            raise ErrBadRequest(message, field=f"tools[{position}].type")
        name = mapping(tool.get(kind)).get("name") if isinstance(kind, str) else None
        if not isinstance(name, str) or not name:
            raise ErrBadRequest(f'`tools[{position}]` must be {{"type": "function", "function": {{"name": …}}}}')
        if name in (ANSWER_TOOL, WRAPPED_ANSWER_TOOL):
            raise ErrBadRequest(f"`tools[{position}].function.name` is reserved (got {name!r})")
    return list(map(_without_nulls, tools))


def _without_nulls(tool: JsonObject) -> JsonObject:
    """A tool without members that are null, as SDKs write what was left out: not every upstream takes them."""
    written = tool if None not in tool.values() else without_nulls(tool)
    for kind in ("function", "custom"):
        if kind in written and None in mapping(written[kind]).values():
            written = {**written, kind: without_nulls(mapping(written[kind]))}
    return written


def flavoured_tools(request: Request, quirks: Quirks) -> list[JsonObject]:
    """The same, with their parameters in the flavour of JSON Schema that the provider takes."""
    tools = checked_tools(request, quirks)
    if quirks.schema_flavour == "full":
        return tools
    flavoured = []
    for position, tool in enumerate(tools):
        if "function" not in tool:
            flavoured.append(tool)
            continue
        function = mapping(tool["function"])
        parameters = mapping(function.get("parameters"))
        compile_schema(parameters, field=f"tools[{position}].function.parameters")
        rewritten = {"parameters": moonshot(parameters)} if parameters else {}
        flavoured.append({**tool, "function": {**without_nulls({**function, "strict": None}), **rewritten}})
    return flavoured


def offer(request: Request, quirks: Quirks) -> tuple[list[JsonObject], Choice]:
    """The caller's tools, flavoured, and the choice among them; raises for the first that cannot be sent."""
    return flavoured_tools(request, quirks), choice_of(request, quirks)


def choice_of(request: Request, quirks: Quirks) -> Choice:
    """The request's `tool_choice`; raises `ErrBadRequest` for what is none, and for one that demands what `tools` do
    not have."""
    given, tools = request.tool_choice, request.tools or ()
    if given is None or given in ("none", "auto"):
        return Choice(mode=given)  # type: ignore[arg-type]
    if isinstance(given, str):
        if given != "required":
            raise _wrong(f"`tool_choice` must be none, auto, required or name a function (got {given[:40]!r})")
        if not tools:
            raise _wrong("`tool_choice` is required, and there are no `tools`")
        return Choice(mode="required")
    kind = given.get("type")
    if kind == "allowed_tools":
        return _allowed(given, tools)
    if kind not in (None, "function", "custom"):
        if quirks.server_tools and any(tool.get("type") == kind for tool in tools):
            return Choice(server=given)
        raise _wrong(f"`tool_choice.type` is {str(kind)[:40]!r}, which is no tool of `tools` that can be called")
    name = called(given)
    if not name:
        raise _wrong("`tool_choice` must be none, auto, required or name a function")
    if not any(_is_the_one(tool, kind or "function", name) for tool in tools):
        raise _wrong(f"`tool_choice` names {name[:64]!r}, which is not in `tools`")
    return Choice(name=name, custom=kind == "custom")


def _allowed(given: JsonObject, tools: Sequence[JsonObject]) -> Choice:
    """`allowed_tools`, whose members stand in an object of their own, or beside the type as in the responses form."""
    inner = mapping(given.get("allowed_tools"))
    where = "tool_choice.allowed_tools" if inner else "tool_choice"
    inner = inner or given
    mode, named = inner.get("mode"), inner.get("tools")
    if mode not in ("auto", "required"):
        raise ErrBadRequest(f"`{where}.mode` must be auto or required", field=f"{where}.mode")
    if not isinstance(named, list) or not named:
        raise ErrBadRequest(f"`{where}.tools` must name at least one of `tools`", field=f"{where}.tools")
    places = []
    for position, entry in enumerate(named):
        kind, name = mapping(entry).get("type", "function"), called(mapping(entry))
        found = [place for place, tool in enumerate(tools) if _is_the_one(tool, kind, name)]
        if not found:
            field = f"{where}.tools[{position}]"
            raise ErrBadRequest(f"`{field}` is not in `tools`", field=field)
        places += found
    return Choice(mode=mode, allowed=tuple(sorted(set(places))))


def _is_the_one(tool: JsonObject, kind: object, name: str) -> bool:
    return tool.get("type", "function") == kind and (kind not in ("function", "custom") or called(tool) == name)


def called(tool: JsonObject) -> str:
    """The name of a function or custom tool, or of what chooses one: in an object of its own, or, as the responses form
    writes it, beside the type. Empty if there is none."""
    inner = mapping(tool.get(string(tool.get("type")) or "function"))
    return string(inner.get("name")) or string(tool.get("name"))


def _wrong(message: str) -> ErrBadRequest:
    return ErrBadRequest(message, field="tool_choice")
