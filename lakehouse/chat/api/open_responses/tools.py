"""Tools of a Responses request in OpenAI's chat shapes, and the names under which providers know them.

Functions and custom tools may stand in a namespace. No other dialect has namespaces, so their tools are sent under one
name each, and a call gets name and namespace back. A web search is left out; any other tool that the provider would run
itself is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2s

from lakehouse.asgi.json_body import convert_json
from lakehouse.chat.api.open_responses.types import CustomTool, FunctionTool, NamespaceTool
from lakehouse.chat.api.open_responses.unsent import Unsent, get_type
from lakehouse.chat.dialects.lenient_json import JsonObject, as_objects, as_string, drop_nulls
from lakehouse.core.errors import ErrBadRequest

MAX_NAME = 64
"""Characters of a function's name that every provider accepts."""


class ToolNames:
    """The names of a request's tools as providers are sent them.

    A tool of a namespace is sent as `namespace__name`, in characters and a length that every provider accepts; the same
    pair always gets the same name.
    """

    def __init__(self) -> None:
        self._plain: set[str] = set()
        self._custom: set[str] = set()
        self._pairs: dict[str, tuple[str, str]] = {}

    def add(self, name: str, namespace: str | None = None, *, custom: bool = False) -> str:
        """Add a tool and return the name that is sent."""
        sent = self.join(name, namespace)
        if namespace is None:
            self._plain.add(name)
        else:
            self._pairs[sent] = name, namespace
        if custom:
            self._custom.add(sent)
        return sent

    def join(self, name: str, namespace: str | None) -> str:
        """Return the name that is sent for a tool, whether it was added or not."""
        if namespace is None:
            return name
        joined = f"{namespace}__{name}"
        safe = re.sub(r"[^a-zA-Z0-9_-]", "_", joined)
        if safe == joined and len(safe) <= MAX_NAME and safe not in self._plain:
            return safe
        digest = blake2s(f"{namespace}\0{name}".encode(), digest_size=4).hexdigest()
        return f"{safe[: MAX_NAME - 9]}_{digest}"

    def split(self, sent: str) -> tuple[str, str | None]:
        """Return the name and the namespace of a tool that was sent under a name."""
        return self._pairs.get(sent, (sent, None))

    def is_custom(self, sent: str) -> bool:
        """Return whether a tool is a custom one."""
        return sent in self._custom


def read_tools(given: Iterable[JsonObject], names: ToolNames, unsent: Unsent) -> list[JsonObject]:
    """Convert the tools. Functions without a namespace are named first: their names are sent unchanged."""
    tools = list(given)
    for tool in tools:
        if tool.get("type") in ("function", "custom"):
            names.add(as_string(tool.get("name")), custom=tool["type"] == "custom")
    return [read for place, tool in enumerate(tools) for read in _read_tool(tool, f"tools[{place}]", names, unsent)]


def _read_tool(tool: JsonObject, where: str, names: ToolNames, unsent: Unsent) -> list[JsonObject]:
    kind = get_type(tool, where)
    if kind in ("function", "custom"):
        return [_read_callable(tool, where, None, names, unsent)]
    if kind == "namespace":
        return _read_namespace(tool, where, names, unsent)
    if kind.startswith("web_search"):
        unsent.leave_out("tools.web_search")
    else:
        unsent.refuse_type(where, kind)
    return []


def _read_namespace(tool: JsonObject, where: str, names: ToolNames, unsent: Unsent) -> list[JsonObject]:
    """Convert the tools of a namespace. Its description goes in front of that of its first tool."""
    namespace = convert_json(tool, NamespaceTool, where)
    unsent.leave_out_unknown(tool, NamespaceTool, "tools")
    read: list[JsonObject] = []
    for place, inner in enumerate(namespace.tools):
        at = f"{where}.tools[{place}]"
        if get_type(inner, at) not in ("function", "custom"):
            unsent.refuse_type(at, inner["type"])
            continue
        read.append(_read_callable(inner, at, namespace.name, names, unsent))
    if read and namespace.description:
        described = read[0][read[0]["type"]]
        described["description"] = "\n\n".join(filter(None, (namespace.description, described.get("description"))))
    return read


def _read_callable(tool: JsonObject, where: str, namespace: str | None, names: ToolNames, unsent: Unsent) -> JsonObject:
    """Convert a function or a custom tool."""
    if tool["type"] == "function":
        unsent.leave_out_unknown(tool, FunctionTool, "tools")
        function = convert_json(tool, FunctionTool, where)
        described = {
            "name": names.add(function.name, namespace),
            "description": function.description,
            "parameters": function.parameters,
            "strict": function.strict,
        }
        return {"type": "function", "function": drop_nulls(described)}
    unsent.leave_out_unknown(tool, CustomTool, "tools")
    custom = convert_json(tool, CustomTool, where)
    grammar = None
    if custom.format is not None and custom.format.type == "grammar":
        rules = {"syntax": custom.format.syntax, "definition": custom.format.definition}
        grammar = {"type": "grammar", "grammar": drop_nulls(rules)}
    described = {
        "name": names.add(custom.name, namespace, custom=True),
        "description": custom.description,
        "format": grammar,
    }
    return {"type": "custom", "custom": drop_nulls(described)}


def read_tool_choice(given: str | JsonObject | None, names: ToolNames, unsent: Unsent) -> str | JsonObject | None:
    """Convert the choice of a tool. One of a tool that the provider would run itself is refused by name."""
    if given is None or isinstance(given, str):
        return given
    kind = get_type(given, "tool_choice")
    if kind in ("function", "custom"):
        return _read_chosen(given, "tool_choice", names)
    if kind != "allowed_tools":
        unsent.refuse_type("tool_choice", kind)
        return None
    listed = as_objects(given.get("tools"))
    chosen = [
        _read_chosen(tool, f"tool_choice.tools[{place}]", names)
        for place, tool in enumerate(listed)
        if not as_string(tool.get("type")).startswith("web_search")
    ]
    if not chosen:
        unsent.refuse("tool_choice.tools")
        return None
    return {"type": "allowed_tools", "allowed_tools": {"mode": given.get("mode"), "tools": chosen}}


def _read_chosen(tool: JsonObject, where: str, names: ToolNames) -> JsonObject:
    name, namespace = as_string(tool.get("name")), as_string(tool.get("namespace")) or None
    kind = get_type(tool, where)
    if kind not in ("function", "custom"):
        raise ErrBadRequest(f"`{where}.type` is {kind!r}, which cannot be chosen here", field=f"{where}.type")
    if not name:
        raise ErrBadRequest(f"`{where}.name` is required", field=f"{where}.name")
    return {"type": kind, kind: {"name": names.join(name, namespace)}}
