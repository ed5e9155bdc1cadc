"""Adapts a conversation to what an upstream can represent.

Everything a message may hold besides text, images, calls and reasoning has a name (`quirks.Capability`). Each dialect
lists its capabilities, and a provider's quirks may list others. Unsupported content that a model would have seen is
rejected with a 400 that names it; an unsupported hint is left out and recorded in `RequestChanges`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from lakehouse.chat.dialects.lenient_json import JsonObject, as_object
from lakehouse.chat.dialects.quirks import Capability, Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.model.parts import AudioPart, FilePart, ImagePart, Part, TextPart, VideoPart
from lakehouse.chat.model.request import Message, OpenAIMessage, Request
from lakehouse.chat.model.tool_calls import ToolCall
from lakehouse.core.errors import ErrBadRequest

T = TypeVar("T")

MAX_NAME = 64
"""Characters of a client's own field name that are recorded; the log shows as many."""

PART_CAPABILITIES: dict[type[Part], Capability] = {
    FilePart: "file",
    AudioPart: "input_audio",
    VideoPart: "video_url",
}
"""The content parts that not every dialect can represent."""


def fit_to_capabilities(
    request: Request, capabilities: frozenset[Capability], quirks: Quirks, changes: RequestChanges
) -> Request:
    """Return `request` without the hints in its messages and tools that the upstream does not support. `capabilities`
    are those of the dialect.

    Raises `ErrBadRequest` naming unsupported content that cannot be left out.
    """
    plain = all(map(_is_plain, request.messages))
    if plain and request.tools is None:
        return request
    fitter = _Fitter(capabilities if quirks.capabilities is None else quirks.capabilities, quirks.provider, changes)
    replaced: dict[str, Any] = {}
    if not plain:
        replaced["messages"] = tuple([fitter.fit_message(*numbered) for numbered in enumerate(request.messages)])
    if any(_has_cache_control(tool) for tool in request.tools or ()):
        replaced["tools"] = tuple(map(fitter.fit_tool, request.tools or ()))
    return msgspec.structs.replace(request, **replaced) if replaced else request


def get_cache_control(tool: JsonObject) -> JsonObject:
    """Return the `cache_control` of a tool, which clients write beside `function` or inside it; empty if absent."""
    return as_object(tool.get("cache_control")) or as_object(as_object(tool.get("function")).get("cache_control"))


def _has_cache_control(tool: JsonObject) -> bool:
    return "cache_control" in tool or "cache_control" in as_object(tool.get("function"))


def _is_plain(message: Message) -> bool:
    """True for a message that every dialect can represent."""
    return (
        type(message) is Message
        and (type(message.content) is not tuple or all(map(_is_plain_text, message.content)))
        and message.name is None
        and message.refusal is None
        and message.audio is None
        and not message.annotations
        and message.cache_control is None
        and not (message.tool_calls and any(call.cache_control for call in message.tool_calls))
    )


def _is_plain_text(part: Part) -> bool:
    return type(part) is TextPart and part.cache_control is None


class _Fitter:
    """Adapts messages and tools, one at a time."""

    def __init__(self, capabilities: frozenset[Capability], provider: str, changes: RequestChanges) -> None:
        self._capabilities = capabilities
        self._provider = provider
        self._changes = changes

    def fit_message(self, position: int, message: Message) -> Message:
        """Return one message with its supported content."""
        where = f"messages[{position}]"
        name_kept = "name" in self._capabilities or (message.role == "tool" and "tool_name" in self._capabilities)
        replaced: dict[str, Any] = {
            "name": message.name if name_kept else self._drop("messages.name", message.name, None),
            "annotations": self._keep_if("annotations", "messages.annotations", message.annotations, ()),
            "cache_control": self._keep_if("cache_control", "messages.cache_control", message.cache_control, None),
            "tool_calls": tuple(map(self._fit_call, message.tool_calls)),
        }
        if message.audio and "audio" not in self._capabilities:
            raise self._build_error(f"{where}.audio", "no audio of earlier answers")
        if isinstance(message.content, tuple):
            replaced["content"] = tuple(
                [
                    part if _is_plain_text(part) else self._fit_part(f"{where}.content[{index}]", part, message)
                    for index, part in enumerate(message.content)
                ]
            )
        if message.refusal and "refusal" not in self._capabilities:
            replaced |= {"content": _append_refusal(message), "refusal": None}
        if isinstance(message, OpenAIMessage):
            replaced |= self._drop_unknown_fields(message)
        return msgspec.structs.replace(message, **replaced)

    def fit_tool(self, tool: JsonObject) -> JsonObject:
        """Return one tool, without its cache hint if that is not supported."""
        if "cache_control" in self._capabilities:
            return tool
        function = tool.get("function")
        self._changes.leave_out("tools.cache_control", get_cache_control(tool) or None)
        fitted = {name: value for name, value in tool.items() if name != "cache_control"}
        if isinstance(function, dict):
            fitted["function"] = {name: value for name, value in function.items() if name != "cache_control"}
        return fitted

    def _fit_part(self, where: str, part: Part, message: Message) -> Part:
        capability = PART_CAPABILITIES.get(type(part))
        if capability is not None and capability not in self._capabilities:
            raise self._build_error(where, f"no parts of type `{capability}`")
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
        """Raise for a part other than text in a message whose role allows text only."""
        if message.role in ("system", "developer") and "system_media" not in self._capabilities:
            raise self._build_error(where, "nothing but text in a message of the system")
        if message.role == "assistant" and "assistant_media" not in self._capabilities:
            raise self._build_error(where, "nothing but text in a message of the assistant")

    def _fit_call(self, call: ToolCall) -> ToolCall:
        if not call.cache_control or "cache_control" in self._capabilities:
            return call
        self._changes.leave_out("messages.tool_calls.cache_control")
        return msgspec.structs.replace(call, cache_control=msgspec.UNSET)

    def _drop_unknown_fields(self, message: OpenAIMessage) -> dict[str, Any]:
        """Return the replacements that remove unknown fields of a message, its calls and its parts."""
        replaced: dict[str, Any] = {}
        if "extra" not in self._capabilities:
            self._record_unknown("messages", message.extra)
            self._record_unknown("messages.tool_calls", *message.call_extra.values())
            replaced |= {"extra": {}, "call_extra": {}}
        if "part_extra" not in self._capabilities:
            self._record_unknown("messages.content", *message.part_extra.values())
            replaced |= {"part_extra": {}}
        return replaced

    def _record_unknown(self, where: str, *extras: JsonObject) -> None:
        for extra in extras:
            for name in extra:
                self._changes.leave_out(f"{where}.{name[:MAX_NAME]}")

    def _keep_if(self, capability: Capability, where: str, value: T, empty: T) -> T:
        return value if capability in self._capabilities else self._drop(where, value, empty)

    def _drop(self, where: str, value: T, empty: T) -> T:
        if value:
            self._changes.leave_out(where)
        return empty

    def _build_error(self, where: str, supported: str) -> ErrBadRequest:
        return ErrBadRequest(f"`{where}` cannot be sent: {self._provider} takes {supported}", field=where)


def _append_refusal(message: Message) -> str | tuple[Part, ...]:
    """Return the content of a message with its refusal as additional text."""
    refusal = TextPart(text=message.refusal or "")
    if isinstance(message.content, tuple):
        return (*message.content, refusal)
    return "\n\n".join(filter(None, (message.content, refusal.text)))
