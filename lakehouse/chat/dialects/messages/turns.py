"""Turns of the messages dialect: consecutive messages of one side."""

from __future__ import annotations

from lakehouse.chat.dialects.lenient_json import JsonObject
from lakehouse.chat.dialects.messages import cache_control
from lakehouse.chat.dialects.messages.blocks import encode_part, encode_text_blocks
from lakehouse.chat.dialects.messages.cache_control import THINKING_BLOCKS, build_hint
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.tool_calls import ToolCallIdMap, parse_arguments
from lakehouse.chat.model.parts import Part, TextPart
from lakehouse.chat.model.request import Message


def is_system(message: Message) -> bool:
    """Return whether a message belongs to the system prompt."""
    return message.role in ("system", "developer")


def build_turns(messages: tuple[Message, ...], added: int, quirks: Quirks) -> list[JsonObject]:
    """Return the conversation in turns. Consecutive messages of one side form one turn, because all results of parallel
    calls must stand together; a message without content is left out, because white space alone is rejected.

    `added` is the number of messages before those of the request; errors name positions in the request.
    """
    ids = ToolCallIdMap()
    turns: list[JsonObject] = []
    for position, message in enumerate(messages):
        if is_system(message):
            continue
        if message.role == "assistant":
            role, blocks = "assistant", _encode_assistant_message(message, ids, quirks)
        else:
            role, blocks = "user", _encode_user_message(message, position - added, ids, quirks)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def _encode_assistant_message(message: Message, ids: ToolCallIdMap, quirks: Quirks) -> list[JsonObject]:
    """Return the blocks of an assistant message: thinking first, as it was received."""
    blocks: list[JsonObject] = []
    if quirks.reasoning_details:
        thinking = (entry for entry in message.reasoning_details if entry.get("type") in THINKING_BLOCKS)
        blocks += [{name: value for name, value in entry.items() if name != "index"} for entry in thinking]
    if not blocks and message.reasoning and quirks.unsigned_thinking:
        blocks.append({"type": "thinking", "thinking": message.reasoning, "signature": ""})
    blocks += encode_text_blocks(message)
    for call in message.tool_calls:
        arguments = parse_arguments(call.function.arguments)
        use = {"type": "tool_use", "id": ids.add_call(call.id), "name": call.function.name, "input": arguments}
        blocks.append({**use, **build_hint(call.cache_control)})
    return cache_control.set_on_last_block(blocks, message.cache_control) if message.tool_calls else blocks


def _encode_user_message(message: Message, position: int, ids: ToolCallIdMap, quirks: Quirks) -> list[JsonObject]:
    """Return the blocks of a user message, or the result of a tool."""
    parts: tuple[Part, ...] = (TextPart(text=message.text),)
    if isinstance(message.content, tuple):
        parts = message.content
    blocks = [
        encode_part(part, position, index, quirks)
        for index, part in enumerate(parts)
        if not isinstance(part, TextPart) or part.text.strip()
    ]
    if message.tool_call_id is None:
        return cache_control.set_on_last_block(blocks, message.cache_control)
    id = ids.take_result_id(message.tool_call_id)  # noqa: A001
    return [_encode_tool_result(message, id, parts, blocks)]


def _encode_tool_result(
    message: Message,
    id: str,  # noqa: A002
    parts: tuple[Part, ...],
    blocks: list[JsonObject],
) -> JsonObject:
    """Return the result of a tool. It must have content, if only an empty string; a cache hint inside the content is
    rejected and goes to the result itself."""
    text_only = all(isinstance(part, TextPart) for part in parts)
    content: object = message.text if text_only else list(map(cache_control.remove, blocks))
    hints = [message.cache_control, *(part.cache_control for part in reversed(parts))]
    hint = build_hint(next(filter(None, hints), None))
    return {"type": "tool_result", "tool_use_id": id, "content": content, **hint}
