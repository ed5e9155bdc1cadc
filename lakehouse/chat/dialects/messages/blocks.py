"""A conversation in Anthropic's messages form: what the system says, and turns of `user` and `assistant` as blocks.

A hint to cache (`cache_control`) stands on the block that it ends with: a text, image or document, a call, a result or
a tool. One that a whole message carries goes to its last block.
"""

from __future__ import annotations

from lakehouse.chat.dialects import files, images
from lakehouse.chat.dialects.base import Changes, Quirks
from lakehouse.chat.dialects.conversation import cached
from lakehouse.chat.dialects.lenient_json import JsonObject, mapping, without_nulls
from lakehouse.chat.dialects.parameters import note_strict
from lakehouse.chat.dialects.schema import structured_output
from lakehouse.chat.dialects.tools import ToolCallIdMap, arguments_object
from lakehouse.chat.model.parts import AudioPart, File, FilePart, ImagePart, Part, TextPart, VideoPart
from lakehouse.chat.model.request import Message, Request
from lakehouse.core.errors import ErrBadRequest

THINKING = ("thinking", "redacted_thinking")


def tool(given: JsonObject) -> JsonObject:
    """A function as a tool."""
    function = mapping(given["function"])
    parameters = mapping(function.get("parameters")) or {"type": "object", "properties": {}}
    described = without_nulls({"description": function.get("description")})
    return {"name": function["name"], **described, "input_schema": parameters, **_hint(cached(given))}


def conversation(request: Request, plan: structured_output.Plan | None, quirks: Quirks, changes: Changes) -> JsonObject:
    """`system` and `messages`. What the system says is the user's turn where nobody else says anything, for there must
    be one."""
    note_strict(request, changes)
    _note_order(request, changes)
    messages = structured_output.add_instruction(request.messages, plan.instruction if plan else "")
    system = _system(messages)
    turns = _turns(messages, len(messages) - len(request.messages), quirks)
    if not turns and system:
        blocks = [{"type": "text", "text": system}] if isinstance(system, str) else system
        return {"messages": [{"role": "user", "content": blocks}]}
    if not turns:
        raise ErrBadRequest("`messages` must hold more than white space", field="messages")
    last = turns[-1]["content"][-1]
    if turns[-1]["role"] == "assistant" and last["type"] == "text":
        last["text"] = last["text"].rstrip()  # white space at the end of what the model is to go on with is refused
    return {"system": system, "messages": turns}


def _note_order(request: Request, changes: Changes) -> None:
    """Record that what the system says later in the conversation is sent with what it says first: it has one place."""
    roles = [_is_system(message) for message in request.messages]
    if any(roles[roles.index(False) :] if False in roles else ()):
        changes.adjust("messages")


def _is_system(message: Message) -> bool:
    return message.role in ("system", "developer")


def _system(messages: tuple[Message, ...]) -> str | list[JsonObject] | None:
    """What the system says: a string, or blocks where one of them is to be cached."""
    heard = [message for message in messages if _is_system(message) and message.text.strip()]
    blocks = [block for message in heard for block in _texts(message)]
    if any("cache_control" in block for block in blocks):
        return blocks
    return "\n\n".join(message.text for message in heard) or None


def _texts(message: Message) -> list[JsonObject]:
    """The text of a message as one block, or as one for each part where one of them is to be cached."""
    parts = message.content if isinstance(message.content, tuple) else ()
    if any(part.cache_control for part in parts):
        blocks = [
            {"type": "text", "text": part.text, **_hint(part.cache_control)}
            for part in parts
            if isinstance(part, TextPart) and part.text.strip()
        ]
    else:
        blocks = [{"type": "text", "text": message.text}] if message.text.strip() else []
    return _marked(blocks, message.cache_control)


def _hint(cache_control: object) -> JsonObject:
    return {"cache_control": cache_control} if isinstance(cache_control, dict) and cache_control else {}


def _marked(blocks: list[JsonObject], cache_control: JsonObject | None) -> list[JsonObject]:
    """The blocks of a message, the last one with the message's own hint. Thinking takes none."""
    if blocks and cache_control and blocks[-1]["type"] not in THINKING:
        blocks[-1] = {**blocks[-1], "cache_control": cache_control}
    return blocks


