"""Calls of tools that a model asks for, in OpenAI's shapes."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from lakehouse.chat.model.parts import JsonObject


class Function(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The function to call. `arguments` is JSON in a string; it may be invalid when the finish reason is `length`."""

    name: str
    arguments: str = "{}"


class Custom(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The custom tool to call. `input` is free text."""

    name: str
    input: str


_MISSING = Function(name="")


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool call of a conversation, in OpenAI's shape.

    The call of a `custom` tool also has a `function`, whose only argument is the input: dialects that have functions
    only send that. Raises ValueError when the field that `type` requires is missing.
    """

    id: str
    function: Function = _MISSING
    type: Literal["function", "custom"] = "function"
    custom: Custom | UnsetType = UNSET
    cache_control: JsonObject | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.type == "custom":
            if isinstance(self.custom, UnsetType):
                raise ValueError("Object missing required field `custom`")
            arguments = msgspec.json.encode({"input": self.custom.input}).decode()
            msgspec.structs.force_setattr(self, "function", Function(name=self.custom.name, arguments=arguments))
        elif self.function is _MISSING:
            raise ValueError("Object missing required field `function`")


class CustomToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """The call of a custom tool in an answer, in OpenAI's shape. Sent back in a request, it becomes a `ToolCall`."""

    id: str
    custom: Custom
    type: Literal["custom"] = "custom"

    @property
    def function(self) -> Function:
        """Name and input under the field names of a function call."""
        return Function(name=self.custom.name, arguments=self.custom.input)


AnyToolCall = ToolCall | CustomToolCall
