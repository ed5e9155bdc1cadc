"""Messages of chat completions requests."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.chat.dialects.encoding.images import check_images
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_string
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.schema.structured_output import StructuredOutputPlan, add_instruction
from lakehouse.chat.dialects.tool_calls import ToolCallIdMap
from lakehouse.chat.model.parts import TextPart
from lakehouse.chat.model.request import Message, OpenAIMessage, Request
from lakehouse.chat.model.tool_calls import Custom, ToolCall

PLACEHOLDER = " "
"""Reasoning of a message without any: Kimi and DeepSeek count an empty string as missing (pi#4251,
hermes-agent#17341)."""


def encode_messages(
    request: Request, plan: StructuredOutputPlan | None, quirks: Quirks
) -> Sequence[JsonObject | Message]:
    """Return the messages, with the plan's instruction. Plain messages are returned as they are: msgspec encodes a
    `Message` of a role and a text exactly so."""
    messages = add_instruction(request.messages, plan)
    if all(map(is_plain, messages)):
        return messages
    ids = ToolCallIdMap()
    for position, message in enumerate(request.messages):
        check_images(message, position, quirks)
    return [_encode_message(message, ids, quirks) for message in messages]


def is_plain(message: Message) -> bool:
    """Return whether a message is a role and a text only."""
    return (
        type(message) is Message
        and isinstance(message.content, str)
        and message.role != "developer"
        and message.name is None
        and not message.tool_calls
        and message.tool_call_id is None
        and message.reasoning is None
        and not message.reasoning_details
        and message.refusal is None
        and message.audio is None
        and not message.annotations
        and message.cache_control is None
    )


def _encode_message(message: Message, ids: ToolCallIdMap, quirks: Quirks) -> JsonObject:
    extra = message.extra if isinstance(message, OpenAIMessage) else {}
    fields: JsonObject = {**extra, "role": message.role}
    if message.role == "developer" and not quirks.developer_role:
        fields["role"] = "system"
    if is_blank(message) and (message.tool_calls or message.refusal or message.audio):
        if quirks.empty_content != "omit":
            fields["content"] = None if quirks.empty_content == "null" else ""
    else:
        fields["content"] = _encode_content(message, quirks)
    if message.name:
        fields["name"] = message.name
    if message.tool_call_id is not None:
        fields["tool_call_id"] = ids.take_result_id(message.tool_call_id)
    if message.tool_calls:
        fields["tool_calls"] = _encode_calls(message, ids, quirks)
    if message.cache_control:
        fields["cache_control"] = message.cache_control
    if message.role == "assistant":
        fields |= _encode_assistant_fields(message, quirks)
    return fields


def is_blank(message: Message) -> bool:
    """Return whether the content is white space only, which providers reject beside calls as they do an empty text."""
    parts = message.content if isinstance(message.content, tuple) else ()
    return all(isinstance(part, TextPart) for part in parts) and not message.text.strip()


def _encode_calls(message: Message, ids: ToolCallIdMap, quirks: Quirks) -> list[JsonObject]:
    extra = message.call_extra if isinstance(message, OpenAIMessage) else {}
    calls: list[JsonObject] = []
    for position, call in enumerate(message.tool_calls):
        encoded = _encode_call(call, ids.add_call(call.id), quirks)
        calls.append(_merge_extra(encoded, extra[position]) if position in extra else encoded)
    return calls


def _encode_call(call: ToolCall, id: str, quirks: Quirks) -> JsonObject:  # noqa: A002
    function = {"name": call.function.name, "arguments": call.function.arguments or "{}"}
    encoded: JsonObject = {"id": id, "type": "function", "function": function}
    if isinstance(call.custom, Custom) and quirks.custom_tools:
        encoded = {"id": id, "type": "custom", "custom": {"name": call.custom.name, "input": call.custom.input}}
    if call.cache_control:
        encoded["cache_control"] = call.cache_control
    return encoded


def _encode_content(message: Message, quirks: Quirks) -> object:
    """Return the content: a string for one text, or for several where the upstream accepts no list; else parts."""
    if not isinstance(message.content, tuple):
        return message.content or ""
    extra = message.part_extra if isinstance(message, OpenAIMessage) else {}
    text_only = not extra and all(isinstance(part, TextPart) and not part.cache_control for part in message.content)
    if text_only and (len(message.content) < 2 or quirks.text_parts == "join"):
        return message.text
    parts: list[JsonObject] = msgspec.to_builtins(message.content)
    return [_merge_extra(part, extra[position]) if position in extra else part for position, part in enumerate(parts)]


def _merge_extra(part: JsonObject, extra: JsonObject) -> JsonObject:
    """Return a part or call with its unknown fields, including those of the object inside it."""
    inner = {name: {**as_object(value), **part[name]} for name, value in extra.items() if name in part}
    return {**extra, **part, **inner}


def _encode_assistant_fields(message: Message, quirks: Quirks) -> JsonObject:
    """Return refusal, audio, annotations and reasoning. With tool calls, empty reasoning details are sent too: DeepSeek
    V4 expects the empty list that it sent."""
    fields: JsonObject = {}
    for name in ("refusal", "audio", "annotations"):
        if value := getattr(message, name):
            fields[name] = value
    if quirks.reasoning_key and message.reasoning:
        fields[quirks.reasoning_key] = message.reasoning
    elif quirks.reasoning_key and quirks.placeholder_reasoning and message.tool_calls:
        fields[quirks.reasoning_key] = PLACEHOLDER
    details = list(filter(is_replayable, message.reasoning_details))
    if quirks.reasoning_details and (details or message.tool_calls):
        fields["reasoning_details"] = details
    return fields


def is_replayable(entry: JsonObject) -> bool:
    """Return whether an entry of `reasoning_details` can be sent back: Anthropic and Gemini reject text that lost its
    signature (ai-sdk-provider#418, #423)."""
    kind = as_string(entry.get("type"))
    if kind != "reasoning.text":
        return kind.startswith("reasoning.")
    return bool(entry.get("signature")) or not as_string(entry.get("format")).startswith(("anthropic", "google"))
