"""A conversation as far as an upstream has places for it.

What a message may hold besides text, images, calls and reasoning is known by name (`base.Capability`). Each dialect
lists what its form has a place for, and a provider's quirks may list less or more. Of the rest, what a model would be
told is refused with a 400 that names it, and what is only a hint is left out and recorded in `Changes`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from lakehouse.chat.dialects.base import Capability, Changes, Quirks
from lakehouse.chat.dialects.lenient_json import JsonObject, mapping
from lakehouse.chat.model.parts import AudioPart, FilePart, ImagePart, Part, TextPart, VideoPart
from lakehouse.chat.model.request import Message, OpenAIMessage, Request
from lakehouse.chat.model.tool_calls import ToolCall
from lakehouse.core.errors import ErrBadRequest

T = TypeVar("T")

LONGEST_NAME = 64
"""Characters of a name that a client made up, which are as many as the log shows."""

NAMES: dict[type[Part], Capability] = {FilePart: "file", AudioPart: "input_audio", VideoPart: "video_url"}
"""The parts that not every form has a place for."""


def fitted(request: Request, capabilities: frozenset[Capability], quirks: Quirks, changes: Changes) -> Request:
    """`request` with nothing in its messages and tools that the upstream has no place for. `capabilities` are those of
    the dialect.

    Raises `ErrBadRequest` naming what cannot be left out.
    """
    fitting = _Fitting(capabilities if quirks.capabilities is None else quirks.capabilities, quirks.provider, changes)
    replaced: dict[str, Any] = {}
    if not all(map(_is_bare, request.messages)):
        replaced["messages"] = tuple([fitting.message(*numbered) for numbered in enumerate(request.messages)])
    if any("cache_control" in tool or "cache_control" in mapping(tool.get("function")) for tool in request.tools or ()):
        replaced["tools"] = tuple(map(fitting.tool, request.tools or ()))
    return msgspec.structs.replace(request, **replaced) if replaced else request


def _is_bare(message: Message) -> bool:
    """Whether it has nothing in it but what every form has a place for."""
    return (
        type(message) is Message
        and (type(message.content) is not tuple or all(map(_is_text, message.content)))
        and message.name is None
        and message.refusal is None
        and message.audio is None
        and not message.annotations
        and message.cache_control is None
        and not (message.tool_calls and any(call.cache_control for call in message.tool_calls))
    )


def _is_text(part: Part) -> bool:
    """Whether a part is text and nothing else."""
    return type(part) is TextPart and part.cache_control is None


class _Fitting:
    """Fits messages and tools, one after the other."""

    def __init__(self, capabilities: frozenset[Capability], provider: str, changes: Changes) -> None:
        self._capabilities = capabilities
        self._provider = provider
        self._changes = changes

    def message(self, position: int, message: Message) -> Message:
        """One message with what there are places for."""
        where = f"messages[{position}]"
        named = "name" in self._capabilities or (message.role == "tool" and "tool_name" in self._capabilities)
        replaced: dict[str, Any] = {
            "name": message.name if named else self._without("messages.name", message.name, None),
            "annotations": self._hint("annotations", "messages.annotations", message.annotations, ()),
            "cache_control": self._hint("cache_control", "messages.cache_control", message.cache_control, None),
            "tool_calls": tuple(map(self._call, message.tool_calls)),
        }
        if message.audio and "audio" not in self._capabilities:
            raise self._refusal(f"{where}.audio", "no audio of earlier answers")
        if isinstance(message.content, tuple):
            numbered = enumerate(message.content)
            parts = [
                part if _is_text(part) else self._part(f"{where}.content[{at}]", part, message) for at, part in numbered
            ]
            replaced["content"] = tuple(parts)
        if message.refusal and "refusal" not in self._capabilities:
            replaced |= {"content": _with_refusal(message), "refusal": None}
        if isinstance(message, OpenAIMessage):
            replaced |= self._extras(message)
        return msgspec.structs.replace(message, **replaced)

    def _part(self, where: str, part: Part, message: Message) -> Part:
        name = NAMES.get(type(part))
        if name is not None and name not in self._capabilities:
            raise self._refusal(where, f"no parts of type `{name}`")
        if not isinstance(part, TextPart):
            self._check_role(where, message)
        if isinstance(part, ImagePart) and part.image_url.detail and "detail" not in self._capabilities:
            if part.image_url.detail != "auto":
                self._changes.leave_out("messages.content.image_url.detail")
            part = msgspec.structs.replace(part, image_url=msgspec.structs.replace(part.image_url, detail=None))
        if part.cache_control is not None and "cache_control" not in self._capabilities:
            self._changes.leave_out("messages.content.cache_control")
            part = msgspec.structs.replace(part, cache_control=None)
        return part

    def _check_role(self, where: str, message: Message) -> None:
        """Some forms have places for text only in what the system or the assistant says."""
        if message.role in ("system", "developer") and "system_media" not in self._capabilities:
            raise self._refusal(where, "nothing but text in a message of the system")
        if message.role == "assistant" and "assistant_media" not in self._capabilities:
            raise self._refusal(where, "nothing but text in a message of the assistant")

    def _call(self, call: ToolCall) -> ToolCall:
        if not call.cache_control or "cache_control" in self._capabilities:
            return call
        self._changes.leave_out("messages.tool_calls.cache_control")
        return msgspec.structs.replace(call, cache_control=msgspec.UNSET)

    def _extras(self, message: OpenAIMessage) -> dict[str, Any]:
        """Fields that we do not know, of a message and of what is in it."""
        kept: dict[str, Any] = {}
        if "extra" not in self._capabilities:
            self._unknown("messages", message.extra)
            self._unknown("messages.tool_calls", *message.call_extra.values())
            kept |= {"extra": {}, "call_extra": {}}
        if "part_extra" not in self._capabilities:
            self._unknown("messages.content", *message.part_extra.values())
            kept |= {"part_extra": {}}
        return kept

    def _unknown(self, where: str, *extras: JsonObject) -> None:
        for extra in extras:
            for name in extra:
                self._changes.leave_out(f"{where}.{name[:LONGEST_NAME]}")

    def tool(self, tool: JsonObject) -> JsonObject:
        """One tool, without its hint if there is no place for it."""
        if "cache_control" in self._capabilities:
            return tool
        function = tool.get("function")
        self._changes.leave_out("tools.cache_control", cached(tool) or None)
        without = {name: value for name, value in tool.items() if name != "cache_control"}
        if isinstance(function, dict):
            without["function"] = {name: value for name, value in function.items() if name != "cache_control"}
        return without

    def _hint(self, place: Capability, where: str, value: T, nothing: T) -> T:
        return value if place in self._capabilities else self._without(where, value, nothing)

    def _without(self, where: str, value: T, nothing: T) -> T:
        if value:
            self._changes.leave_out(where)
        return nothing

    def _refusal(self, where: str, what: str) -> ErrBadRequest:
        return ErrBadRequest(f"`{where}` cannot be sent: {self._provider} takes {what}", field=where)


def cached(tool: JsonObject) -> JsonObject:
    """The `cache_control` of a tool, which clients write beside the function or within it; empty if there is none."""
    return mapping(tool.get("cache_control")) or mapping(mapping(tool.get("function")).get("cache_control"))


def _with_refusal(message: Message) -> str | tuple[Part, ...]:
    """The content of a message with its refusal as text, which it is to the model."""
    refusal = TextPart(text=message.refusal or "")
    if isinstance(message.content, tuple):
        return (*message.content, refusal)
    return "\n\n".join(filter(None, (message.content, refusal.text)))