def _turns(messages: tuple[Message, ...], added: int, quirks: Quirks) -> list[JsonObject]:
    """The conversation in turns of `user` and `assistant`. Messages that follow each other on one side are one turn,
    for all results of parallel calls must stand together; one that says nothing, or is white space, which is refused,
    is left out."""
    ids = ToolCallIdMap()
    turns: list[JsonObject] = []
    for position, message in enumerate(messages):
        if _is_system(message):
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _said(message, ids, quirks) if role == "assistant" else _heard(message, position - added, ids, quirks)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def _said(message: Message, ids: ToolCallIdMap, quirks: Quirks) -> list[JsonObject]:
    """The blocks of an assistant's message: its thinking first, as it came."""
    blocks: list[JsonObject] = []
    if quirks.reasoning_details:
        kept = (entry for entry in message.reasoning_details if entry.get("type") in THINKING)
        blocks += [{name: value for name, value in entry.items() if name != "index"} for entry in kept]
    if not blocks and message.reasoning and quirks.unsigned_thinking:
        blocks.append({"type": "thinking", "thinking": message.reasoning, "signature": ""})
    blocks += _texts(message)
    for call in message.tool_calls:
        arguments = arguments_object(call.function.arguments)
        use = {"type": "tool_use", "id": ids.call(call.id), "name": call.function.name, "input": arguments}
        blocks.append({**use, **_hint(call.cache_control)})
    return _marked(blocks, message.cache_control) if message.tool_calls else blocks


def _heard(message: Message, position: int, ids: ToolCallIdMap, quirks: Quirks) -> list[JsonObject]:
    """The blocks of a user's message, or the result of a tool; that must have content, be it empty."""
    parts: tuple[Part, ...] = (TextPart(text=message.text),)
    if isinstance(message.content, tuple):
        parts = message.content
    blocks = [
        _block(part, position, index, quirks)
        for index, part in enumerate(parts)
        if not isinstance(part, TextPart) or part.text.strip()
    ]
    if message.tool_call_id is None:
        return _marked(blocks, message.cache_control)
    text_only = all(isinstance(part, TextPart) for part in parts)
    content: object = message.text if text_only else [_unmarked(block) for block in blocks]
    hints = [message.cache_control, *(part.cache_control for part in reversed(parts))]
    hint = _hint(next(filter(None, hints), None))  # within a result nothing can be cached by itself
    return [{"type": "tool_result", "tool_use_id": ids.result(message.tool_call_id), "content": content, **hint}]


def _unmarked(block: JsonObject) -> JsonObject:
    return {name: value for name, value in block.items() if name != "cache_control"}


def _block(part: Part, position: int, index: int, quirks: Quirks) -> JsonObject:
    match part:
        case TextPart(text=said):
            block: JsonObject = {"type": "text", "text": said}
        case ImagePart():
            block = _image(part, images.field(position, index), quirks)
        case FilePart(file=file):
            block = _document(file, f"messages[{position}].content[{index}]")
        case AudioPart():
            raise files.unplaced(position, index, "input_audio", quirks)
        case VideoPart():
            raise files.unplaced(position, index, "video_url", quirks)
    return {**block, **_hint(part.cache_control)}


def _image(part: ImagePart, where: str, quirks: Quirks) -> JsonObject:
    image = images.allow(part.image_url, where=where, quirks=quirks)
    if image is None:
        return {"type": "image", "source": {"type": "url", "url": part.image_url.url}}
    return {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": image.data}}


def _document(file: File, where: str) -> JsonObject:
    """A document: a PDF, a text, or a remote PDF; an image that came as a file is an image."""
    if not file.file_data:
        message = f"`{where}` cannot be sent: `file_id` names a file of another provider; send its data as `file_data`"
        raise ErrBadRequest(message, field=where)
    title = without_nulls({"title": file.filename or None})
    if files.is_remote(file):
        return {"type": "document", "source": {"type": "url", "url": file.file_data}, **title}
    found = files.document(file, where)
    source = {"type": "base64", "media_type": found.media_type, "data": found.data}
    if found.media_type.startswith("image/"):
        return {"type": "image", "source": source}
    if found.media_type.startswith("text/"):
        text = found.decoded.decode("utf-8", "replace")
        source = {"type": "text", "media_type": "text/plain", "data": text}
    elif found.media_type != "application/pdf":
        raise ErrBadRequest(
            f"`{where}` cannot be sent: it is no PDF, text or image ({found.media_type[:40]})", field=where
        )
    return {"type": "document", "source": source, **title}
