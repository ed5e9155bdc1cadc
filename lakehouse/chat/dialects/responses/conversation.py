"""Conversations of the responses dialect: items of messages, reasoning, calls and results."""

from __future__ import annotations

from lakehouse.chat.dialects.encoding import files, images
from lakehouse.chat.dialects.lenient_json import JsonObject, drop_nulls
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.schema.structured_output import StructuredOutputPlan, add_instruction
from lakehouse.chat.dialects.tool_calls import ToolCallIdMap
from lakehouse.chat.model.parts import AudioPart, File, FilePart, ImagePart, Part, TextPart, VideoPart
from lakehouse.chat.model.request import Message, Request
from lakehouse.chat.model.tool_calls import Custom, ToolCall


def encode_input(request: Request, plan: StructuredOutputPlan | None, quirks: Quirks) -> list[JsonObject]:
    """Return the conversation as items, with the plan's instruction."""
    ids = ToolCallIdMap()
    messages = add_instruction(request.messages, plan)
    added = len(messages) - len(request.messages)  # errors name positions in the request
    custom_calls = {call.id for message in messages for call in message.tool_calls if call.type == "custom"}
    items: list[JsonObject] = []
    for position, message in enumerate(messages):
        if message.role == "assistant":
            items += _encode_assistant_message(message, ids, quirks)
        elif message.tool_call_id is not None:
            output = _encode_content(message, position - added, quirks)
            kind = "custom_tool_call_output" if message.tool_call_id in custom_calls else "function_call_output"
            items.append({"type": kind, "call_id": ids.take_result_id(message.tool_call_id), "output": output})
        else:
            role = "system" if message.role == "developer" and not quirks.developer_role else message.role
            items.append({"role": role, "content": _encode_content(message, position - added, quirks)})
    return items


def _encode_assistant_message(message: Message, ids: ToolCallIdMap, quirks: Quirks) -> list[JsonObject]:
    """Return an assistant message as items. Reasoning without encrypted content is left out: only a provider that
    stored it could resolve it."""
    items: list[JsonObject] = []
    if quirks.reasoning_details:
        items += filter(is_replayable, message.reasoning_details)
    if message.text:
        items.append({"role": "assistant", "content": message.text})
    items += [_encode_call(call, ids.add_call(call.id)) for call in message.tool_calls]
    return items


def is_replayable(entry: JsonObject) -> bool:
    """Return whether an entry of `reasoning_details` can be sent back."""
    return entry.get("type") == "reasoning" and bool(entry.get("encrypted_content"))


def _encode_call(call: ToolCall, id: str) -> JsonObject:  # noqa: A002
    name = call.function.name
    if isinstance(call.custom, Custom):
        return {"type": "custom_tool_call", "call_id": id, "name": name, "input": call.custom.input}
    return {"type": "function_call", "call_id": id, "name": name, "arguments": call.function.arguments or "{}"}


def _encode_content(message: Message, position: int, quirks: Quirks) -> object:
    if not message.content or isinstance(message.content, str):
        return message.content or ""
    return [_encode_part(part, position, index, quirks) for index, part in enumerate(message.content)]


def _encode_part(part: Part, position: int, index: int, quirks: Quirks) -> JsonObject:
    match part:
        case ImagePart(image_url=image):
            images.parse_image(image, where=images.format_field(position, index), quirks=quirks)
            return {"type": "input_image", "image_url": image.url, "detail": image.detail or "auto"}
        case FilePart(file=file):
            return _encode_file(file)
        case AudioPart(input_audio=audio):
            return {"type": "input_audio", "input_audio": {"data": audio.data, "format": audio.format}}
        case TextPart(text=text):
            return {"type": "input_text", "text": text}
        case VideoPart():
            raise files.build_unsupported_part_error(position, index, "video_url", quirks)


def _encode_file(file: File) -> JsonObject:
    """Return a document; a remote one has a field of its own."""
    remote = files.is_remote(file)
    data = {"file_url": file.file_data} if remote else {"file_data": file.file_data, "filename": file.filename}
    return {"type": "input_file", **drop_nulls({"file_id": file.file_id, **data})}
