"""Messages of requests to Ollama."""

from __future__ import annotations

from lakehouse.chat.dialects.encoding import images
from lakehouse.chat.dialects.lenient_json import JsonObject, drop_nulls
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.schema.structured_output import StructuredOutputPlan, add_instruction
from lakehouse.chat.dialects.tool_calls import ToolCallIdMap, parse_arguments
from lakehouse.chat.model.parts import ImagePart
from lakehouse.chat.model.request import Message, Request


def encode_messages(request: Request, plan: StructuredOutputPlan | None, quirks: Quirks) -> list[JsonObject]:
    """Return the messages, with the plan's instruction."""
    ids = ToolCallIdMap()
    names = {call.id: call.function.name for message in request.messages for call in message.tool_calls}
    message_images = [_encode_images(message, position, quirks) for position, message in enumerate(request.messages)]
    messages = add_instruction(request.messages, plan)
    added = len(messages) - len(request.messages)
    encoded = []
    for position, message in enumerate(messages):
        fields = _encode_message(message, ids, names, quirks)
        if position >= added and message_images[position - added]:
            fields["images"] = message_images[position - added]
        encoded.append(fields)
    return encoded


def _encode_message(message: Message, ids: ToolCallIdMap, names: dict[str, str], quirks: Quirks) -> JsonObject:
    """Return one message: `content` must be a string, arguments must be an object, a result has its tool's name."""
    fields: JsonObject = {"role": "system" if message.role == "developer" else message.role, "content": message.text}
    if message.tool_call_id is not None:
        fields["tool_call_id"] = ids.take_result_id(message.tool_call_id)
        fields |= drop_nulls({"tool_name": names.get(message.tool_call_id, message.name)})
    if message.tool_calls:
        fields["tool_calls"] = [
            {
                "id": ids.add_call(call.id),
                "function": {
                    "index": index,
                    "name": call.function.name,
                    "arguments": parse_arguments(call.function.arguments),
                },
            }
            for index, call in enumerate(message.tool_calls)
        ]
    if message.reasoning and quirks.reasoning_key:
        fields["thinking"] = message.reasoning
    return fields


def _encode_images(message: Message, position: int, quirks: Quirks) -> list[str]:
    """Return the images of a message as base64 without a prefix; raises `ErrBadRequest` for a remote image, which
    Ollama does not fetch."""
    encoded: list[str] = []
    for index, part in enumerate(message.content if isinstance(message.content, tuple) else ()):
        if isinstance(part, ImagePart):
            where = images.format_field(position, index)
            image = images.parse_image(part.image_url, where=where, quirks=quirks)
            image = image or images.parse_data_url(part.image_url.url, where=where)
            encoded.append(image.data)
    return encoded
