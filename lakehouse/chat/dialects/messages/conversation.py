"""Conversations of the messages dialect: the system prompt, and turns of `user` and `assistant` that hold blocks."""

from __future__ import annotations

from lakehouse.chat.dialects.encoding.extra_fields import (
    record_unsent_reasoning,
    record_unsent_strict,
    record_unsent_tool_fields,
)
from lakehouse.chat.dialects.lenient_json import JsonObject
from lakehouse.chat.dialects.messages.blocks import encode_text_blocks
from lakehouse.chat.dialects.messages.cache_control import THINKING_BLOCKS
from lakehouse.chat.dialects.messages.turns import build_turns, is_system
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.dialects.schema.structured_output import StructuredOutputPlan, add_instruction
from lakehouse.chat.model.request import Message, Request
from lakehouse.core.errors import ErrBadRequest


def encode_conversation(
    request: Request, plan: StructuredOutputPlan | None, quirks: Quirks, changes: RequestChanges
) -> JsonObject:
    """Return `system` and `messages`. A conversation of system messages only is sent as a turn of the user, because the
    provider requires one turn."""
    record_unsent_strict(request, changes)
    record_unsent_tool_fields(request, changes, function=True)
    record_unsent_reasoning(
        request,
        changes,
        plain=quirks.unsigned_thinking,
        is_sent=lambda entry: quirks.reasoning_details and entry.get("type") in THINKING_BLOCKS,
    )
    _record_moved_system_messages(request, changes)
    messages = add_instruction(request.messages, plan)
    system = _encode_system(messages)
    turns = build_turns(messages, len(messages) - len(request.messages), quirks)
    if not turns and system:
        blocks = [{"type": "text", "text": system}] if isinstance(system, str) else system
        return {"messages": [{"role": "user", "content": blocks}]}
    if not turns:
        raise ErrBadRequest("`messages` must hold more than white space", field="messages")
    last = turns[-1]["content"][-1]
    if turns[-1]["role"] == "assistant" and last["type"] == "text":
        last["text"] = last["text"].rstrip()  # the provider rejects a final assistant text that ends in white space
    return {"system": system, "messages": turns}


def _record_moved_system_messages(request: Request, changes: RequestChanges) -> None:
    """Record that system messages after other ones are sent at the beginning, the only place for them."""
    roles = [is_system(message) for message in request.messages]
    if any(roles[roles.index(False) :] if False in roles else ()):
        changes.adjust("messages")


def _encode_system(messages: tuple[Message, ...]) -> str | list[JsonObject] | None:
    """Return the system prompt: a string, or blocks if one of them has a cache hint."""
    system = [message for message in messages if is_system(message) and message.text.strip()]
    blocks = [block for message in system for block in encode_text_blocks(message)]
    if any("cache_control" in block for block in blocks):
        return blocks
    return "\n\n".join(message.text for message in system) or None
