"""Blocks of the messages dialect: text, images and documents."""

from __future__ import annotations

from lakehouse.chat.dialects.encoding import files, images
from lakehouse.chat.dialects.lenient_json import JsonObject, drop_nulls
from lakehouse.chat.dialects.messages.cache_control import build_hint, set_on_last_block
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.parts import AudioPart, File, FilePart, ImagePart, Part, TextPart, VideoPart
from lakehouse.chat.model.request import Message
from lakehouse.core.errors import ErrBadRequest


def encode_text_blocks(message: Message) -> list[JsonObject]:
    """Return the text of a message as one block, or one block per part if one of them has a cache hint."""
    parts = message.content if isinstance(message.content, tuple) else ()
    if any(part.cache_control for part in parts):
        blocks = [
            {"type": "text", "text": part.text, **build_hint(part.cache_control)}
            for part in parts
            if isinstance(part, TextPart) and part.text.strip()
        ]
    else:
        blocks = [{"type": "text", "text": message.text}] if message.text.strip() else []
    return set_on_last_block(blocks, message.cache_control)


def encode_part(part: Part, position: int, index: int, quirks: Quirks) -> JsonObject:
    """Return the block of part `index` of message `position`."""
    match part:
        case TextPart(text=text):
            block: JsonObject = {"type": "text", "text": text}
        case ImagePart():
            block = _encode_image(part, images.format_field(position, index), quirks)
        case FilePart(file=file):
            block = _encode_document(file, f"messages[{position}].content[{index}]")
        case AudioPart():
            raise files.build_unsupported_part_error(position, index, "input_audio", quirks)
        case VideoPart():
            raise files.build_unsupported_part_error(position, index, "video_url", quirks)
    return {**block, **build_hint(part.cache_control)}


def _encode_image(part: ImagePart, where: str, quirks: Quirks) -> JsonObject:
    image = images.parse_image(part.image_url, where=where, quirks=quirks)
    if image is None:
        return {"type": "image", "source": {"type": "url", "url": part.image_url.url}}
    return {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": image.data}}


def _encode_document(file: File, where: str) -> JsonObject:
    """Return a document: a PDF, a text or a remote PDF; an image that came as a file becomes an image block."""
    if not file.file_data:
        message = f"`{where}` cannot be sent: `file_id` names a file of another provider; send its data as `file_data`"
        raise ErrBadRequest(message, field=where)
    title = drop_nulls({"title": file.filename or None})
    if files.is_remote(file):
        return {"type": "document", "source": {"type": "url", "url": file.file_data}, **title}
    document = files.parse_document(file, where)
    source = {"type": "base64", "media_type": document.media_type, "data": document.data}
    if document.media_type.startswith("image/"):
        return {"type": "image", "source": source}
    if document.media_type.startswith("text/"):
        text = document.decoded.decode("utf-8", "replace")
        source = {"type": "text", "media_type": "text/plain", "data": text}
    elif document.media_type != "application/pdf":
        message = f"`{where}` cannot be sent: it is no PDF, text or image ({document.media_type[:40]})"
        raise ErrBadRequest(message, field=where)
    return {"type": "document", "source": source, **title}
