"""`tool_choice` in OpenAI's terms, parsed once for every dialect.

`tool_choice` is `none`, `auto`, `required`, one tool by name, or `allowed_tools`: a subset of the tools with `auto` or
`required`. A dialect without an equivalent of the last sends only the allowed tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_string
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.request import Request
from lakehouse.core.errors import ErrBadRequest

Mode = Literal["none", "auto", "required"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """A parsed `tool_choice`; all fields None: the caller set none."""

    mode: Mode | None = None
    """None if one tool must be called."""
    name: str | None = None
    """The function that must be called, or with `custom` the custom tool."""
    custom: bool = False
    server: JsonObject | None = None
    """The choice of a tool that the provider runs itself, as the caller wrote it."""
    allowed: tuple[int, ...] | None = None
    """Positions in `tools` of the tools that may be called; None: all."""

    def select(self, tools: Sequence[JsonObject]) -> list[JsonObject]:
        """Return the tools that may be called."""
        return list(tools) if self.allowed is None else [tools[position] for position in self.allowed]

    @property
    def forces_call(self) -> bool:
        """True if the model must call a tool."""
        return self.name is not None or self.server is not None or self.mode == "required"

    def encode_for_completions(self) -> str | JsonObject | None:
        """Return `tool_choice` of chat completions, to be sent with `select(tools)`."""
        kind = "custom" if self.custom else "function"
        return {"type": kind, kind: {"name": self.name}} if self.name else self.server or self.mode


def parse_tool_choice(request: Request, quirks: Quirks) -> ToolChoice:
    """Return the request's `tool_choice`. Raises `ErrBadRequest` for an invalid one, and for one that needs a tool
    which `tools` does not have."""
    given, tools = request.tool_choice, request.tools or ()
    if given is None or given in ("none", "auto"):
        return ToolChoice(mode=given)  # type: ignore[arg-type]
    if isinstance(given, str):
        if given != "required":
            raise _build_error(f"`tool_choice` must be none, auto, required or name a function (got {given[:40]!r})")
        if not tools:
            raise _build_error("`tool_choice` is required, and there are no `tools`")
        return ToolChoice(mode="required")
    kind = given.get("type")
    if kind == "allowed_tools":
        return _parse_allowed_tools(given, tools)
    if kind not in (None, "function", "custom"):
        if quirks.server_tools and any(tool.get("type") == kind for tool in tools):
            return ToolChoice(server=given)
        raise _build_error(f"`tool_choice.type` is {str(kind)[:40]!r}, which is no tool of `tools` that can be called")
    name = get_tool_name(given)
    if not name:
        raise _build_error("`tool_choice` must be none, auto, required or name a function")
    if not any(_matches(tool, kind or "function", name) for tool in tools):
        raise _build_error(f"`tool_choice` names {name[:64]!r}, which is not in `tools`")
    return ToolChoice(name=name, custom=kind == "custom")


def excludes_thinking(request: Request, quirks: Quirks) -> bool:
    """Return whether `tool_choice` forces a call that the provider rejects while the model thinks. With `format`, the
    answer tool decides about the choice."""
    if quirks.forced_tools_while_thinking or request.format is not None:
        return False
    return parse_tool_choice(request, quirks).forces_call


def _parse_allowed_tools(given: JsonObject, tools: Sequence[JsonObject]) -> ToolChoice:
    """Parse `allowed_tools`, whose members stand in an object of that name, or beside `type` as in the responses
    dialect."""
    inner = as_object(given.get("allowed_tools"))
    where = "tool_choice.allowed_tools" if inner else "tool_choice"
    inner = inner or given
    mode, named = inner.get("mode"), inner.get("tools")
    if mode not in ("auto", "required"):
        raise ErrBadRequest(f"`{where}.mode` must be auto or required", field=f"{where}.mode")
    if not isinstance(named, list) or not named:
        raise ErrBadRequest(f"`{where}.tools` must name at least one of `tools`", field=f"{where}.tools")
    positions = []
    for index, entry in enumerate(named):
        kind, name = as_object(entry).get("type", "function"), get_tool_name(as_object(entry))
        found = [position for position, tool in enumerate(tools) if _matches(tool, kind, name)]
        if not found:
            field = f"{where}.tools[{index}]"
            raise ErrBadRequest(f"`{field}` is not in `tools`", field=field)
        positions += found
    return ToolChoice(mode=mode, allowed=tuple(sorted(set(positions))))


def _matches(tool: JsonObject, kind: object, name: str) -> bool:
    same_kind = tool.get("type", "function") == kind
    return same_kind and (kind not in ("function", "custom") or get_tool_name(tool) == name)


def get_tool_name(tool: JsonObject) -> str:
    """Return the name of a function or custom tool, or of an entry that selects one: inside the object named by `type`,
    or beside `type` as in the responses dialect. Empty if absent."""
    inner = as_object(tool.get(as_string(tool.get("type")) or "function"))
    return as_string(inner.get("name")) or as_string(tool.get("name"))


def _build_error(message: str) -> ErrBadRequest:
    return ErrBadRequest(message, field="tool_choice")
