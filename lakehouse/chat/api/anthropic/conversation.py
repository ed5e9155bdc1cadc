"""The conversation of a request in Anthropic's form, as `Message`s.

A turn of the user that carries results of tools becomes one message for each result, and one for what stands between
them. The blocks of an assistant's turn become one message: its reasoning, its text, its calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from lakehouse.asgi.json_body import convert_json, validation_errors
from lakehouse.chat.api.anthropic.blocks import Unsent, read_blocks, read_part
from lakehouse.chat.api.anthropic.tools import shorten_name
from lakehouse.chat.api.anthropic.types import (
    AnthropicMessage,
    RedactedThinkingBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from lakehouse.chat.api.reasoning_envelope import decode_details
from lakehouse.chat.model.parts import JsonObject, Part, TextPart
from lakehouse.chat.model.request import Message, Role
from lakehouse.chat.model.tool_calls import Function, ToolCall


class ReadMessage(NamedTuple):
    """A message, the client's path of it, and those of the parts of its content."""

    message: Message
    path: str
    parts: tuple[str, ...] = ()


def read_system(system: str | list[JsonObject] | None, unsent: Unsent) -> Iterator[ReadMessage]:
    """Convert the system prompt; none for an empty one."""
    if system:
        yield _read_plain("system", system, "system", unsent)


def read_message(place: int, given: AnthropicMessage, unsent: Unsent) -> Iterator[ReadMessage]:
    """Convert the message at position `place`."""
    where = f"messages[{place}]"
    with validation_errors(where):
        if given.role == "assistant" and not isinstance(given.content, str):
            yield ReadMessage(_AssistantTurn(unsent).read(given.content, f"{where}.content"), where)
        elif given.role == "user" and not isinstance(given.content, str):
            yield from _read_user_turn(given.content, where, unsent)
        else:
            yield _read_plain(given.role, given.content, where, unsent)


def _read_plain(role: Role, content: str | list[JsonObject], where: str, unsent: Unsent) -> ReadMessage:
    if isinstance(content, str):
        return ReadMessage(Message(role=role, content=content), where)
    at = where if where == "system" else f"{where}.content"
    return ReadMessage(Message(role=role, content=_simplify(read_blocks(content, at, unsent))), where)


def _read_user_turn(blocks: list[JsonObject], where: str, unsent: Unsent) -> Iterator[ReadMessage]:
    parts: list[Part] = []
    paths: list[str] = []
    for index, block in enumerate(blocks):
        at = f"{where}.content[{index}]"
        if block.get("type") == "tool_result":
            if parts:
                yield ReadMessage(Message(role="user", content=_simplify(tuple(parts))), where, tuple(paths))
                parts, paths = [], []
            yield _read_result(block, at, unsent)
        elif (part := read_part(block, at, unsent)) is not None:
            parts.append(part)
            paths.append(at)
    if parts or not any(block.get("type") == "tool_result" for block in blocks):
        yield ReadMessage(Message(role="user", content=_simplify(tuple(parts))), where, tuple(paths))


def _read_result(block: JsonObject, where: str, unsent: Unsent) -> ReadMessage:
    unsent.add_unknown_fields(block, ToolResultBlock, where, hints=("is_error", "toolset_name"))
    result = convert_json(block, ToolResultBlock, where)
    content: str | tuple[Part, ...] = ""
    parts: tuple[str, ...] = ()
    if isinstance(result.content, list):
        content = read_blocks(result.content, f"{where}.content", unsent)
        parts = tuple([f"{where}.content[{index}]" for index in range(len(content))])
    elif result.content:
        content = result.content
    message = Message(
        role="tool",
        tool_call_id=result.tool_use_id,
        content=_simplify(content),
        cache_control=result.cache_control,
    )
    return ReadMessage(message, where, parts)


def _simplify(content: str | tuple[Part, ...]) -> str | tuple[Part, ...]:
    """Return one plain text as a string, which every provider accepts."""
    if not content:
        return ""
    if isinstance(content, tuple) and len(content) == 1 and isinstance(content[0], TextPart):
        return content if content[0].cache_control else content[0].text
    return content


class _AssistantTurn:
    """Adds up the blocks of one turn of the assistant."""

    def __init__(self, unsent: Unsent) -> None:
        self._unsent = unsent
        self._parts: list[Part] = []
        self._calls: list[ToolCall] = []
        self._reasoning: list[str] = []
        self._details: list[JsonObject] = []

    def read(self, blocks: list[JsonObject], where: str) -> Message:
        """Convert the turn."""
        for index, block in enumerate(blocks):
            self._add(block, f"{where}[{index}]")
        return Message(
            role="assistant",
            content=_simplify(tuple(self._parts)),
            tool_calls=tuple(self._calls),
            reasoning="\n\n".join(self._reasoning) or None,
            reasoning_details=tuple(self._details),
        )

    def _add(self, block: JsonObject, where: str) -> None:
        match block.get("type"):
            case "thinking":
                self._add_thinking(convert_json(block, ThinkingBlock, where))
            case "redacted_thinking":
                redacted = convert_json(block, RedactedThinkingBlock, where)
                self._details.append({"type": "redacted_thinking", "data": redacted.data})
            case "tool_use":
                self._unsent.add_unknown_fields(block, ToolUseBlock, where, hints=("caller", "toolset_name"))
                use = convert_json(block, ToolUseBlock, where)
                function = Function(name=shorten_name(use.name), arguments=msgspec.json.encode(use.input).decode())
                hint = use.cache_control or msgspec.UNSET
                self._calls.append(ToolCall(id=use.id, function=function, cache_control=hint))
            case _:
                part = read_part(block, where, self._unsent)
                self._parts += [] if part is None else [part]

    def _add_thinking(self, block: ThinkingBlock) -> None:
        """Add reasoning. What stands in the place of a signature is the provider's own, or the details of a provider of
        another form."""
        if block.thinking:
            self._reasoning.append(block.thinking)
        if block.signature:
            own = {"type": "thinking", "thinking": block.thinking, "signature": block.signature}
            details = decode_details(block.signature)
            self._details += [own] if details is None else details
